"""ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words, in lower case and without stemming."""

from collections.abc import Sequence

from ...phrases import WORD
from .score import Score


class RougeL(Score):
    """ROUGE-L of the words of phrases, of which a Chinese character is one."""

    name = "rouge_l"
    revision = 1
    """Raised when it gives another figure for the same texts."""

    def identity(self) -> int:
        """Its revision."""
        return self.revision

    def of(self, truths: Sequence[str], responses: Sequence[str]) -> list[float]:
        """From 0, no word in common, to 1, the same words in the same order."""
        return [f1(_words(truth), _words(response)) for truth, response in zip(truths, responses, strict=True)]


def f1(one: Sequence[str], other: Sequence[str]) -> float:
    """Twice the length of the longest common subsequence over both lengths; 0 where there is none."""
    return 2 * common(one, other) / (len(one) + len(other)) if one and other else 0.0


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence; bit by bit (Hyyro 2004), so that long texts take no minutes."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & full
    return len(one) - row.bit_count()


def _words(text: str) -> list[str]:
    return [match.group().lower() for match in WORD.finditer(text) if match.group()[0].isalnum()]


ROUGE_L = RougeL()
