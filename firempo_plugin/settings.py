"""Settings of every command and part: YAML and `key=value` over dataclasses, one checker, and the words of `--help`.

A key is a field made by `config_key`, where its type, default, limits and meaning stand together. The same checker
reads the configuration of a command and the options that only one source, segmenter, format or measure understands.
"""

import difflib
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UserError
from .registry import Registry
from .scrub import scrub

Config = TypeVar("Config")


class WrongSettingError(UserError):
    """A key holds a value that it cannot have.

    Attributes:
        key: With the sections that it stands in.
        wanted: What it takes, in words.
        found: What it holds, as it may be shown.
    """

    def __init__(self, key: str, wanted: str, found: str) -> None:
        super().__init__(f"{key} must be {wanted}, found {found}")
        self.key, self.wanted, self.found = key, wanted, found


class MissingSettingError(UserError):
    """A key has to be written.

    Attributes:
        key: With the sections that it stands in.
    """

    def __init__(self, key: str, meaning: str) -> None:
        super().__init__(f"{key} is missing; write the {meaning}")
        self.key = key


LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "keys and values",
    NoneType: "null",
}
_UNIONS = (Union, UnionType)


def config_key(default: Any, meaning: str | Registry[Any], **limits: Any) -> Any:
    """A key of a configuration, as a dataclass field.

    Args:
        default: MISSING where it has to be written.
        meaning: What `--help` says of it; of a registry, whose names are the choices, all names with their words.
        limits: `choices` of a text; `least`, `above`, `most`, `below` of a number, or of those in a list.
    """
    about = {"help": meaning, **({"choices": meaning} if isinstance(meaning, Registry) else {}), **limits}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata=about)
    return field(default=default, metadata=about)


def section(kind: type[Config], without: Iterable[str] = ()) -> Any:
    """A key that holds the keys of another dataclass, but those that are decided elsewhere."""
    return field(default_factory=kind, metadata={"without": tuple(without)})


def read(
    path: Path,
    overrides: list[str],
    kind: type[Config],
    command: str,
    prepare: Callable[[dict[str, Any]], None] = lambda given: None,
) -> Config:
    """Reads a configuration file with `section.key=value` overrides into a dataclass; checks keys and values.

    Args:
        path: The file.
        overrides: Over it.
        kind: The dataclass.
        command: Of `firempo`, for messages.
        prepare: Brings what was written into the form that the dataclass takes.

    Raises:
        UserError: The file is missing or broken, a key is unknown, or a value cannot be.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; write `firempo {command} CONFIG.yaml`")
    given = written(path, overrides, resolve=True)
    prepare(given)
    try:
        return checked(kind, given)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def written(path: Path, overrides: list[str], *, resolve: bool) -> dict[str, Any]:
    """What a YAML file and overrides say, unchecked.

    Args:
        path: The file; it exists.
        overrides: `section.key=value` over it.
        resolve: Whether `${...}` is replaced by what it stands for.

    Raises:
        UserError: One of them is no YAML, or the file holds no keys and values.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise UserError(f"{path} must hold keys and values")
        return overridden(path, loaded, overrides, resolve=resolve)
    except (OSError, UnicodeDecodeError, YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from error


def overridden(path: Path, given: Any, overrides: list[str], *, resolve: bool) -> dict[str, Any]:
    """Keys and values that were written in a file, with overrides; see `written`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found: Any = OmegaConf.to_container(OmegaConf.merge(given, from_overrides(overrides)), resolve=resolve)
    except RecursionError:
        raise UserError(f"{path} holds keys and values that stand in themselves, or too deep in others") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {error.full_key or ''}: {str(error).splitlines()[0]}") from error
    except TypeError as error:  # omegaconf's, of a list in the place of keys, and the other way round
        raise UserError(f"{path}: an override is of another kind than what it is to replace: {error}") from error
    return dict(found)


def from_overrides(overrides: list[str]) -> Any:
    """What `section.key=value` says, as omegaconf has it.

    Raises:
        UserError: One is no override, or its value no YAML.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    for override in overrides:
        if "=" not in override:
            raise UserError(f"{override!r} is no override; write section.key=value")
        try:
            OmegaConf.from_dotlist([override])
        except YAMLError as error:
            hint = "quote a text that YAML reads otherwise: key='\"text\"'"
            raise UserError(f"the value of {override.partition('=')[0]} is no YAML; {hint}") from error
    return OmegaConf.from_dotlist(overrides)


def checked(kind: type[Config], given: Any, place: str = "", without: Iterable[str] = ()) -> Config:
    """Makes a dataclass of the values that were written.

    Args:
        kind: The dataclass. What its `__post_init__` refuses starts with the key's name.
        given: Values by name.
        place: Where they were written, for messages: "" or "section.".
        without: Keys that are not to be written here.

    Raises:
        UserError: A key is unknown or missing, or a value cannot be. Names the key and what to write.
    """
    known = {part.name: part for part in keys_of(kind, without)}
    if not isinstance(given, Mapping):
        raise UserError(f"{place[:-1]} must hold keys and values, found {given!r}")
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {place}{close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
            raise UserError(f"unknown key {place}{name}; {hint}")
    for name, part in known.items():
        if is_required(part) and given.get(name) in (None, "", []):
            raise MissingSettingError(place + name, str(part.metadata["help"]))
    hints = get_type_hints(kind)
    values = {
        name: value
        if value == known[name].default == ""
        else _fit(value, hints[name], known[name].metadata, place + name)
        for name, value in given.items()
    }
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def keys_of(kind: type, without: Iterable[str] = ()) -> list[Field[Any]]:
    """The keys of a dataclass."""
    return [part for part in fields(kind) if part.name not in without]


def is_required(part: Field[Any]) -> bool:
    """Whether a key has to be written."""
    return part.default is MISSING and part.default_factory is MISSING


def _fit(value: Any, hint: Any, about: Mapping[str, Any], key: str) -> Any:
    """The value in the type that the key has: a whole number as a number, a list as a tuple, keys as a dataclass."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if hint is Any or (kind is Literal and value in inner):
        return value
    if is_dataclass(kind):
        return checked(kind, value, f"{key}.", about["without"])  # type: ignore[arg-type]
    for choice in inner if kind in _UNIONS else ():
        try:
            return _fit(value, choice, about, key)
        except UserError:
            continue
    if kind in (list, tuple) and isinstance(value, list | tuple):
        return kind(_fit(part, inner[0], about, key) for part in value)
    if kind is dict and isinstance(value, Mapping):
        named = {_fit(name, str, {}, f"the name {name!r} in {key}"): part for name, part in value.items()}
        return {name: _fit(part, inner[1], about, f"{key}.{name}") for name, part in named.items()}
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is not kind or not _is_within(value, about):
        raise WrongSettingError(key, _words(hint, about), f"{scrub(repr(value)):.200}")
    return value


def _is_within(value: Any, about: Mapping[str, Any]) -> bool:
    if isinstance(value, str):
        return value in about.get("choices", (value,))
    if isinstance(value, int | float):
        return (type(value) is int or math.isfinite(value)) and all(
            LIMITS[name][0](value, about[name]) for name in LIMITS if name in about
        )
    return True


def _words(hint: Any, about: Mapping[str, Any]) -> str:
    """What a value must be."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in _UNIONS:
        return " or ".join(_words(choice, about) for choice in inner)
    if kind in (list, tuple):
        return "a list" if inner[0] is Any else f"a list, each {_words(inner[0], about)}"
    choices = inner if kind is Literal else about.get("choices", ()) if kind is str else ()
    if choices:
        return f"one of {', '.join(choices)}"
    limits = ", ".join(f"{LIMITS[name][1]} {about[name]}" for name in LIMITS if name in about)
    return f"{_WORDS[kind]} ({limits})" if limits and kind in (int, float) else _WORDS[kind]


def describe(kind: type, place: str = "", without: Iterable[str] = ()) -> list[str]:
    """One line for every key: its name, its default and its meaning."""
    lines: list[str] = []
    hints = get_type_hints(kind)
    for part in keys_of(kind, without):
        if is_dataclass(hints[part.name]):
            lines += describe(hints[part.name], f"{place}{part.name}.", part.metadata["without"])
            continue
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        written = default if default and isinstance(default, str) else json.dumps(default, default=str)
        shown = "(required)" if is_required(part) else written
        lines.append(f"{place + part.name:36} {shown:24} {part.metadata['help']}")
    return lines


def describe_options(
    title: str, things: Registry[Any], options: Callable[[Any], type | None] = lambda thing: thing.options
) -> list[str]:
    """One line for every option of every thing of a registry, below a title."""
    found = {name: options(things.load(name)) for name, (place, _) in things.items() if place}
    return ["", title, *(line for name, kind in found.items() if kind for line in describe(kind, f"{name}."))]
