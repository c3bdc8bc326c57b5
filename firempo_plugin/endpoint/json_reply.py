"""The JSON object in what a model wrote, in time that is linear in its length."""

import json
import re
from typing import Any

from ..errors import UserError


class ReplyError(UserError):
    """A judge's reply cannot be believed; the message is the reason, for the judge to do better and for people."""


_SMART_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"'})
_KEY_QUOTES = re.compile(r"([{,]\s*)[‘’']([A-Za-z_]+)[‘’'](\s*:)")
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_OUTSIDE_STRINGS = re.compile(rf"({_STRING})|\b(True|False|None)\b|,(?=\s*+[}}\]])", re.DOTALL)
_EITHER_STRING = re.compile(rf"{_STRING}|'((?:[^'\\]++|\\.)*+)'?", re.DOTALL)
_ESCAPED_QUOTE = re.compile(r"\\(.)|(\")", re.DOTALL)
_OBJECT = re.compile(r'\{(?=\s*+["}])')
_MOST_BROKEN = 32
"""Objects that begin and cannot be read, after which no other is looked for."""


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object of a text.

    Raises:
        ReplyError: There is none that can be read, or there are several different ones.
    """
    for written in (text, _mended(text), _mended(_requoted(text))):
        objects = _objects(written)
        if len(objects) > 1 and any(other != objects[0] for other in objects):
            raise ReplyError(f"there are {len(objects)} JSON objects; write one")
        if objects:
            return objects[0]
    raise ReplyError("there is no JSON object that can be read; write one JSON object and nothing else")


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects of a text."""
    decoder = json.JSONDecoder(strict=False)
    found, broken = [], 0
    start = _OBJECT.search(text)
    while start and broken < _MOST_BROKEN:
        try:
            value, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            broken, end = broken + 1, start.end()
        else:
            found.append(value)
        start = _OBJECT.search(text, end)
    return found


def _requoted(text: str) -> str:
    """A Python dictionary's strings in double quotes."""

    def requote(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        inside = _ESCAPED_QUOTE.sub(lambda mark: '\\"' if mark[2] else "'" if mark[1] == "'" else mark[0], match[1])
        return f'"{inside}"'

    start = max(text.find("{"), 0)  # an apostrophe before it quotes nothing
    return text[:start] + _EITHER_STRING.sub(requote, text[start:])


def _mended(text: str) -> str:
    """A text with a model's usual slips in JSON mended, outside of its strings."""
    quoted = _KEY_QUOTES.sub(r'\1"\2"\3', _curly_delimiters(text))
    return _OUTSIDE_STRINGS.sub(lambda match: match[1] or _PYTHON_WORDS.get(match[2] or "", ""), quoted)


def _curly_delimiters(text: str) -> str:
    """Typographic double quotes that delimit keys or values, as plain ones; those inside a text stay."""
    delimiter = re.compile(r"(?<=[{\[,:])(\s*)[“”„‟]|[“”„‟](?=\s*[}\],:])")
    return delimiter.sub(lambda match: match[0].translate(_SMART_QUOTES), text)
