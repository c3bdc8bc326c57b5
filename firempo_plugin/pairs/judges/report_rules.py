"""Edits of reports by rules: correct what the ground truth denies, or put one error into a report that is right."""

import re
from collections.abc import Iterator

from ..records import Record
from . import chinese, english
from .answers import Change, Picker, apply, fit_case, put, written
from .contract import EditBounds, changed_words, meaning
from .findings import (
    CLEAR,
    DESCRIPTIONS,
    Contradiction,
    Statement,
    attributes,
    contradictions,
    described,
    read_statements,
    settled,
)
from .reply import ReportReply
from .text import Piece, sentences
from .units import Unit, content, read_units
from .vocabulary import Term, Vocabulary

_NOTHING = "the report states nothing that the rules can compare with the ground truth"
_HEART_STATES = ("enlarged", "normal in size", "normal")
_NORMAL = frozenset({"normal", "clear", "intact", "midline"})
_SIZE_BEFORE = re.compile(r"\b(?:size|silhouette)\W+(?:\w+\W+){0,3}$", re.IGNORECASE)
_NONE_OF_TWO = re.compile(r"^(?P<no>no)\s+(?P<first>[\w -]+?)\s+or\s+(?P<second>[\w -]+)$", re.IGNORECASE)


def edit_report(record: Record, response: str, vocabulary: Vocabulary, bounds: EditBounds) -> ReportReply | str:
    """A report with its contradictions of the ground truth corrected, or with one error where all is right.

    Returns:
        The reply, or the reason why the rules abstain.
    """
    wrong = contradictions(response, record.truth, record.language, vocabulary)
    unsettled = _unsettled(record, response, wrong, vocabulary)
    if unsettled:
        return f"the rules cannot tell whether {unsettled!r} is right"
    if wrong:
        return _corrected(record, response, wrong, vocabulary, bounds)
    changes = list(_errors(record, response, vocabulary, bounds))
    if not changes:
        return _NOTHING
    error = Picker(record.id)(changes)
    return ReportReply(True, apply(response, [error], Piece(0, len(response))))


def _corrected(
    record: Record, response: str, wrong: tuple[Contradiction, ...], vocabulary: Vocabulary, bounds: EditBounds
) -> ReportReply | str:
    changes: dict[int, Change] = {}
    for contradiction in wrong:
        change = _mended(record, response, contradiction, vocabulary, bounds)
        if change is None:
            return f"the rules cannot correct what the report says of {contradiction.finding}"
        changes[change.start] = change
    rewritten = apply(response, list(changes.values()), Piece(0, len(response)))
    left = contradictions(rewritten, record.truth, record.language, vocabulary)
    if left:
        return f"the rules cannot correct what the report says of {left[0].finding}"
    return ReportReply(False, rewritten)


def _mended(
    record: Record, text: str, contradiction: Contradiction, vocabulary: Vocabulary, bounds: EditBounds
) -> Change | None:
    wrong, right = contradiction.wrong, contradiction.right
    if wrong is None or right is None:
        return _turned(record, text, contradiction.statement, vocabulary, bounds)
    new = written(right, wrong, text, record.language)
    return put(text, wrong.start, wrong.end, new) if new else None


def _unsettled(record: Record, response: str, wrong: tuple[Contradiction, ...], vocabulary: Vocabulary) -> str:
    """The first sentence of which the ground truth may say something that rules cannot compare; "" for none.

    What the ground truth denies is settled. A sentence on which it is silent agrees with it if it calls something
    normal, or denies something.
    """
    truth = _Truth(record, vocabulary)
    denied = {(c.statement.clause.start, c.statement.finding) for c in wrong if c.wrong is None}
    mended = {c.wrong.start for c in wrong if c.wrong is not None}
    said = read_statements(response, record.language, vocabulary)
    for piece in sentences(response):
        sentence = response[piece.start : piece.end]
        here = [s for s in said if piece.start <= s.clause.start < piece.end]
        if truth.says(sentence):
            continue
        if here:
            agreed = all((s.clause.start, s.finding) in denied or truth.agrees(s, mended) for s in here)
            if not (agreed and _covers(here, piece)):
                return sentence
        elif not truth.is_silent_on(sentence):
            return sentence
    return ""


class _Truth:
    """What the ground truth report says, for comparison."""

    def __init__(self, record: Record, vocabulary: Vocabulary) -> None:
        self._language, self._vocabulary = record.language, vocabulary
        self._statements = read_statements(record.truth, record.language, vocabulary)
        self._known = settled(self._statements)
        self._described = described(self._statements)
        told = (record.truth[piece.start : piece.end] for piece in sentences(record.truth))
        self._meanings = {meaning(sentence, record.language, vocabulary) for sentence in told}
        self._keys = {unit.key for unit in content(read_units(record.truth, record.language, vocabulary))}

    def says(self, sentence: str) -> bool:
        return meaning(sentence, self._language, self._vocabulary) in self._meanings

    def agrees(self, statement: Statement, mended: set[int]) -> bool:
        """Whether it says the same of a finding and describes it alike, or is silent where that is denied."""
        if statement.present is None:
            return False
        if statement.finding == CLEAR and CLEAR not in self._known:
            return not any(s.present is not False and self._in_lungs(s.finding) for s in self._statements)
        if statement.finding not in {s.finding for s in self._statements}:
            return not statement.present
        if self._known.get(statement.finding) != statement.present:
            return False
        known = self._described[statement.finding]
        units = [unit for unit in statement.clause.units if unit.group in DESCRIPTIONS and unit.start not in mended]
        return not statement.present or all(
            unit.key in known.get(DESCRIPTIONS[unit.group], {unit.key}) for unit in units
        )

    def is_silent_on(self, sentence: str) -> bool:
        units = read_units(sentence, self._language, self._vocabulary)
        said = content(units)
        plain = any(unit.role == "negator" or unit.key in _NORMAL for unit in units)
        return plain and not any(unit.key in self._keys - _NORMAL for unit in said)

    def _in_lungs(self, finding: str) -> bool:
        term = self._vocabulary.terms.get(finding)
        return term is not None and (term.organ == "lung" or term.kin == "tumor")


def _covers(statements: list[Statement], piece: Piece) -> bool:
    """Whether the clauses of statements are all of a sentence."""
    edge = max(statement.clause.end for statement in statements)
    return min(statement.clause.start for statement in statements) - piece.start <= 4 and piece.end - edge <= 2


def _errors(record: Record, response: str, vocabulary: Vocabulary, bounds: EditBounds) -> Iterator[Change]:
    """Every change that makes one statement that the ground truth confirms contradict it."""
    truth = read_statements(record.truth, record.language, vocabulary)
    known, exact = settled(truth), attributes(truth)
    for statement in read_statements(response, record.language, vocabulary):
        if statement.present is None or known.get(statement.finding) != statement.present:
            continue
        turned = _turned(record, response, statement, vocabulary, bounds)
        if turned is not None:
            yield turned
        for unit in statement.attributes:
            right = exact.get((statement.finding, unit.group))
            if right is not None and right.name == unit.key:
                swapped = _swapped(response, unit, record.language, vocabulary)
                if swapped is not None:
                    yield swapped


def _swapped(text: str, unit: Unit, language: str, vocabulary: Vocabulary) -> Change | None:
    """A term exchanged for its first opposite."""
    assert unit.term is not None
    others = vocabulary.alternatives(unit.term)
    new = written(others[0], unit, text, language) if others else None
    return put(text, unit.start, unit.end, new) if new else None


def _turned(
    record: Record, text: str, statement: Statement, vocabulary: Vocabulary, bounds: EditBounds
) -> Change | None:
    """The statement turned around; None where that takes other findings along, or too many words."""
    clause = statement.clause
    words = text[clause.start : clause.end]
    most = bounds.max_words_per_sentence
    if statement.finding == "cardiomegaly" and any(unit.key in _HEART_STATES for unit in clause.units):
        turned = _turned_heart(text, statement, record.language, vocabulary)
    elif statement.finding not in vocabulary.terms:
        turned = None
    elif not statement.alone:
        turned = _turned_list(words, vocabulary.terms[statement.finding], statement, vocabulary)
    elif record.language == "zh":
        turned = chinese.negate(words) if statement.present else chinese.affirm(words)
    elif statement.present:
        turned = next((t for t in _denials(text, statement) if changed_words(words, t) <= most), None)
    else:
        verbal = re.search(r"\b(?:is|are|was|were|there)\b", words, re.IGNORECASE)
        turned = english.affirm(words, "" if verbal else record.truth, vocabulary)
    if turned is None or changed_words(words, turned) > most:
        return None
    return Change(clause.start, clause.end, turned)


def _denials(text: str, statement: Statement) -> Iterator[str]:
    """The clause denied, without the attributes that a denial would leave open: a side may stay, a size may not."""
    clause = statement.clause
    words = text[clause.start : clause.end]
    finding = next((unit for unit in clause.units if unit.key == statement.finding), clause.units[0])
    for kept in (frozenset(), frozenset({"side", "vertical"})):
        bare = words
        for unit in reversed(statement.attributes):
            if unit.group not in kept and unit.end <= finding.start:
                bare = bare[: unit.start - clause.start] + bare[unit.end - clause.start :].lstrip()
        if words[:1].isupper():
            bare = bare[:1].upper() + bare[1:]
        turned = english.negate(bare) if bare else None
        if turned is not None:
            yield turned


def _turned_heart(text: str, statement: Statement, language: str, vocabulary: Vocabulary) -> str | None:
    """A clause on the size of the heart, with the other size."""
    clause = statement.clause
    state = next(unit for unit in clause.units if unit.key in _HEART_STATES)
    before = [u for u in clause.units if u.end <= state.start and u.group in ("severity adverb", "severity")]
    start = before[0].start if before else state.start
    if language == "zh":
        name = "normal in size" if statement.present else "enlarged"
        new = written(vocabulary.terms[name], state, text, language)
    elif statement.present:
        new = "normal" if _SIZE_BEFORE.search(text[clause.start : start]) else "normal in size"
    else:
        new = "enlarged"
    if new is None:
        return None
    return text[clause.start : start] + fit_case(new, text[start : state.end]) + text[state.end : clause.end]


def _turned_list(words: str, finding: Term, statement: Statement, vocabulary: Vocabulary) -> str | None:
    """ "No pneumothorax or pleural effusion" with one of the two there: "pneumothorax but no pleural effusion"."""
    match = _NONE_OF_TWO.match(words)
    if match is None or statement.present:
        return None
    first, second = (read_units(match[name], "en", vocabulary) for name in ("first", "second"))
    if len(first) != 1 or len(second) != 1 or {first[0].group, second[0].group} != {"finding"}:
        return None
    article = "" if finding.uncountable or (first + second)[0].plural else english.indefinite(finding.en[0]) + " "
    if first[0].key == finding.name:
        begin = fit_case(f"{article}{match['first']}", match["no"])
        return f"{begin} but no {match['second']}"
    return f"{match['no']} {match['first']} but {article}{match['second']}"
