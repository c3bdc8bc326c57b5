"""The demo's questions, with right and wrong answers that differ in a few clinical words; data beside this file."""

import re
from dataclasses import dataclass
from pathlib import Path

from yaml import safe_load

WHOLE = "the whole image"

_CHOICE = re.compile(r"\{([^{|}]+)\|([^{|}]+)\}")


@dataclass(frozen=True)
class Pair:
    """A question with a right and a wrong answer.

    Attributes:
        name: Short name, unique.
        scans: Names of the scans the question is about; none for a question about text alone.
        question: The question.
        answer: Both answers in one text, with `{chosen|rejected}` wherever they differ.
        noise: Name of the region that is noised, WHOLE, or None for a pair without a noised image.
        marked: Whether the row carries the differing phrases as spans; if not, the stage derives them.
    """

    name: str
    scans: list[str]
    question: str
    answer: str
    noise: str | None = None
    marked: bool = False

    def side(self, number: int) -> tuple[str, list[list[int]]]:
        """One answer and the [start, end) of its phrases in code points; 0 is chosen, 1 is rejected."""
        text, end = "", 0
        spans: list[list[int]] = []
        for choice in _CHOICE.finditer(self.answer):
            text += self.answer[end : choice.start()]
            spans.append([len(text), len(text) + len(choice[1 + number])])
            text += choice[1 + number]
            end = choice.end()
        return text + self.answer[end:], spans


PAIRS = tuple(
    Pair(name, **entry)
    for name, entry in safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")).items()
)
