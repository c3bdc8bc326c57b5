"""Which sentences of a report the ground truth settles, and which speak against a finding."""

from ..records import Record
from .contract import meaning
from .findings import (
    CLEAR,
    DESCRIPTIONS,
    Contradiction,
    Statement,
    described,
    read_statements,
    settled,
)
from .text import Piece, sentences, word_set
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import Term, Vocabulary, akin

_NORMAL = frozenset({"normal", "clear", "intact", "midline", "unremarkable"})
_GENERAL = word_set("abnormal process disease finding pathology cardiopulmonary intrathoracic chest study examination")
_BONES = word_set("osseous bony bone skeletal skeleton rib spine spinal vertebra vertebral degenerative fracture")
_ELSEWHERE = _BONES | word_set("soft tissue thoracic subdiaphragmatic")
_POINTING = word_set("it its this that these they which")
_SHOWN_BY = {"lung": ("costophrenic angle", "hemidiaphragm"), "heart": ("cardiomediastinal silhouette",)}
_CLOUDING = frozenset({"airspace", "tumor"})


class ReportTruth:
    """What the ground truth report says, for comparison."""

    def __init__(self, record: Record, vocabulary: Vocabulary) -> None:
        self._language, self._vocabulary = record.language, vocabulary
        self._statements = read_statements(record.truth, record.language, vocabulary)
        self._known = settled(self._statements)
        self._described = described(self._statements)
        self._told = [record.truth[piece.start : piece.end] for piece in sentences(record.truth)]
        self._meanings = {meaning(sentence, record.language, vocabulary) for sentence in self._told}

    def unsettled(self, report: str, wrong: tuple[Contradiction, ...]) -> str:
        """The first sentence of which the truth may say something that rules cannot compare; "" for none.

        What the ground truth denies is settled. A sentence on which it is silent agrees with it if it calls
        something normal, or denies something.
        """
        denied = {(c.statement.clause.start, c.statement.finding) for c in wrong if c.wrong is None}
        mended = {c.wrong.start for c in wrong if c.wrong is not None}
        said = read_statements(report, self._language, self._vocabulary)
        for piece in sentences(report):
            sentence = report[piece.start : piece.end]
            here = [s for s in said if piece.start <= s.clause.start < piece.end]
            if meaning(sentence, self._language, self._vocabulary) in self._meanings:
                continue
            if here:
                agreed = all((s.clause.start, s.finding) in denied or self._agrees(s, mended) for s in here)
                if not (agreed and _covers(here, piece)):
                    return sentence
            elif not self._is_harmless(sentence):
                return sentence
        return ""

    def _agrees(self, statement: Statement, mended: set[int]) -> bool:
        """Whether it says the same of a finding and describes it alike, or is silent where that is denied."""
        if statement.present is None:
            return self._denies_in_part(statement)
        if statement.finding == CLEAR and CLEAR not in self._known:
            return not any(s.present is not False and self._in_lungs(s.finding) for s in self._statements)
        if statement.finding not in {s.finding for s in self._statements}:
            return not statement.present and not self._names_related(statement.finding)
        if self._known.get(statement.finding) != statement.present:
            return False
        known = self._described[statement.finding]
        units = [unit for unit in statement.clause.units if unit.group in DESCRIPTIONS and unit.start not in mended]
        return not statement.present or all(
            unit.key in known.get(DESCRIPTIONS[unit.group], {unit.key}) for unit in units
        )

    def _denies_in_part(self, statement: Statement) -> bool:
        """Whether it denies some of what the truth denies or does not name: "no large effusion"."""
        roles = [unit.role for unit in statement.clause.units]
        denies = roles.count("negator") == 1 and not {"blur", "veto", "guess"} & set(roles)
        return denies and not self._names_related(statement.finding)

    def _names_related(self, finding: str) -> bool:
        """Whether the truth does not deny a finding, or one of its kin: "no opacity" is wrong beside "pneumonia"."""
        term = self._vocabulary.terms.get(finding)
        named = {s.finding for s in self._statements if s.present is not False}
        others = [other for name in named if (other := self._vocabulary.terms.get(name)) is not None]
        return finding in named or term is None or any(related(term, other) for other in others)

    def _is_harmless(self, sentence: str) -> bool:
        """Whether it calls normal, or denies, what no sentence of the truth finds fault with."""
        units = self._units(sentence)
        if not _is_plain(units):
            return False
        if _is_general(units):
            return all(s.present is False for s in self._statements) and all(map(self._is_plain, self._told))
        about = _topics(units)
        there = [self._vocabulary.terms.get(s.finding) for s in self._statements if s.present is not False]
        if any(term is not None and _is_about(unit, term.organ, self._vocabulary) for unit in units for term in there):
            return False
        return not any(about & _topics(self._units(told)) and not self._is_plain(told) for told in self._told)

    def _is_plain(self, sentence: str) -> bool:
        said = read_statements(sentence, self._language, self._vocabulary)
        return _is_plain(self._units(sentence)) and not any(s.present for s in said)

    def _units(self, text: str) -> tuple[Unit, ...]:
        return read_units(text, self._language, self._vocabulary)

    def _in_lungs(self, finding: str) -> bool:
        term = self._vocabulary.terms.get(finding)
        return term is not None and (term.organ == "lung" or term.kin == "tumor")


def contradicted(report: str, finding: str, present: bool, vocabulary: Vocabulary) -> bool:
    """Whether a report that says whether a finding is there has a sentence that speaks against that.

    A finding that is there is denied by kindred findings that are not, by "no acute abnormality" and by an organ
    called clear; one that is not there is presupposed by kindred findings.
    """
    term = vocabulary.terms[finding]
    for statement in read_statements(report, "en", vocabulary):
        other = vocabulary.terms.get(statement.finding)
        if other is not None and other.name != finding and related(term, other) and statement.present is not present:
            return True
        if present and statement.finding == CLEAR and term.kin in _CLOUDING:
            return True
    stated = {(s.clause.start, s.clause.end) for s in read_statements(report, "en", vocabulary)}
    others = [clause for clause in read_clauses(report, "en", vocabulary) if (clause.start, clause.end) not in stated]
    return any(_speaks_of(clause, term, vocabulary) or (present and _is_general(clause.units)) for clause in others)


def _speaks_of(clause: Clause, term: Term, vocabulary: Vocabulary) -> bool:
    """Whether a clause without a finding is about the finding's organ, or points back at something."""
    if clause.units[0].words[0] in _POINTING:
        return True
    return any(_is_about(unit, term.organ, vocabulary) for unit in content(clause.units))


def _is_about(unit: Unit, organ: str, vocabulary: Vocabulary) -> bool:
    """Whether a unit names an organ, or what shows how it is."""
    term = vocabulary.terms.get(organ)
    if term is None:
        return False
    return unit.key in (organ, *_SHOWN_BY.get(organ, ())) or (unit.term is not None and akin(unit.term, term))


def related(one: Term, other: Term) -> bool:
    """Whether two findings are of a kind, or one states the other."""
    return akin(one, other) or other.name in one.implies or one.name in other.implies


def _is_plain(units: tuple[Unit, ...]) -> bool:
    return any(unit.role == "negator" or unit.key in _NORMAL for unit in units)


def _topics(units: tuple[Unit, ...]) -> set[str]:
    """What units are about; all words for bones are one topic."""
    return {"bone" if _BONES & set(unit.words) else unit.key for unit in content(units)} - _NORMAL


def _is_general(units: tuple[Unit, ...]) -> bool:
    """Whether a plain clause is about all of the chest: "no acute abnormality", "normal chest"."""
    words = {word for unit in units for word in (*unit.words, unit.key)}
    specific = any(unit.group == "finding" for unit in units) or words & _ELSEWHERE
    return _is_plain(units) and bool(words & _GENERAL) and not specific


def _covers(statements: list[Statement], piece: Piece) -> bool:
    """Whether the clauses of statements are all of a sentence."""
    edge = max(statement.clause.end for statement in statements)
    return min(statement.clause.start for statement in statements) - piece.start <= 4 and piece.end - edge <= 2
