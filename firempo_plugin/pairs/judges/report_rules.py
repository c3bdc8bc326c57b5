"""Edits of reports by rules: correct what the ground truth denies, or put one error into a report that is right."""

from collections.abc import Iterator

from ..records import Record
from . import chinese, english
from .answers import Change, Picker, apply, put, written
from .contract import EditBounds, changed_words, meaning
from .findings import Statement, contradictions, read_statements, settled
from .reply import ReportReply
from .text import Piece, sentences
from .units import Clause, Unit
from .vocabulary import Vocabulary

_SWAPPED = ("side", "severity", "size", "density", "signal", "extent")
_NOTHING = "the report states nothing that the rules can compare with the ground truth"


def edit_report(record: Record, response: str, vocabulary: Vocabulary, bounds: EditBounds) -> ReportReply | str:
    """A report with its contradictions of the ground truth corrected, or with one error where all is right.

    Returns:
        The reply, or the reason why the rules abstain.
    """
    wrong = contradictions(response, record.truth, record.language, vocabulary)
    if wrong:
        return _corrected(record, response, wrong, vocabulary, bounds)
    unsettled = _unsettled(record, response, vocabulary)
    if unsettled:
        return f"the rules cannot tell whether {unsettled!r} is right"
    changes = list(_errors(record, response, vocabulary, bounds))
    if not changes:
        return _NOTHING
    error = Picker(record.id)(changes)
    return ReportReply(True, apply(response, [error], Piece(0, len(response))))


def _corrected(
    record: Record, response: str, wrong: tuple[Statement, ...], vocabulary: Vocabulary, bounds: EditBounds
) -> ReportReply | str:
    changes: dict[int, Change] = {}
    for statement in wrong:
        change = _turned(record, response, statement, vocabulary, bounds)
        if change is None:
            return f"the rules cannot correct what the report says of {statement.finding}"
        changes[change.start] = change
    rewritten = apply(response, list(changes.values()), Piece(0, len(response)))
    left = contradictions(rewritten, record.truth, record.language, vocabulary)
    if left:
        return f"the rules cannot correct what the report says of {left[0].finding}"
    return ReportReply(False, rewritten)


def _unsettled(record: Record, response: str, vocabulary: Vocabulary) -> str:
    """The first sentence that the ground truth does not confirm; "" where it confirms all."""
    known = settled(read_statements(record.truth, record.language, vocabulary))
    said = read_statements(response, record.language, vocabulary)
    told = {meaning(record.truth[s.start : s.end], record.language, vocabulary) for s in sentences(record.truth)}
    for piece in sentences(response):
        sentence = response[piece.start : piece.end]
        here = [s for s in said if piece.start <= s.clause.start < piece.end]
        confirmed = bool(here) and all(s.present is not None and known.get(s.finding) == s.present for s in here)
        if meaning(sentence, record.language, vocabulary) not in told and not (confirmed and _is_plain(here)):
            return sentence
    return ""


def _is_plain(statements: list[Statement]) -> bool:
    """Whether statements say only that something is there or not: no side, size or other claim beside it."""
    return all(
        unit.group in ("finding", "number") or unit.role not in ("word", "term")
        for statement in statements
        for unit in statement.clause.units
    )


def _errors(record: Record, response: str, vocabulary: Vocabulary, bounds: EditBounds) -> Iterator[Change]:
    """Every change that turns one decidable finding of a right report into an error."""
    for statement in read_statements(response, record.language, vocabulary):
        if statement.present is None:
            continue
        turned = _turned(record, response, statement, vocabulary, bounds)
        if turned is not None:
            yield turned
        for unit in statement.clause.units:
            if unit.group in _SWAPPED and unit.term and statement.present:
                swapped = _swapped(response, unit, statement.clause, record.language, vocabulary)
                if swapped is not None:
                    yield swapped


def _swapped(text: str, unit: Unit, clause: Clause, language: str, vocabulary: Vocabulary) -> Change | None:
    """A term exchanged for its first opposite, unless the clause has that too."""
    assert unit.term is not None
    others = vocabulary.alternatives(unit.term)
    if not others or any(other.key == others[0].name for other in clause.units):
        return None
    new = written(others[0], unit, text, language)
    return put(text, unit.start, unit.end, new) if new else None


def _turned(
    record: Record, text: str, statement: Statement, vocabulary: Vocabulary, bounds: EditBounds
) -> Change | None:
    """The statement turned around; None where that takes other findings along, or too many words."""
    clause = statement.clause
    if not statement.alone:
        return None
    words = text[clause.start : clause.end]
    heart = next((unit for unit in clause.units if unit.group == "dimension"), None)
    if heart is not None and heart.term is not None:
        new = written(vocabulary.alternatives(heart.term)[0], heart, text, record.language)
        return put(text, heart.start, heart.end, new) if new else None
    if record.language == "zh":
        turned = chinese.negate(words) if statement.present else chinese.affirm(words)
    elif statement.present:
        turned = english.negate(words)
    else:
        turned = english.affirm(words, record.truth, vocabulary)
    if turned is None or changed_words(words, turned) > bounds.max_words_per_sentence:
        return None
    return Change(clause.start, clause.end, turned)
