"""A report split by finding: each statement that an edit changes becomes a preference of its own.

The paper noises the whole image of a report, since a report has many findings. One statement has its own evidence, so
its row can have its own target, mask and noised region. All rows of a report share prompt, clean image and chosen text.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..answers.findings import Statement, read_statements
from ..answers.grammar import GRAMMARS
from ..answers.text import Piece, sentences
from ..answers.vocabulary import Vocabulary, load_vocabulary
from ..errors import UserError
from ..phrases import Span, diff_spans
from ..records import Finding, Record
from ..respond.names import Names
from ..store.engine import Item
from .judges.wording import words_of

_HEADING = re.compile(r"^(?:\W*\d+[.)]\s+|(?:findings?|impression|conclusion|opinion|summary)\s*:\s*)+", re.IGNORECASE)
"""What may stand before a statement that a report repeats; "Heart: normal" is about the heart."""


def refuse_alike(records: Callable[[], Iterable[Record]], samples: int) -> None:
    """Refuses records of one of which a finding would have another's name: "t:1#1" beside "t:1".

    Args:
        records: Gives all of them, each time.
        samples: Responses to each.

    Raises:
        UserError: Names both records.
    """
    with closing(Names(samples)) as reports:
        for record in records():
            if record.kind == "report":
                reports.add(record.id)
        for record in records():
            name, mark, number = record.id.rpartition("#")
            if mark and number.isdecimal() and name in reports:
                raise UserError(
                    f"the records {reports.owner(name)!r} and {record.id!r} cannot be told apart where edit.report is "
                    f"findings: {record.id} is a finding of one, and the id of the other; rename one"
                )


def split(items: Sequence[Item], vocabulary_file: str | None = None) -> list[Item]:
    """Items of reports by their findings; those of questions, and reports that cannot be split, as they are.

    Args:
        items: Behind the edit.
        vocabulary_file: The build's own, over the built-in one.
    """
    vocabulary = load_vocabulary(Path(vocabulary_file) if vocabulary_file else None)
    return [part for item in items for part in _findings(item, vocabulary)]


@dataclass(frozen=True)
class _Change:
    """A sentence that an edit changes.

    Attributes:
        place: Where chosen has it.
        right, wrong: The sentence in chosen and in rejected.
        said: What both say of a finding, as far as the rules can read it.
    """

    place: Piece
    right: str
    wrong: str
    said: tuple[tuple[Statement, Statement], ...]

    def repeats(self, other: "_Change") -> bool:
        """Whether it is the same statement, in the same words or in others."""
        if _bare(self.right) == _bare(other.right) and _bare(self.wrong) == _bare(other.wrong):
            return True
        return any(_alike(*mine, *theirs) for mine in self.said for theirs in other.said)


def _findings(item: Item, vocabulary: Vocabulary) -> list[Item]:
    edit = item.edit
    if edit is None or item.record.kind != "report":
        return [item]
    chosen, rejected = sentences(edit.chosen), sentences(edit.rejected)
    if len(chosen) != len(rejected):
        return [item]
    # A statement that a report repeats is one: turned in one place alone, the report would contradict itself.
    changed: list[list[_Change]] = []
    for was, now in zip(chosen, rejected, strict=True):
        right, wrong = _text(edit.chosen, was), _text(edit.rejected, now)
        if words_of(right) == words_of(wrong):
            continue
        change = _Change(was, right, wrong, _said(right, wrong, item.record.language, vocabulary))
        same = next((group for group in changed if any(map(change.repeats, group))), None)
        if same is None:
            changed.append([change])
        else:
            same.append(change)
    if not changed:
        return [item]
    parts = []
    for number, group in enumerate(changed, 1):
        turned, spans = _turned(edit.chosen, group)
        finding = Finding(number, len(changed), group[0].right, group[0].wrong)
        parts.append(replace(item, edit=replace(edit, rejected=turned), spans=spans, finding=finding))
    return parts


def _said(right: str, wrong: str, language: str, vocabulary: Vocabulary) -> tuple[tuple[Statement, Statement], ...]:
    """What two sentences say of a finding, where both can be read and differ in it."""
    if language not in GRAMMARS:
        return ()
    sides = [
        {one.finding: one for one in read_statements(_HEADING.sub("", text), language, vocabulary)}
        for text in (right, wrong)
    ]
    pairs = [(sides[0][name], sides[1][name]) for name in sides[0] if name in sides[1]]
    return tuple(
        (was, now)
        for was, now in pairs
        if None not in (was.present, now.present) and (was.present != now.present or _attributes(was, now))
    )


def _attributes(one: Statement, other: Statement) -> dict[str, tuple[str, str]]:
    """The attributes that two statements both tell and tell otherwise, by group."""
    told, also = ({unit.group: unit.key for unit in each.attributes} for each in (one, other))
    return {group: (told[group], also[group]) for group in told if group in also and told[group] != also[group]}


def _alike(was: Statement, now: Statement, other_was: Statement, other_now: Statement) -> bool:
    """Whether a finding is turned in the same way, and told of nowhere as of another one."""
    same = (was.finding, was.present, now.present) == (other_was.finding, other_was.present, other_now.present)
    return same and _attributes(was, now) == _attributes(other_was, other_now) and not _attributes(was, other_was)


def _bare(sentence: str) -> list[str]:
    return words_of(_HEADING.sub("", sentence))


def _turned(report: str, changes: Sequence[_Change]) -> tuple[str, tuple[tuple[Span, ...], tuple[Span, ...]]]:
    """The report with changes made, and the words of them in both; a diff of both may see them in other places."""
    turned, edge = "", 0
    spans: tuple[list[Span], list[Span]] = ([], [])
    for change in changes:
        turned += report[edge : change.place.start]
        starts = change.place.start, len(turned)
        for side, start, words in zip(spans, starts, diff_spans(change.right, change.wrong), strict=True):
            side += [(start + first, start + last) for first, last in words]
        turned += change.wrong
        edge = change.place.end
    return turned + report[edge:], (tuple(spans[0]), tuple(spans[1]))


def _text(report: str, piece: Piece) -> str:
    return report[piece.start : piece.end]
