"""A judge's reply: its form, and how it is read from what a model wrote, in time that is linear in its length."""

import json
import re
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ...files import is_unicode
from ...records import Kind


class ReplyError(UserError):
    """A judge's reply cannot be believed; the message is the reason, for the judge to do better and for people."""


@dataclass(frozen=True)
class VqaReply:
    """What a judge says of an answer.

    Attributes:
        answer_sentence: The clause of the response that states the answer, verbatim.
        final_answer: The answer, in as few words as possible.
        is_correct: Whether it agrees with the ground truth.
        edited_sentence: The clause made wrong if it was right, made right if it was wrong.
    """

    answer_sentence: str
    final_answer: str
    is_correct: bool
    edited_sentence: str


@dataclass(frozen=True)
class ReportReply:
    """What a judge says of a report.

    Attributes:
        all_correct: Whether every statement agrees with the ground truth.
        rewritten_report: The report with an error put in if all was correct, with its errors corrected if not.
    """

    all_correct: bool
    rewritten_report: str


def _schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_TRUTH = {"type": "boolean"}
VQA_SCHEMA: dict[str, Any] = _schema(
    {"answer_sentence": _TEXT, "final_answer": _TEXT, "is_correct": _TRUTH, "edited_sentence": _TEXT}
)
REPORT_SCHEMA: dict[str, Any] = _schema({"all_correct": _TRUTH, "rewritten_report": _TEXT})

_SMART_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"'})
_KEY_QUOTES = re.compile(r"([{,]\s*)[‘’']([A-Za-z_]+)[‘’'](\s*:)")
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
# No string is tried twice: one that is open reaches to the end.
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_OUTSIDE_STRINGS = re.compile(rf"({_STRING})|\b(True|False|None)\b|,(?=\s*+[}}\]])", re.DOTALL)
_EITHER_STRING = re.compile(rf"{_STRING}|'((?:[^'\\]++|\\.)*+)'?", re.DOTALL)
_ESCAPED_QUOTE = re.compile(r"\\(.)|(\")", re.DOTALL)
_OBJECT = re.compile(r'\{(?=\s*+["}])')
_MOST_BROKEN = 32
"""Objects that begin and cannot be read, after which no other is looked for."""


def parse_reply(text: str, kind: Kind) -> VqaReply | ReportReply:
    """Reads a reply: JSON, also fenced, in prose, in a list of one, or with a model's usual slips.

    Slips are trailing commas, True and False, and typographic quotes. Fields that nobody asked for are left out.

    Raises:
        ReplyError: There is no JSON object, or several; a field is missing or is no text, or no true or false.
    """
    found = read_object(text)
    schema = VQA_SCHEMA if kind == "vqa" else REPORT_SCHEMA
    fields: dict[str, Any] = {}
    for name, wanted in schema["properties"].items():
        if name not in found:
            raise ReplyError(f"the field {name!r} is missing; the fields are {', '.join(schema['properties'])}")
        fields[name] = _field(name, found[name], wanted["type"])
    return VqaReply(**fields) if kind == "vqa" else ReportReply(**fields)


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


def _field(name: str, value: object, wanted: str) -> object:
    if wanted == "boolean":
        words = {"true": True, "yes": True, "false": False, "no": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise ReplyError(f"the field {name!r} must be true or false, found {value!r:.80}")
    if not isinstance(value, str):
        raise ReplyError(f"the field {name!r} must be a text, found {value!r:.80}")
    if not is_unicode(value):
        raise ReplyError(f"the field {name!r} holds half a surrogate pair, which is no Unicode")
    return value.strip()
