"""What the tab of pairs asks for: keys of a build, and the way from what its fields hold to the configuration and back.

Types, defaults, choices and checks are the build's own.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from ...endpoint.http_call import key_of as key_in
from ...endpoint.settings import is_key_itself
from ...errors import UserError
from ...pairs.config import BuildConfig, check
from ...pairs.exporters.llamafactory import FORMAT, refuse_taken
from ...pairs.exporters.registry import FORMATS
from ...pairs.review import decisions
from ...pairs.segmenters.segmenter import make
from ...scrub import scrub
from ...settings import WrongSettingError, checked, is_required, keys_of, overridden
from ...sources.registry import SOURCES
from ...sources.table import FIELDS as COLUMNS
from ...sources.table import columns_of
from .fields import READERS

SOURCE, OPTIONS, PLACE, EXTRA = "source.name", "source.options", "source.options.file", "extra"
"""PLACE is the first that a source has to be told: a file, or the folder of another key. EXTRA takes all other keys."""
ROWS = (
    (SOURCE, PLACE, OPTIONS),
    ("respond.backend", "respond.endpoint.base_url", "respond.endpoint.model", "respond.endpoint.key_env"),
    ("edit.judge", "edit.endpoint.base_url", "edit.endpoint.model", "edit.endpoint.key_env"),
    ("segment.by", "segment.options", "noise.corruption", "noise.sigma", "noise.whole_image"),
    ("max_cost", "edit.endpoint.price_in", "edit.endpoint.price_out", "export.name", "export.decisions"),
)
"""The keys as they stand: records, answers, judge, masks and noise, bounds and result; below them EXTRA."""
BY_THE_BOARD = ("workspace", "export.folder", "export.options.model", "export.options.template")
"""Keys that the board writes itself, the last two where nobody else has."""
KEYS = ("respond.endpoint.key_env", "edit.endpoint.key_env")
"""Those that name the variable of a key."""


@dataclass(frozen=True)
class BuildField:
    """One input of the tab.

    Attributes:
        key: Of the build.
        kind: What is put in, as in `fields.Field`; `keys` are keys and values in YAML.
        default: What it starts with.
        choices: Of a choice.
    """

    key: str
    kind: Literal["number", "choice", "switch", "text", "keys"]
    default: Any = ""
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its element in the board."""
        return f"fire_build_{self.key.replace('.', '_')}"


def _field(key: str) -> BuildField:
    if key in (PLACE, EXTRA):
        return BuildField(key, "text" if key == PLACE else "keys")
    owner: Any = BuildConfig
    *sections, last = key.split(".")
    for name in sections:
        owner = get_type_hints(owner)[name]
    part, hint = next(part for part in keys_of(owner) if part.name == last), get_type_hints(owner)[last]
    choices = part.metadata.get("choices", get_args(hint) if get_origin(hint) is Literal else ())
    if choices:
        return BuildField(key, "choice", "table" if key == SOURCE else part.default, tuple(choices))
    if hint is bool:
        return BuildField(key, "switch", part.default)
    if get_origin(hint) is dict:
        return BuildField(key, "keys")
    number = float in (hint, *get_args(hint))
    return BuildField(key, "number" if number else "text", "" if part.default is None else str(part.default))


FIELDS = tuple(_field(key) for key in (*(key for row in ROWS for key in row), EXTRA))


def given(values: Mapping[str, Any], board: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a build, unchecked; an empty field writes nothing.

    Args:
        values: What the fields hold, by key.
        board: What the board itself says, by key of BY_THE_BOARD.

    Raises:
        UserError: A field does not hold what its kind takes, or a key is written twice.
    """
    written = {field.key: _read(field, values[field.key]) for field in FIELDS}
    written = {key: value for key, value in written.items() if value not in (None, "", {})}
    found: dict[str, Any] = written.pop(EXTRA, {})
    if PLACE in written:
        place = place_of(written[SOURCE])
        _put(found, place, written.pop(PLACE))
    for name, value in written.pop(OPTIONS, {}).items():
        _put(found, f"{OPTIONS}.{name}", value)
    for key, value in written.items():
        _put(found, key, value)
    for key, value in board.items():
        if key not in BY_THE_BOARD[2:] or _at(found, key) is None:
            _put(found, key, value)
    return found


def _read(field: BuildField, value: Any) -> Any:
    text = value.strip() if isinstance(value, str) else value
    if field.kind == "keys" and text:
        try:
            found = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise WrongSettingError(field.key, "keys and values", f"{scrub(repr(text)):.80}")
        return found
    if field.kind != "number" or not (text or field.default):
        return text
    reader, wanted = READERS["number"]
    try:
        return reader(text)
    except ValueError:
        raise WrongSettingError(field.key, wanted, f"{scrub(repr(text)):.80}") from None


def _put(given: dict[str, Any], key: str, value: Any) -> None:
    """Writes a value at a dotted key.

    Raises:
        UserError: Another one stands there.
    """
    *sections, last = key.split(".")
    for name in sections:
        given = given.setdefault(name, {})
        if not isinstance(given, dict):
            raise WrongSettingError(EXTRA, "keys that have no field of their own", repr(key))
    if last in given:
        raise WrongSettingError(EXTRA, "keys that have no field of their own", repr(key))
    given[last] = value


def _at(given: Any, key: str) -> Any:
    for name in key.split("."):
        given = given.get(name) if isinstance(given, dict) else None
    return given


def _take(given: dict[str, Any], key: str) -> Any:
    """Takes the value at a dotted key out, and sections that are empty then; None where there is none."""
    first, _, rest = key.partition(".")
    if not rest:
        return given.pop(first, None)
    inner = given.get(first)
    found = _take(inner, rest) if isinstance(inner, dict) else None
    if inner == {}:
        del given[first]
    return found


def shown(config: dict[str, Any]) -> dict[str, Any]:
    """What the fields hold, by key, of a configuration as `given` writes it or a person has.

    What a list or a switch cannot hold goes to EXTRA: with it in the field, Gradio would answer nothing that reads one.
    """
    left = yaml.safe_load(yaml.safe_dump(config))
    for key in BY_THE_BOARD:
        _take(left, key)
    name = _at(left, SOURCE)
    place = _take(left, place_of(name)) if isinstance(name, str) and name in SOURCES else None
    values = {}
    for field in FIELDS[:-1]:
        value = place if field.key == PLACE else _take(left, field.key) if _can_hold(field, left) else None
        values[field.key] = field.default if value is None else value if field.kind == "switch" else _text(value)
    return values | {EXTRA: _text(left)}


def _can_hold(field: BuildField, config: dict[str, Any]) -> bool:
    value = _at(config, field.key)
    return field.kind not in ("choice", "switch") or value in (None, *(field.choices or (True, False)))


def _text(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None) if value else ""


def place_of(source: str) -> str:
    """The key of the file or folder that a source reads."""
    return f"{OPTIONS}.{(_required(source) or ['file'])[0]}"


def needs_place(source: str) -> bool:
    """Whether a source has to be told what to read."""
    return source not in SOURCES or bool(_required(source))


def _required(source: str) -> list[str]:
    return [part.name for part in keys_of(SOURCES.load(source).options) if is_required(part)]


def proposed(source: str, place: Path) -> str:
    """Options of a source for a file or folder: images beside it, and columns that are named as the fields are."""
    known = {part.name for part in keys_of(SOURCES.load(source).options)}
    found: dict[str, Any] = {"image_root": str(place.parent)} if "image_root" in known else {}
    if "columns" in known:
        with suppress(UserError):  # said when it is to be read
            found["columns"] = {name: name for name in columns_of(place) if name in COLUMNS}
    return _text(found)


def is_proposed(options: str, source: str, place: Path) -> bool:
    """Whether options are those that are proposed for a file or folder, in whatever order."""
    try:
        return bool(options.strip()) and yaml.safe_load(options) == yaml.safe_load(proposed(source, place))
    except (yaml.YAMLError, ValueError):
        return False


def name_after(folder: str) -> str:
    """The name of a data set after a build's folder, of what such a name can have."""
    name = re.sub(r"[^\w.-]+", "_", Path(folder).name).strip("_.-")
    return name if name[:1].isalpha() else f"pairs_{name}".rstrip("_")


def problem(config: dict[str, Any]) -> tuple[UserError, str] | None:
    """Why a build would be refused, by its own checks up to the source's first row, and the key that it is about."""
    key = ""
    try:
        build = checked(BuildConfig, overridden(Path("board.yaml"), config, [], resolve=True))
        check(build)
        if build.segment.by != "none":
            key = "segment.options"
            make(build.segment.by, build.segment.options)
        key = "export.folder"
        _refuse_unwritable(Path(build.export.folder))
        key = "export.name"
        options = checked(FORMATS.load(build.export.format).options, build.export.options, "export.options.")
        if build.export.format == FORMAT:
            refuse_taken(Path(build.export.folder), build.export.name, Path(build.workspace), options)
        if build.export.decisions:
            key = "export.decisions"
            decisions.read(Path(build.export.decisions))
        key = PLACE
        next(SOURCES.load(build.source.name).read(build.source.options), None)
    except UserError as error:
        return error, key_of(error, key)
    return None


def _refuse_unwritable(folder: Path) -> None:
    """Raises UserError where a data set could not be written to a folder, which may have to be made."""
    if not _is_writable(folder):
        raise UserError(
            f"{folder}, where the data set is to stand, cannot be written; choose another export.folder, or let this "
            "user write there"
        )


def _is_writable(folder: Path) -> bool:
    for place in (folder, *folder.parents):
        try:
            os.stat(place)
        except FileNotFoundError:
            continue
        except OSError:  # a file on the way, a folder that may not be looked into, a name that is too long
            return False
        return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)
    return False


def key_trouble(variable: str) -> str | None:
    """What is wrong with the name of a key's variable, as the name of a message; None where it is right, or empty.

    Nobody may show the name: what stands in its place may be the key itself.
    """
    name = variable.strip()
    if not name:
        return None
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or is_key_itself(name):
        return "build_key_itself"
    try:
        return None if key_in(name) else "build_key_unset"
    except UserError:
        return "build_key_odd"


def key_of(error: UserError, otherwise: str = "") -> str:
    """The key of the field that an error is about: the one that it begins with, or else names first."""
    text = str(error)
    if text.startswith(tuple(place_of(name) for name in SOURCES)):
        return PLACE
    named = {field.key: text.find(field.key) for field in FIELDS if field.key in text and field.key != EXTRA}
    if text.startswith(EXTRA) or not (named or otherwise):
        return EXTRA
    first = min(named.values(), default=0)
    return max((key for key, at in named.items() if at == first), key=len, default=otherwise)
