"""Edits of reports by rules: of English ones whose every sentence is the ground truth's, states one finding that it
settles, or denies what it does not mention.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...answers.denials import Thing, denied_things, findings_of, is_silent
from ...answers.english import indefinite, lower_first
from ...answers.findings import (
    CLEAR,
    Statement,
    attributes,
    contradictions,
    denied_by_clear_lungs,
    read_statements,
    settled,
)
from ...answers.reading import Change, Picker, apply, put, written
from ...answers.text import Piece, plural, sentences, word_set
from ...answers.units import Clause, Unit, read_clauses, read_units
from ...answers.vocabulary import Term, Vocabulary, akin
from ...records import Record
from .priors import REFERENCE
from .reply import ReportReply

_SHAPE = re.compile(
    r"(?P<there>there\s+(?:is|are)\s+)?(?P<denied>no\s+(?:evidence\s+of\s+)?)?(?P<before>(?:[\w-]+\s+)*?)@"
    r"(?P<verb>(?:\s+(?:is|are)\s+(?:seen|noted|identified|present|visible))?)"
    r"(?P<where>(?:\s+(?:in|at|on)\s+the\s+(?:(?:left|right|upper|middle|lower|mid)\s+)*(?:lungs?|lobes?|hemithorax|zones?))?)",
    re.IGNORECASE,
)
"""A sentence around its finding, for which "@" stands."""
_FORMER = re.compile(r"\b(?:stable|unchanged|persistent|known|new|again|residual)\s+", re.IGNORECASE)
_SINGULAR_VERB = re.compile(r"\bis\b", re.IGNORECASE)
_DEGREE = r"\w+ly\s+(?:(?:to|or|and)\s+\w+ly\s+)?"
_HEART = re.compile(
    rf"(?<=\s)(?:(?P<large>(?:{_DEGREE})?enlarged)|within\s+normal\s+limits|(?<!within\s)normal)(?:\s+in\s+size)?$",
    re.IGNORECASE,
)
_DESCRIBING = word_set("side laterality vertical depth lobe size amount extent course organ severity") | {
    "severity adverb"
}
_CLOUDING = frozenset({"airspace", "tumor"})
"""Kin of the findings that clear lungs do not have."""
_GENERAL = word_set(
    "abnormal process disease finding pathology cardiopulmonary intrathoracic chest study examination it its this these"
)
_HEART_NAMES = frozenset({"heart", "lung"})


def edit_report(record: Record, response: str, vocabulary: Vocabulary) -> ReportReply | str:
    """A report with its contradictions of the ground truth corrected, or with one error where all is right.

    Returns:
        The reply, or the reason why the rules abstain.
    """
    if record.language != "en":
        return "the rules edit reports in English only"
    editor = _Editor.of(response, record.truth, vocabulary)
    doubt = editor.unread()
    if doubt:
        return f"the rules cannot tell whether {doubt!r} is right"
    wrong = contradictions(response, record.truth, "en", vocabulary)
    if not wrong:
        errors = list(editor.errors())
        if not errors:
            return "the report states nothing that the rules can compare with the ground truth and change"
        return ReportReply(True, editor.changed(Picker(record.id)(errors)))
    changes = [editor.turned(c.statement) if c.wrong is None else editor.put(c.wrong, c.right) for c in wrong]
    made = [change for change in changes if change is not None]
    after = editor.changed(made)
    if len(made) < len(changes) or contradictions(after, record.truth, "en", vocabulary):
        return f"the rules cannot correct what the report says of {wrong[0].finding}"
    return ReportReply(False, after)


def comparable(sentence: str, truth: str, vocabulary: Vocabulary) -> bool:
    """Whether an English sentence is the ground truth's own, or plainly states one finding that it settles."""
    return not _Editor.of(sentence, truth, vocabulary).unread(silent=False)


@dataclass(frozen=True)
class _Editor:
    """Makes the changes of a report.

    Attributes:
        report: Its text.
        said: What it says of findings.
        truth: The ground truth.
        told: What that says of findings.
        known: Findings that the ground truth settles.
        exact: Its attributes of findings.
        words: The keys of all of its units.
        sentences: Its sentences.
        vocabulary: The terms.
    """

    report: str
    said: tuple[Statement, ...]
    truth: str
    told: tuple[Statement, ...]
    known: dict[str, bool]
    exact: dict[tuple[str, str], Term]
    words: frozenset[str]
    sentences: frozenset[str]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, report: str, truth: str, vocabulary: Vocabulary) -> "_Editor":
        """The one of a report in English."""
        told = read_statements(truth, "en", vocabulary)
        words = frozenset(unit.key for unit in read_units(truth, "en", vocabulary))
        same = frozenset(_plain(truth[piece.start : piece.end]) for piece in sentences(truth))
        said = read_statements(report, "en", vocabulary)
        return cls(report, said, truth, told, settled(told), attributes(told), words, same, vocabulary)

    def unread(self, *, silent: bool = True) -> str:
        """The first sentence that is not one statement of a finding of its own, settled by the truth; "" for none.

        Args:
            silent: Whether a denial of what the truth does not mention, neither right nor wrong, counts as read.
        """
        for piece in sentences(self.report):
            sentence = self.report[piece.start : piece.end]
            if _plain(sentence) in self.sentences:
                continue
            if self._denies_nothing_told(piece, silent=silent):
                continue
            here = [s for s in self.said if piece.start <= s.clause.start < piece.end]
            whole = len(here) == 1 and here[0].clause.end - here[0].clause.start >= len(sentence.rstrip(" .*"))
            if not whole or here[0].present is None or self._told(here[0].finding) is None:
                return sentence
            told = (
                u
                for u in here[0].clause.units
                if u.group.replace(" ", "_") in _DESCRIBING and u.key not in _HEART_NAMES
            )
            affirmed = here[0].present and self._told(here[0].finding)
            if affirmed and not (all(self._comparable(u, here[0]) for u in told) and self._is_course_told(here[0])):
                return sentence
        return ""

    def _told(self, finding: str) -> bool | None:
        """Whether the truth says that a finding is there; None where it leaves that open."""
        return False if denied_by_clear_lungs(finding, self.known, self.vocabulary) else self.known.get(finding)

    def _denies_nothing_told(self, piece: Piece, *, silent: bool) -> bool:
        """Whether a sentence only denies, and of each thing the truth says the same, or, with `silent`, nothing."""
        clauses = read_clauses(self.report, "en", self.vocabulary)
        things = [denied_things(clause) for clause in clauses if piece.start <= clause.start < piece.end]
        units = read_units(self.truth, "en", self.vocabulary)
        return bool(things) and all(
            found and all(self._is_denied(t) or (silent and is_silent(units, t)) for t in found) for found in things
        )

    def _is_denied(self, thing: Thing) -> bool:
        terms = findings_of(thing)
        return bool(terms) and all(self._told(term.name) is False for term in terms)

    def _is_course_told(self, statement: Statement) -> bool:
        """Whether the truth says all that a statement says of how its finding was before: stable, new, decreased."""
        told = (s.clause for s in self.told if s.finding == statement.finding)
        return _course(self.report, statement.clause) <= set().union(*(_course(self.truth, clause) for clause in told))

    def _comparable(self, unit: Unit, statement: Statement) -> bool:
        """Whether the truth tells the same of a finding, or says otherwise."""
        return unit.key in self.words or (statement.finding, unit.group) in self.exact

    def errors(self) -> Iterator[list[Change]]:
        """For every statement, the change that turns it; and those that exchange one of its attributes."""
        for statement in self.said:
            told = self._told(statement.finding)
            if told is None or told != statement.present or self._kin(statement) or self._touched(statement):
                continue
            turned = self.turned(statement)
            others = [self.vocabulary.alternatives(unit.term) for unit in statement.attributes if unit.term]
            swapped = [self.put(u, o[0]) for u, o in zip(statement.attributes, others, strict=True) if o]
            yield from ([change] for change in (turned, *swapped) if change is not None)

    def changed(self, changes: Iterable[Change]) -> str:
        """The report with changes made."""
        return apply(self.report, list(changes), Piece(0, len(self.report)))

    def put(self, unit: Unit, term: Term | None) -> Change | None:
        """A term in the place of an attribute."""
        new = written(term, unit, self.report, "en") if term else None
        return put(self.report, unit.start, unit.end, new) if new else None

    def turned(self, statement: Statement) -> Change | None:
        """A sentence with its finding denied or affirmed; what describes a denied finding goes."""
        clause = statement.clause
        finding = next((unit for unit in clause.units if unit.key == statement.finding), None)
        words = self.report[clause.start : clause.end]
        heart = None if finding else _HEART.search(words)
        if heart is not None:
            new = "normal in size" if heart["large"] else "enlarged"
            sized = "size" in words[: heart.start()].lower() and "normal" in new
            place = clause.start + heart.start()
            return put(self.report, place, clause.start + heart.end(), "normal" if sized else new)
        if finding is None or finding.term is None or finding.plural or not statement.alone:
            return None
        name = self.report[finding.start : finding.end]
        shape = _SHAPE.fullmatch(f"{words[: finding.start - clause.start]}@{words[finding.end - clause.start :]}")
        if shape is None or bool(shape["denied"]) == statement.present:
            return None
        bare = lower_first(name)
        denied = f"{shape['there'] or ''}no {bare}{shape['verb']}{shape['where']}"
        turned = denied if statement.present else self._affirmed(shape, bare, finding.term)
        return Change(clause.start, clause.end, turned[:1].upper() + turned[1:] if words[:1].isupper() else turned)

    def _affirmed(self, shape: re.Match[str], name: str, term: Term) -> str:
        """A denial turned around, with what the truth says of its finding."""
        before, where, many = self._described(term.name)
        bare = not (many or term.uncountable or before.lower().startswith(("a ", "an ", "the ")))
        named = f"{before}{plural(name) if many else name}"
        there = shape["there"] or ("" if shape["verb"] else "there is ")
        places = [shape["verb"], where or shape["where"]]
        rest = "".join(places if shape["there"] else places[::-1])
        turned = f"{there}{f'{indefinite(named)} ' if bare else ''}{named}{rest}"
        return _SINGULAR_VERB.sub("are", turned) if many else turned

    def _described(self, finding: str) -> tuple[str, str, bool]:
        """What the truth says before the name of a finding, where, and whether of several ones.

        "a large ", " in the right lung"; words of what was before are left out.
        """
        for statement in (s for s in self.told if s.finding == finding and s.present):
            clause = statement.clause
            unit = next((unit for unit in clause.units if unit.key == finding), None)
            if unit is None:
                continue
            words = self.truth[clause.start : clause.end]
            shape = _SHAPE.fullmatch(f"{words[: unit.start - clause.start]}@{words[unit.end - clause.start :]}")
            if shape and not shape["denied"] and statement.alone:
                return _FORMER.sub("", lower_first(shape["before"])), shape["where"], unit.plural
            beside = [u for u in statement.attributes if u.end <= unit.start]
            start = min((u.start for u in beside), default=unit.start)
            inside = [u for u in clause.units if start <= u.start < unit.start]
            if inside and all(u.role in ("word", "term") for u in inside):
                return _FORMER.sub("", lower_first(self.truth[start : unit.start])), "", unit.plural
        return "", "", False

    def _touched(self, statement: Statement) -> bool:
        """Whether a sentence without a finding is about the whole chest, or the organ of a statement's finding."""
        term = self.vocabulary.terms.get(statement.finding)
        if term is None:
            return True
        for clause in read_clauses(self.report, "en", self.vocabulary):
            keys = {key for unit in clause.units for key in (unit.key, *unit.words)}
            if keys & {term.organ, *_GENERAL} and not any(s.clause == clause for s in self.said):
                return True
        return False

    def _kin(self, statement: Statement) -> bool:
        """Whether another sentence is about the same finding, or one of its kind or that it states."""
        term = self.vocabulary.terms.get(statement.finding)
        for other in (s.finding for s in self.said if s is not statement):
            kin = self.vocabulary.terms.get(other)
            if CLEAR in (statement.finding, other):
                clouding = term or kin
                if clouding is None or clouding.kin in _CLOUDING:
                    return True
            elif term is None or kin is None or _related(term, kin):
                return True
        return False


def _course(text: str, clause: Clause) -> set[str]:
    """The words of a clause that compare with an earlier examination."""
    references = REFERENCE.finditer(text, clause.start, clause.end)
    return {found.group().lower() for found in references} | {u.key for u in clause.units if u.group == "trend"}


def _related(one: Term, other: Term) -> bool:
    return akin(one, other) or bool({one.name, *one.implies} & {other.name, *other.implies})


def _plain(sentence: str) -> str:
    return sentence.strip(" .*").lower()
