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
    changed = [
        (was, (right, wrong))
        for was, now in zip(chosen, rejected, strict=True)
        if words_of(right := _text(edit.chosen, was)) != words_of(wrong := _text(edit.rejected, now))
    ]
    return [
        replace(
            item,
            edit=replace(edit, rejected=edit.chosen[: place.start] + wrong + edit.chosen[place.end :]),
            finding=Finding(number, len(changed), right, wrong),
        )
        for number, (place, (right, wrong)) in enumerate(changed, 1)
    ]


def _text(report: str, piece: Piece) -> str:
    return report[piece.start : piece.end]
