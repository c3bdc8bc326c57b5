"""The style gap of preference pairs: can a model tell chosen from rejected without looking at the facts?

Pairs whose chosen side was written by somebody else than the model differ in length and wording, and a model learns
that instead. Minimal edits of the model's own responses do not.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import UserError
from ...phrases import IDEOGRAPHS, PhrasedText, PhraseError, phrase_pair, word_spans

_POLAR = re.compile(r"\W*(?:(?P<yes>yes\b|是|有)|(?P<no>no\b|否|不是|没有|无))", re.IGNORECASE)
"""How an answer to a yes/no question begins."""
_TOKEN = re.compile(rf"[{IDEOGRAPHS}]|[^\s{IDEOGRAPHS}]+")


@dataclass(frozen=True)
class Preference:
    """A row of any preference file.

    Attributes:
        chosen, rejected: The responses, with or without `<mask>` tags.
        chosen_spans, rejected_spans: As the file has them; None: the phrases are the differing words.
        context: Prompt and images as text: rows that are equal in it and in both responses are duplicates.
    """

    chosen: str
    rejected: str
    chosen_spans: object = None
    rejected_spans: object = None
    context: str = ""


@dataclass(frozen=True)
class Report:
    """What `audit` found. Lengths are in words; a word is what white space separates, or one ideograph.

    Attributes:
        name: Of the file.
        lengths: Words of chosen and of rejected, for each pair.
        edit_distances: Levenshtein distance over words by the length of the longer side, in [0, 1], for each pair.
        phrases: Number of phrases of chosen and of rejected, for each pair that has phrases.
        phrase_share: Share of the responses' characters that lies in phrases.
        polar: Pairs whose responses begin with yes and with no.
        equal: Pairs whose responses are equal.
        duplicates: Pairs that occurred before, with the same prompt and images.
        inexact: Row numbers of pairs whose words outside the phrases differ between the sides.
        unusable: Row numbers by reason why the trainer would refuse them; equal pairs are not among them.
    """

    name: str
    lengths: tuple[tuple[int, int], ...]
    edit_distances: tuple[float, ...]
    phrases: tuple[tuple[int, int], ...]
    phrase_share: float
    polar: int
    equal: int
    duplicates: int
    inexact: tuple[int, ...]
    unusable: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def differences(self) -> tuple[int, ...]:
        """Words of chosen minus words of rejected, for each pair."""
        return tuple(chosen - rejected for chosen, rejected in self.lengths)


def audit(pairs: Iterable[Preference], name: str = "pairs") -> Report:
    """Measures pairs.

    Raises:
        UserError: There is no pair.
    """
    lengths: list[tuple[int, int]] = []
    distances: list[float] = []
    counts: list[tuple[int, int]] = []
    inside = outside = equal = polar = 0
    seen: Counter[tuple[str, str, str]] = Counter()
    inexact: list[int] = []
    unusable: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        seen[pair.context, pair.chosen, pair.rejected] += 1
        sides = (words(pair.chosen), words(pair.rejected))
        lengths.append((len(sides[0]), len(sides[1])))
        polar += turns_yes_into_no(pair.chosen, pair.rejected)
        distances.append(word_distance(*sides) / max(1, *lengths[-1]))
        if pair.chosen and pair.chosen == pair.rejected:
            equal += 1
            continue
        try:
            phrased = phrase_pair(pair.chosen, pair.rejected, pair.chosen_spans, pair.rejected_spans)
        except PhraseError as error:
            unusable.setdefault(str(error), []).append(row)
            continue
        counts.append((len(phrased[0].spans), len(phrased[1].spans)))
        if words_outside(phrased[0]) != words_outside(phrased[1]):
            inexact.append(row)
        marked = sum(end - start for side in phrased for start, end in side.spans)
        inside += marked
        outside += sum(len(side.text) for side in phrased) - marked
    if not lengths:
        raise UserError(f"{name} has no pairs")
    return Report(
        name=name,
        lengths=tuple(lengths),
        edit_distances=tuple(distances),
        phrases=tuple(counts),
        phrase_share=inside / max(1, inside + outside),
        polar=polar,
        equal=equal,
        duplicates=seen.total() - len(seen),
        inexact=tuple(inexact),
        unusable={reason: tuple(rows) for reason, rows in unusable.items()},
    )


def turns_yes_into_no(first: str, second: str) -> bool:
    """Whether one response begins with yes and the other with no."""
    begins = [match.lastgroup for match in map(_POLAR.match, (first, second)) if match]
    return sorted(filter(None, begins)) == ["no", "yes"]


def words(text: str) -> list[str]:
    """What white space separates, and single ideographs; what holds neither letter nor digit is no word."""
    return [token for token in _TOKEN.findall(text) if any(map(str.isalnum, token))]


def words_outside(side: PhrasedText) -> list[str]:
    """Words and punctuation marks outside the phrases; of an exact pair they are the same on both sides."""
    edges = [0, *(edge for span in side.spans for edge in span), len(side.text)]
    pieces = [side.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return [piece[start:end] for piece in pieces for start, end in word_spans(piece)]


def word_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein distance over words; a whole column of the table is held as the bits of integers.

    Source: Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances" (2003).
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    up, down, distance = everywhere, 0, len(first)
    for word in second:
        matches = places.get(word, 0)
        diagonal = (((matches & up) + up) ^ up) | matches | down
        rises = (down | ~(diagonal | up)) & everywhere
        falls = up & diagonal
        distance += bool(rises & last) - bool(falls & last)
        rises = (rises << 1 | 1) & everywhere
        up = ((falls << 1) | ~(diagonal | rises)) & everywhere
        down = rises & diagonal
    return distance


def length_accuracy(differences: Sequence[int]) -> float:
    """How often length alone tells which of two responses is chosen, with the best single threshold.

    The classifier sees the first response's words minus the second's, in both orders of every pair, and says "the
    first is chosen" on one side of its threshold.

    Args:
        differences: Words of chosen minus words of rejected, for each pair.

    Returns:
        Share of right answers: 0.5 for chance, 1 where length gives every pair away.
    """
    ordered = sorted(differences)
    n = len(ordered)
    best = 0.5
    for threshold in {abs(difference) for difference in ordered} | {0}:
        above = n - bisect_right(ordered, threshold)
        not_below = n - bisect_left(ordered, -threshold)
        share = (above + not_below) / (2 * n)
        best = max(best, share, 1 - share)
    return best
