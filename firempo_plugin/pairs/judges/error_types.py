"""What kind of error sets two responses apart: which word of a quota, by the words that differ."""

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
    "finding": "finding dignity",
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
    sides = [
        _within(read_units(text, record.language, vocabulary), spans)
        for text, spans in zip((edit.chosen, edit.rejected), diff_spans(edit.chosen, edit.rejected), strict=True)
    ]
    if any(unit.role == "negator" or _YES_OR_NO.intersection(unit.words) for side in sides for unit in side):
        asked = {_kind(unit) for unit in read_units(record.question, record.language, vocabulary)} - _WHERE
        return asked.pop() if len(asked) == 1 and "finding" not in asked else "presence"
    kinds = [[_kind(unit) for unit in content(tuple(side))] for side in sides]
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


def _kind(unit: Unit) -> str | None:
    return "size" if unit.key.endswith(" mm") else _KIND_OF.get(unit.group)
