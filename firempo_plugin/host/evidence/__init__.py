"""Evidence of a model that the host loads: where it looks, what training raised, and what it depends on.

Prompts, image tokens and phrases are those of training: they come from the host's template and processor, rows of a
data set are read by the code that reads them for training, and responses are scored by the code that scores them.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...evaluate import grounding, localisation, sensitivity
from ...evaluate.items import Item
from ...settings import checked
from ...store.workspace import later
from .looking import look
from .scoring import localise, sense


@dataclass(frozen=True)
class Measure:
    """A measure of evidence.

    Attributes:
        options: The class of its options.
        run: Model arguments, adapter, options and ids that are known already -> the other items.
        choices: What cannot be set, in words.
        version: The measure's.
    """

    options: Any
    run: Callable[[dict[str, Any], str | None, Any, Collection[str]], Iterator[Item]]
    choices: dict[str, str]
    version: int


MEASURES = {
    "grounding": Measure(
        grounding.Options,
        look,
        {
            "attention": "from the last prompt position to the image tokens, mean over heads, per decoder layer",
            "ratio": "q / (g + epsilon), of question and generic prompt",
            "attention_ratio": "sum(A * M) / (mean(A) * |M|); mean over layers",
            "attention_kl": "KL(M / sum M || A / sum A), epsilon added inside the logarithm's fraction; nats; mean "
            "over layers",
            "attention_js": "Jensen-Shannon divergence of the two, epsilon as there; nats; mean over layers",
            "prompt": "the image, then the question, in the template's user turn; its suffix follows after a space",
            "mask": "image tokens of whose area more than `coverage` lies in the region",
        },
        grounding.VERSION,
    ),
    "localisation": Measure(
        localisation.Options,
        localise,
        {
            "reward": "log pi - log ref of each token of the chosen response, end of turn included, clean image",
            "phrase_rank": "share of pairs of a phrase token and another token in which the phrase token has the "
            "higher reward, a tie counting half",
        },
        localisation.VERSION,
    ),
    "sensitivity": Measure(
        sensitivity.Options,
        sense,
        {
            "evidence_drop": "log pi of the chosen response's phrase tokens, summed: clean minus noised image; nats",
            "elsewhere_drop": "the same, with noise of the region's shape and size at a place that it does not overlap",
            "evidence_gap": "evidence_drop - elsewhere_drop",
            "place": f"drawn, by the item's id, from the {sensitivity.LIKENESS:.0%} of the free places whose mean "
            "level is closest to the region's",
        },
        sensitivity.VERSION,
    ),
}


def measure(
    measure: str,
    model_arguments: dict[str, Any],
    adapter: str | None,
    options: dict[str, Any],
    known: Collection[str] = (),
) -> Iterator[Item]:
    """Measures a model on every record or row; what cannot be measured comes with its reason.

    Args:
        measure: One of `MEASURES`.
        model_arguments: The host's: model_name_or_path, template, cutoff_len, image_max_pixels, infer_dtype, ...
        adapter: A folder with an adapter to put on the model; None: the model itself.
        options: By the names of the fields of the measure's options.
        known: Ids of items that are not to be measured again.

    Raises:
        UserError: A key or a value is wrong, or a file cannot be read.
    """
    checked = read_options(measure, options)
    if adapter is not None and not (Path(adapter) / "adapter_config.json").is_file():
        raise UserError(f"adapter: {adapter} holds no adapter_config.json; name a folder that training wrote")
    return MEASURES[measure].run(dict(model_arguments), adapter, checked, known)


def protocol(measure: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the numbers depend on besides the model and its arguments, to be stored beside them; JSON can hold it.

    Raises:
        UserError: See `read_options`.
    """
    chosen = asdict(read_options(measure, options)) | options  # numbers as they were written
    if isinstance(chosen.get("records"), list):
        chosen["records"] = f"a list of {len(chosen['records'])}"
    written: dict[str, Any] = json.loads(json.dumps(chosen))
    kind = MEASURES[measure]
    return {"measure": measure, **written, "choices": kind.choices, **later(version=kind.version)}


def read_options(measure: str, options: dict[str, Any]) -> Any:
    """The options of a measure, checked.

    Raises:
        UserError: The measure or a key is unknown, the key for the data is missing, or a value is out of range.
    """
    if measure not in MEASURES:
        raise UserError(f"unknown measure {measure!r}; write one of: {', '.join(MEASURES)}")
    return checked(MEASURES[measure].options, options, f"{measure}.")
