"""Where a model looks, decoder layer by decoder layer: the curves behind the means of the grounding measure."""

import json
from collections.abc import Iterable

from .store import Measured


def by_layer(items: Iterable[Measured]) -> dict[str, dict[int, float]]:
    """The mean of every metric over items, layer by layer, from the items' `detail`; skipped items do not count."""
    found: dict[str, dict[int, list[float]]] = {}
    for item in items:
        if item.skipped:
            continue
        detail = json.loads(item.detail)
        for metric in item.values:
            for layer, value in zip(detail["layers"], detail[metric], strict=True):
                found.setdefault(metric, {}).setdefault(layer, []).append(value)
    return {
        metric: {layer: sum(values) / len(values) for layer, values in sorted(layers.items())}
        for metric, layers in found.items()
    }
