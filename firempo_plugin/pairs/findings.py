"""A report split by finding: each statement that an edit changes becomes a preference of its own.

The paper noises the whole image of a report, since a report has many findings. One statement has its own evidence, so
its row can have its own target, mask and noised region. All rows of a report share prompt, clean image and chosen text.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..answers.text import Piece, sentences
from ..records import Finding
from ..store.engine import Item
from .judges.wording import words_of


def split(items: Sequence[Item]) -> list[Item]:
    """Items of reports by their findings; those of questions, and reports that cannot be split, as they are."""
    return [part for item in items for part in _findings(item)]


def _findings(item: Item) -> list[Item]:
    edit = item.edit
    if edit is None or item.record.kind != "report":
        return [item]
    chosen, rejected = sentences(edit.chosen), sentences(edit.rejected)
    if len(chosen) != len(rejected):
        return [item]
    changed: dict[tuple[str, str], list[Piece]] = {}
    for was, now in zip(chosen, rejected, strict=True):
        right, wrong = _text(edit.chosen, was), _text(edit.rejected, now)
        if words_of(right) != words_of(wrong):
            # A statement that a report repeats is one: turned in one place alone, the report would contradict itself.
            changed.setdefault((right, wrong), []).append(was)
    if not changed:
        return [item]
    return [
        replace(
            item,
            edit=replace(edit, rejected=_turned(edit.chosen, places, wrong)),
            finding=Finding(number, len(changed), right, wrong),
        )
        for number, ((right, wrong), places) in enumerate(changed.items(), 1)
    ]


def _turned(report: str, places: Sequence[Piece], wrong: str) -> str:
    for place in reversed(places):
        report = report[: place.start] + wrong + report[place.end :]
    return report


def _text(report: str, piece: Piece) -> str:
    return report[piece.start : piece.end]
