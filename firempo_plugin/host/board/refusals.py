"""Why a start is refused, in the page's language and under the labels that the page shows."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from ...settings import MissingSettingError, WrongSettingError
from ...sources.registry import SOURCES
from ..arguments import WrongValueError
from .build_fields import EXTRA, PLACE, place_of
from .build_fields import FIELDS as BUILD_FIELDS
from .texts import NAMES, labels, read, say, table

_ELSEWHERE = {"workspace": "fire_build_folder", "export.folder": "dataset_dir"}
"""Elements by the key that they write, of those that are no fields of ours."""
_LABEL = re.compile(r"\[(.+?)\]")
_ONE_WORD = {"key", "of", "least", "above", "most", "below"}
"""What stands in the place of these names has no space and no comma."""


def say_refusal(error: ValueError, language: str) -> str:
    """Why a start is refused: of a wrong value under the label that the page shows, else in training's own words."""
    if isinstance(error, MissingSettingError):
        return say("missing_value", language, label=label_of(error.key, language))
    if isinstance(error, WrongSettingError):
        label, found, example = label_of(error.key, language), error.found, None
    elif isinstance(error, WrongValueError):
        label, found, example = _label(NAMES.get(error.key, error.key), language), repr(error.found), error.example
    else:
        return str(error)
    return say(
        "wrong_value" if example is None else "wrong_value_and_example",
        language,
        label=label,
        wanted=_wanted(error.wanted, language),
        found=found,
        example=example,
    )


def say_build_refusal(error: ValueError, language: str) -> str:
    """Why a build is refused; what nobody has translated yet is said to be English, under the labels all the same."""
    if isinstance(error, MissingSettingError | WrongSettingError):
        return say_refusal(error, language)
    said = _filled(_refusals()["sentences"], str(error), language)
    if said is not None:
        return said
    labelled = _keys().sub(lambda key: say("quoted", language, label=label_of(key.group(), language)), str(error))
    return say("in_english", language, error=labelled)


def label_of(key: str, language: str) -> str:
    """What the page calls a key of a build: its field's label, or that of the field that takes it, and the rest."""
    if key in _places():
        key = PLACE
    if key in NAMES:
        return _label(NAMES[key], language)
    if key in _ELSEWHERE:
        return _label(_ELSEWHERE[key], language)
    of_keys = (field for field in BUILD_FIELDS if field.kind == "keys" and key.startswith(f"{field.key}."))
    field = next(of_keys, None)
    extra = _label(NAMES[EXTRA], language)
    return f"{_label(field.name, language)}: {key.removeprefix(f'{field.key}.')}" if field else f"{extra}: {key}"


def _label(name: str, language: str) -> str:
    from llamafactory.webui.locales import LOCALES

    words: Mapping[str, str] = (labels() if name in labels() else LOCALES)[name][language]
    return words["label"]


def _wanted(text: str, language: str) -> str:
    """What a key takes, in a language; as it stands where nobody has translated it yet."""
    known = table("wanted")
    said = _filled(known, text, language)
    if said is None and " or " in text:
        parts = [_filled(known, part, language) for part in text.split(" or ")]
        said = None if None in parts else say("wanted_or", language).join(map(str, parts))
    return text if said is None else said


def _filled(known: Mapping[str, Mapping[str, str]], text: str, language: str) -> str | None:
    """A text in another language; see `refusals.yaml`. None where the table does not have it."""
    for english, words in known.items():
        found = _shape(english).fullmatch(text) if language in words else None
        if found is not None:
            values = {name: _value(name, value, language) for name, value in found.groupdict().items()}
            parts = [part.format(**values) for part in _LABEL.split(words[language])]
            parts[1::2] = [label_of(key, language) for key in parts[1::2]]  # what stood between brackets
            return "".join(parts)
    return None


def _value(name: str, found: str, language: str) -> str:
    if name == "reason" and language in (words := _refusals()["reasons"].get(found, {})):
        return str(words[language])
    if name in ("reason", "error"):  # the system's, or a library's
        return say("in_english", language, error=found)
    return _wanted(found, language) if name == "wanted" else found


@cache
def _shape(english: str) -> re.Pattern[str]:
    """What an English text with words in braces looks like."""
    plain = re.split(r"{(\w+)}", english)
    for place in range(1, len(plain), 2):
        shape = r"[^\s,]+" if plain[place] in _ONE_WORD else ".+?"
        plain[place] = f"(?P<{plain[place]}>{shape})"
    return re.compile("".join(part if place % 2 else re.escape(part) for place, part in enumerate(plain)), re.S)


@lru_cache(maxsize=1)
def _keys() -> re.Pattern[str]:
    """Keys of the tab's fields in a sentence, with what stands below them."""
    keys = {*(field.key for field in BUILD_FIELDS), *_places(), *_ELSEWHERE} - {EXTRA, "workspace"}
    known = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))
    return re.compile(rf"(?<![\w./-])(?:{known})(?:\.\w+)*(?![\w/-])")


@lru_cache(maxsize=1)
def _places() -> frozenset[str]:
    """The keys of what the sources read, of which one field takes each."""
    return frozenset(place_of(name) for name in SOURCES)


@lru_cache(maxsize=1)
def _refusals() -> dict[str, Any]:
    return dict(read("refusals.yaml"))
