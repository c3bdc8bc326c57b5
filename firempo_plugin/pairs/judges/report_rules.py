"""Edits of reports by rules: correct what the ground truth denies, or put one error into a report that is right.

Every edit is read again: it must turn the statements that it means, all of them and no other, and leave no sentence
that speaks against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..records import Record
from .answers import Change, Picker, apply, put, written
from .contract import EditBounds, changed_words
from .findings import Contradiction, Statement, attributes, contradictions, read_statements, settled
from .remarks import without_headings
from .reply import ReportReply
from .report_sentences import turn
from .report_truth import ReportTruth, contradicted, related
from .text import Piece
from .units import Unit
from .vocabulary import Vocabulary

_NOTHING = "the report states nothing that the rules can compare with the ground truth and change"


def edit_report(record: Record, response: str, vocabulary: Vocabulary, bounds: EditBounds) -> ReportReply | str:
    """A report with its contradictions of the ground truth corrected, or with one error where all is right.

    Returns:
        The reply, or the reason why the rules abstain.
    """
    if record.language != "en":
        return "the rules edit reports in English only"
    truth = ReportTruth(record, vocabulary)
    report = without_headings(response)
    wrong = contradictions(report, record.truth, record.language, vocabulary)
    unsettled = truth.unsettled(report, wrong)
    if unsettled:
        return f"the rules cannot tell whether {unsettled!r} is right"
    editor = _Editor(report, vocabulary, bounds)
    if wrong:
        changes = editor.corrected(wrong)
        if isinstance(changes, str):
            return changes
        rewritten = apply(report, changes, Piece(0, len(report)))
        if contradictions(rewritten, record.truth, record.language, vocabulary):
            return "after the rules' edit, the report still contradicts the ground truth"
        return ReportReply(False, apply(response, changes, Piece(0, len(response))))
    errors = list(editor.errors(record))
    if not errors:
        return _NOTHING
    return ReportReply(True, apply(response, Picker(record.id)(errors), Piece(0, len(response))))


@dataclass(frozen=True)
class _Editor:
    """Makes the changes of a report, and reads it again after them."""

    report: str
    vocabulary: Vocabulary
    bounds: EditBounds

    def corrected(self, wrong: tuple[Contradiction, ...]) -> list[Change] | str:
        """The changes that correct all contradictions; or why there are none."""
        changes: list[Change] = []
        for contradiction in wrong:
            statement, unit, right = contradiction.statement, contradiction.wrong, contradiction.right
            if unit is None or right is None:
                change = self._turned(statement)
            else:
                new = written(right, unit, self.report, "en")
                change = put(self.report, unit.start, unit.end, new) if new else None
            if change is None:
                return f"the rules cannot correct what the report says of {contradiction.finding}"
            changes.append(change)
        return changes if self._is_sound(changes, {c.statement.finding for c in wrong}) else _unsound(wrong[0].finding)

    def errors(self, record: Record) -> Iterator[list[Change]]:
        """For every finding that the ground truth confirms, changes that turn all that the report says of it."""
        told = read_statements(record.truth, "en", self.vocabulary)
        known, exact = settled(told), attributes(told)
        said = read_statements(self.report, "en", self.vocabulary)
        for finding, present in settled(said).items():
            if known.get(finding) != present or finding not in self.vocabulary.terms:
                continue
            own = [statement for statement in said if statement.finding == finding]
            turned = [change for change in map(self._turned, own) if change is not None]
            if turned and self._is_sound(turned, {finding}):
                yield turned
            for group in sorted({unit.group for statement in own for unit in statement.attributes}):
                right = exact.get((finding, group))
                places = [unit for s in own for unit in s.attributes if unit.group == group]
                if right is None or {unit.key for unit in places} != {right.name}:
                    continue
                swapped = [change for unit in places if (change := self._swapped(unit)) is not None]
                if swapped and self._is_sound(swapped, {finding}):
                    yield swapped

    def _turned(self, statement: Statement) -> Change | None:
        clause = statement.clause
        turned = turn(self.report, statement, self.vocabulary)
        if turned is None:
            return None
        changed = changed_words(self.report[clause.start : clause.end], turned)
        return None if changed > self.bounds.max_words_per_sentence else Change(clause.start, clause.end, turned)

    def _swapped(self, unit: Unit) -> Change | None:
        """A term exchanged for its first opposite."""
        assert unit.term is not None
        others = self.vocabulary.alternatives(unit.term)
        new = written(others[0], unit, self.report, "en") if others else None
        return put(self.report, unit.start, unit.end, new) if new else None

    def _is_sound(self, changes: list[Change], findings: set[str]) -> bool:
        """Whether the changes turn statements of these findings alone, and nothing left speaks against them."""
        after = apply(self.report, changes, Piece(0, len(self.report)))
        old, new = (read_statements(text, "en", self.vocabulary) for text in (self.report, after))
        if [_said(s) for s in old if s.finding not in findings] != [_said(s) for s in new if s.finding not in findings]:
            return False
        if len(old) != len(new) or any(s.present is None for s in new if s.finding in findings):
            return False
        values = settled(new)
        return all(
            name in values
            and _agree(name, new, self.vocabulary)
            and not contradicted(after, name, values[name], self.vocabulary)
            for name in findings
        )


def _agree(finding: str, statements: tuple[Statement, ...], vocabulary: Vocabulary) -> bool:
    """Whether all that is said of a finding and its kin puts it in one place, and gives it one size."""
    term = vocabulary.terms[finding]
    told: dict[str, set[str]] = {}
    for statement in statements:
        other = vocabulary.terms.get(statement.finding)
        if other is not None and (other == term or related(term, other)):
            for unit in statement.attributes:
                told.setdefault(unit.group, set()).add(unit.key)
    return all(len(keys) == 1 for keys in told.values())


def _said(statement: Statement) -> tuple[str, bool | None, tuple[str, ...]]:
    return statement.finding, statement.present, tuple(unit.key for unit in statement.attributes)


def _unsound(finding: str) -> str:
    return f"another sentence would contradict the report once what it says of {finding} is corrected"
