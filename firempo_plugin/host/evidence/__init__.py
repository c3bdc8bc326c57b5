"""Evidence of a model that the host loads: where it looks, what training raised, and what it depends on.

Prompts, image tokens and phrases are those of training: they come from the host's template and processor, rows of a
data set are read by the code that reads them for training, and responses are scored by the code that scores them.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...evaluate.registry import MEASURES
from ...evaluate.store import Measured
from .looking import look
from .scoring import diverge, localise, sense

Runner = Callable[[dict[str, Any], str | None, Any, Collection[str]], Iterator[Measured]]
"""From model arguments, adapter, options and ids that are known already, to the other items."""

RUNNERS: dict[str, Runner] = {
    "grounding": look,
    "localisation": localise,
    "divergence": diverge,
    "sensitivity": sense,
}


def measure(
    measure: str,
    model_arguments: dict[str, Any],
    adapter: str | None,
    options: dict[str, Any],
    known: Collection[str] = (),
) -> Iterator[Measured]:
    """Measures a model on every record or row; what cannot be measured comes with its reason.

    Args:
        measure: One of `RUNNERS`.
        model_arguments: The host's: model_name_or_path, template, cutoff_len, image_max_pixels, infer_dtype, ...
        adapter: A folder with an adapter to put on the model; None: the model itself.
        options: By the names of the fields of the measure's options.
        known: Ids of items that are not to be measured again.

    Raises:
        UserError: A key or a value is wrong, or a file cannot be read.
    """
    checked = MEASURES.load(measure).read(options)
    if adapter is not None and not (Path(adapter) / "adapter_config.json").is_file():
        raise UserError(f"adapter: {adapter} holds no adapter_config.json; name a folder that training wrote")
    return RUNNERS[measure](dict(model_arguments), adapter, checked, known)
