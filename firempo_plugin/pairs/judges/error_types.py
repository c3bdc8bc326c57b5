"""What kind of error sets two responses apart: which word of a quota, by the words that differ."""

import re
from collections.abc import Sequence

from ...answers.grammar import GRAMMARS
from ...answers.text import word_set
from ...answers.units import Unit, content, read_units
from ...answers.vocabulary import Vocabulary
from ...endpoint.json_reply import ReplyError
from ...phrases import Span, diff_spans
from ...records import Edit, Record

OTHER = "other"
_GROUPS = {
    "finding": "finding device dignity",
    "modality": "modality weighting plane projection contrast technique",
    "laterality": "side laterality symmetry",
    "location": "vertical depth lobe organ part portion system category place axis matter",
    "size": "size comparison dimension",
    "severity": "severity severity_adverb",
    "number": "amount number",
    "course": "course trend",
    "appearance": "density signal echo lucency colour content outline shape margin texture inflation extent",
    "presence": "normality health",
}
"""Groups of the vocabulary by kind of error. The first kind that both sides name is an edit's."""
_KIND_OF = {group.replace("_", " "): kind for kind, groups in _GROUPS.items() for group in groups.split()}
ERROR_TYPES = (*_GROUPS, OTHER)
_WHERE = frozenset({"laterality", "location", None})
_YES_OR_NO = word_set("yes no")
_NAMES = re.compile(
    r"\s+(?!\w+ly\b|(?:in|on|at|by|to|from|since|over|when|with|compared|as|than|again|now|further|and|or|but)\b)[a-z]",
    re.IGNORECASE,
)
"""A noun after "increased": it is dense or large, not denser or larger than it was."""
_EARLIER = re.compile("较前|比前|与前|前次|之前|以前|复查|随访")


def rule_error_type(record: Record, edit: Edit, vocabulary: Vocabulary) -> str | None:
    """The kind of error by the vocabulary; None where it does not know the words.

    A yes that turned to a no, a negation or a finding that one side alone has is an error of presence; where the
    question names no finding and, beside places, one kind of thing ("Is this a CT?"), it is one of that kind.

    Args:
        record: Question, ground truth and language.
        edit: Chosen and rejected.
        vocabulary: Terms, whose groups decide.
    """
    if record.language not in GRAMMARS:
        return None
    texts = (edit.chosen, edit.rejected)
    sides = [
        _within(read_units(text, record.language, vocabulary), spans)
        for text, spans in zip(texts, diff_spans(*texts), strict=True)
    ]
    if any(unit.role == "negator" or _YES_OR_NO.intersection(unit.words) for side in sides for unit in side):
        if record.kind == "report":
            return "presence"  # "describe this chest X-ray" asks for no modality
        question = read_units(record.question, record.language, vocabulary)
        asked = {_kind(unit, record.question) for unit in question} - _WHERE
        return asked.pop() if len(asked) == 1 and "finding" not in asked else "presence"
    kinds = [[_kind(unit, text) for unit in content(tuple(side))] for side, text in zip(sides, texts, strict=True)]
    said = [set(side) - {None} for side in kinds]
    if not (said[0] or said[1]) or any(side and not known for side, known in zip(kinds, said, strict=True)):
        return None
    if "finding" in said[0] ^ said[1] and not (kinds[0] and kinds[1]):
        return "presence"
    shared = said[0] & said[1] or said[0] | said[1]
    return next(kind for kind in _GROUPS if kind in shared)


def parse_error_type(text: str) -> str:
    """Reads a judge's reply, one of ERROR_TYPES.

    Raises:
        ReplyError: It is another text.
    """
    word = text.strip().strip("\"'.`*").lower()
    if word not in ERROR_TYPES:
        raise ReplyError(f"the kind of error must be one of {', '.join(ERROR_TYPES)}, found {text[:80]!r}")
    return word


def _within(units: Sequence[Unit], spans: Sequence[Span]) -> list[Unit]:
    """The units that share a character with a span."""
    return [unit for unit in units if any(unit.start < end and start < unit.end for start, end in spans)]


def _kind(unit: Unit, text: str) -> str | None:
    """The kind of thing that a unit of a text is; "increased opacity" is how it looks, "has increased" its course."""
    if unit.group == "trend":
        chinese = not text[unit.start : unit.end].isascii()
        looks = not _EARLIER.search(text) if chinese else _NAMES.match(text, unit.end)
        return "appearance" if looks else "course"
    return "size" if unit.key.endswith(" mm") else _KIND_OF.get(unit.group)
