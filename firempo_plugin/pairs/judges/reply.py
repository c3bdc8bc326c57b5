"""A judge's reply: its form, and how it is read from what a model wrote, in time that is linear in its length."""

from dataclasses import dataclass
from typing import Any

from ...endpoint.json_reply import ReplyError, read_object
from ...files import is_unicode
from ...records import Kind


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

# No string is tried twice: one that is open reaches to the end.


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
