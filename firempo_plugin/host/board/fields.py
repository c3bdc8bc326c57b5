"""The section's fields as data: which key of the training YAML each writes, and when it has an effect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import UserError
from ...objectives.table import OBJECTIVES
from ...objectives.terms import SCOPES
from ..arguments import HOST_OPTIONS, OPTIONS, STAGE, VISION_CACHE_GB


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
    """

    name: str
    key: str
    kind: Literal["number", "count", "choice", "switch", "text"]
    default: Any = ""
    choices: tuple[str, ...] = ()
    setting: str | None = None


_SETTINGS = {option.key: option.setting for option in OPTIONS}
_DEFAULTS = {option.key: option.default for option in OPTIONS}


def _number(key: str) -> Field:
    return Field(key, key, "number", str(_DEFAULTS[key]), setting=_SETTINGS[key])


OBJECTIVE = Field("fire_objective", "fire_objective", "choice", STAGE, tuple(OBJECTIVES))
ROWS: tuple[tuple[Field, ...], ...] = (
    (
        Field("fire_beta", "pref_beta", "number", "0.1"),
        _number("fire_gamma"),
        _number("fire_alpha"),
        _number("fire_lambda"),
    ),
    (
        Field("fire_kl_scope", "fire_kl_scope", "choice", _DEFAULTS["fire_kl_scope"], SCOPES, "kl_scope"),
        Field("fire_nll", "pref_ftx", "number", "0.0"),
        Field("fire_skip_invalid", "fire_skip_invalid", "switch", False),
        Field("fire_processor", "processor_name_or_path", "text"),
    ),
    tuple(_number(key) for key in ("fire_phrase_weight", "fire_margin", "fire_length_weight", "fire_label_smoothing")),
    tuple(_number(key) for key in ("fire_sequence_kl_weight", "fire_floor_weight", "fire_consistency_weight")),
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
    return field.setting is None or field.setting in OBJECTIVES[objective].reads


def changing(objective: str) -> dict[str, str]:
    """What the fields hold under an objective, by name, whose default is not the same under all."""
    options = {option.key: option for option in (*HOST_OPTIONS, *OPTIONS)}
    changed = {setting for row in OBJECTIVES.values() for setting in row.defaults}
    return {
        field.name: str(options[field.key].default_of(OBJECTIVES[objective]))
        for field in FIELDS
        if field.key in options and options[field.key].setting in changed
    }


def arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Training arguments of the fields' values by name: all that have an effect and are not empty, 0 and False too.

    Raises:
        UserError: A field does not hold a number; names its key.
    """
    objective = values["fire_objective"]
    written = [field for field in FIELDS if has_effect(field, objective) and not _is_empty(values[field.name])]
    return {field.key: _read(field, values[field.name]) for field in written}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read(field: Field, value: Any) -> Any:
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "number": (float, "a number"),
        "count": (int, "a whole number"),
        "text": (str.strip, "text"),
    }
    if field.kind not in readers:
        return value
    read, wanted = readers[field.kind]
    try:
        return read(str(value))
    except ValueError:
        raise UserError(f"{field.key} must be {wanted}, found {value!r}.") from None


def problem(values: dict[str, Any], extra: dict[str, Any]) -> str | None:
    """Why training would refuse these fields, in its words; None where it would not.

    Args:
        values: By name of the field.
        extra: The arguments that the board takes as JSON.
    """
    from llamafactory.hparams import FinetuningArguments

    twice = sorted(set(extra) & {field.key for field in FIELDS})
    if twice:
        return f"Extra arguments hold {twice[0]}, which the FiRe-MPO section writes. Remove it there, and set it here."
    try:
        written = arguments(values)
        known = {key: value for key, value in written.items() if key in FinetuningArguments.__dataclass_fields__}
        FinetuningArguments(stage=STAGE, **known)
    except ValueError as error:
        return str(error)
    return None
