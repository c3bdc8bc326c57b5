"""The section's fields as data: which key of the training YAML each writes, and when it has an effect."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import UserError
from ...objectives.guide import needs_of
from ...objectives.table import OBJECTIVES
from ...objectives.terms import SCOPES
from ..arguments import HOST_OPTIONS, OPTIONS, STAGE, VISION_CACHE_GB, WrongValueError


@dataclass(frozen=True)
class Field:
    """One input of the section.

    Attributes:
        name: Its element in the board, below `train.`.
        key: The key that it writes.
        kind: What is put in: a number or a whole number (as text, as the host's board takes its learning rate), one of
            `choices`, yes or no, or text. An empty one writes nothing.
        default: What it starts with.
        choices: Of a choice.
        setting: The field of `Settings` that an objective must read to give it an effect; None where every one does.
        of_reference: Whether it has an effect only where the objective has a reference.
    """

    name: str
    key: str
    kind: Literal["number", "count", "choice", "switch", "text"]
    default: Any = ""
    choices: tuple[str, ...] = ()
    setting: str | None = None
    of_reference: bool = False


_SETTINGS = {option.key: option.setting for option in OPTIONS}
_DEFAULTS = {option.key: option.default for option in OPTIONS}


def _weight(key: str) -> Field:
    return Field(key, key, "number", str(_DEFAULTS[key]), setting=_SETTINGS[key])


OBJECTIVE = Field("fire_objective", "fire_objective", "choice", STAGE, tuple(OBJECTIVES))
ROWS: tuple[tuple[Field, ...], ...] = (
    (
        Field("fire_beta", "pref_beta", "number", "0.1"),
        _weight("fire_gamma"),
        _weight("fire_alpha"),
        _weight("fire_lambda"),
    ),
    (
        Field("fire_kl_scope", "fire_kl_scope", "choice", _DEFAULTS["fire_kl_scope"], SCOPES, "kl_scope"),
        Field("fire_nll", "pref_ftx", "number", "0.0"),
        Field("fire_skip_invalid", "fire_skip_invalid", "switch", False),
        Field("fire_processor", "processor_name_or_path", "text"),
        Field("fire_ref_model", "ref_model", "text", of_reference=True),
    ),
    tuple(_weight(key) for key in ("fire_phrase_weight", "fire_margin", "fire_length_weight", "fire_label_smoothing")),
    tuple(_weight(key) for key in ("fire_sequence_kl_weight", "fire_floor_weight", "fire_consistency_weight")),
    (
        Field("fire_pass_tokens", "fire_pass_tokens", "count"),
        Field("fire_group_by_image", "fire_group_by_image", "count"),
        Field("fire_reference_cache", "fire_reference_cache", "text"),
        Field("fire_vision_cache", "fire_vision_cache", "text"),
        Field("fire_vision_cache_gb", "fire_vision_cache_gb", "number", str(VISION_CACHE_GB)),
    ),
)
"""The fields as they stand below the objective: its numbers, how rows are taken, what saves time."""

FIELDS = (OBJECTIVE, *(field for row in ROWS for field in row))
SWITCHES = frozenset(field.key for field in FIELDS if field.kind == "switch")


def has_effect(field: Field, objective: str) -> bool:
    """Whether the objective makes use of a field."""
    row = OBJECTIVES[objective]
    if field.of_reference:
        return needs_of(row).reference
    return field.setting is None or field.setting in row.reads


def changing(objective: str) -> dict[str, str]:
    """What the fields hold under an objective, by name, whose default is not the same under all."""
    options = {option.key: option for option in (*HOST_OPTIONS, *OPTIONS)}
    changed = {setting for row in OBJECTIVES.values() for setting in row.defaults}
    return {
        field.name: str(options[field.key].default_of(OBJECTIVES[objective]))
        for field in FIELDS
        if field.key in options and options[field.key].setting in changed
    }


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Training arguments of the fields' values by name: all that have an effect, 0 and False too.

    An empty text or whole number is left out, which its help line explains; an empty number is not, since training
    would put its own default in its place.

    Raises:
        WrongValueError: A field does not hold a number.
    """
    objective = values["fire_objective"]
    used = [field for field in FIELDS if has_effect(field, objective)]
    written = [field for field in used if field.kind == "number" or not _is_empty(values[field.name])]
    return {field.key: _read(field, values[field.name]) for field in written}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read(field: Field, value: Any) -> Any:
    if field.kind not in READERS:
        return value
    return read(field.kind, field.key, "" if value is None else str(value), field.default or None)


def _number(text: str) -> float:
    return float(_plain(text, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"))


def _count(text: str) -> int:
    return int(_plain(text, r"[+-]?\d+"))


def _plain(text: str, shape: str) -> str:
    """A number as YAML writes it: Python would also take `1_000`, other scripts' digits and `nan`."""
    if not re.fullmatch(shape, text.strip(), re.ASCII):
        raise ValueError(text)
    return text.strip()


def _pixels(text: str) -> str:
    """What the host computes pixels from: a number or a product of two; it would leave a third factor out."""
    return _plain(text, r"\d+( *\* *\d+)?")


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "number": (_number, "a number"),
    "count": (_count, "a whole number"),
    "pixels": (_pixels, "a number of pixels such as 589824 or 768*768"),
    "text": (str.strip, "text"),
}
"""By the kind of a field: what reads it, raising ValueError, and what it takes."""
HOST_NUMBERS = {
    "learning_rate": "number",
    "num_train_epochs": "number",
    "max_grad_norm": "number",
    "max_samples": "count",
    **dict.fromkeys(("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels"), "pixels"),
}
"""The host's own fields in which a number is written as text; it reads them without a check, by name their kind."""


def read(kind: str, key: str, text: str, example: Any = None) -> Any:
    """What is written in a field of a kind.

    Raises:
        WrongValueError: It is something else.
    """
    reader, wanted = READERS[kind]
    try:
        return reader(text)
    except ValueError:
        raise WrongValueError(key, wanted, text, example) from None


def problem(values: Mapping[str, Any], host: Mapping[str, Any], extra: dict[str, Any]) -> ValueError | None:
    """Why training would refuse these fields; None where it would not.

    Args:
        values: By name of the field.
        host: What the host's fields of HOST_NUMBERS hold, by name.
        extra: The arguments that the board takes as JSON.
    """
    from llamafactory.hparams import FinetuningArguments

    twice = sorted(set(extra) & {field.key for field in FIELDS})
    if twice:
        words = f"Extra arguments hold {twice[0]}, which the FiRe-MPO section writes. Remove it there, and set it here."
        return UserError(words)
    try:
        for name, kind in HOST_NUMBERS.items():
            read(kind, name, str(host[name]))
        written = arguments(values)
        known = {key: value for key, value in written.items() if key in FinetuningArguments.__dataclass_fields__}
        FinetuningArguments(stage=STAGE, **known)
    except ValueError as error:
        return error
    return None
