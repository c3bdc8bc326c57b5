"""The few facts in which vision-language model classes differ.

A family listed here runs its vision tower once per distinct image of a step, and, where the tower is
frozen, once for policy and reference together. Any other model takes the plain path: its images are
encoded once per sequence, as the host's own collator does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Family:
    """What sharing image features needs to know of a model class.

    Attributes:
        vision: Submodules of the core model that make the image features.
        deepstack: Whether the features come with deepstack layers, one [tokens, hidden] tensor each.
    """

    vision: tuple[str, ...]
    deepstack: bool = False


FAMILIES: dict[str, Family] = {
    "qwen2_vl": Family(("visual",)),
    "qwen2_5_vl": Family(("visual",)),
    "qwen3_vl": Family(("visual",), deepstack=True),
    "qwen3_vl_moe": Family(("visual",), deepstack=True),
    "llava": Family(("vision_tower", "multi_modal_projector")),
}


class SharedImageFeatures:
    """Stands in for a core model's `get_image_features` during the passes of one step.

    The model is called with the pixels of the distinct images only; `image_index` says which of them
    every image place of the batch, in order, shows.

    Args:
        family: The model's family.
        image_index: [P] index of the distinct image at each image place.
    """

    def __init__(self, family: Family, image_index: Tensor) -> None:
        self._family = family
        self._image_index = image_index.tolist()
        self._known: dict[int, SimpleNamespace] = {}

    @contextmanager
    def on(self, core: Any) -> Iterator[None]:
        """Replaces the method on the instance; features of a frozen tower are kept for the next pass."""
        compute = core.get_image_features
        parts = [core.get_submodule(name) for name in self._family.vision]
        frozen = not any(weight.requires_grad for part in parts for weight in part.parameters())

        def get_image_features(*args: object, **kwargs: object) -> SimpleNamespace:
            if id(core) not in self._known:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
                    features = self._places(compute(*args, **kwargs))
                if not frozen:
                    return features
                self._known[id(core)] = features
            return self._known[id(core)]

        core.get_image_features = get_image_features
        try:
            yield
        finally:
            del core.get_image_features

    def _places(self, features: SimpleNamespace) -> SimpleNamespace:
        """Spreads the features of the distinct images over the image places."""
        per_image = list(features.pooler_output)
        places = SimpleNamespace(pooler_output=[per_image[i] for i in self._image_index])
        if self._family.deepstack:
            lengths = [len(image) for image in per_image]
            layers = [layer.split(lengths) for layer in features.deepstack_features]
            places.deepstack_features = [torch.cat([layer[i] for i in self._image_index]) for layer in layers]
        return places
