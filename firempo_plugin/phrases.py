"""Phrases: where chosen and rejected differ, as character spans, and as token positions.

A span is [start, end) in code points of the plain text. Spans come from the row, from inline
`<mask>...</mask>` tags, or from a word-level diff of the two responses. Text only: imports no torch.
"""

import math
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import accumulate, pairwise
from typing import cast

from .errors import UserError

Span = tuple[int, int]
WeightedSpan = tuple[int, int, float]
MOST_WEIGHT = 1e6
_MOST_STEPS = 40_000_000
"""Of a diff: a few seconds; two ordinary responses of 5,000 words take a sixth of them."""

_TAG = re.compile(r"</?mask>")
_ANY_TAG = re.compile(r"<\s*/?\s*mask\b[^>]*>", re.IGNORECASE)
_JOINERS = "\u200c\u200d"
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPHS}]|\d+(?:[.,]\d+)+|[^\W{IDEOGRAPHS}]+|[^\w\s]")


class PhraseError(UserError):
    """A row's spans or tags cannot be used; the message says which and why."""


@dataclass(frozen=True)
class PhrasedText:
    """A response as plain text, with the sorted, disjoint, non-blank spans of its phrases."""

    text: str
    spans: tuple[Span, ...]


def phrase_pair(
    chosen: str, rejected: str, chosen_spans: object = None, rejected_spans: object = None
) -> tuple[PhrasedText, PhrasedText]:
    """Reads the phrases of a pair: given spans, else tags, else the word-level diff, side by side.

    Args:
        chosen: Chosen response, with or without tags.
        rejected: Rejected response, with or without tags.
        chosen_spans: The row's value: None, or a list of [start, end).
        rejected_spans: The same for the rejected response.

    Raises:
        PhraseError: A tag is unbalanced, a span is malformed or outside the text, a side has both tags
            and spans, the responses are equal, or neither has a phrase.
    """
    plain, tagged = {}, {}
    for side, text in (("chosen", chosen), ("rejected", rejected)):
        if not text.strip():
            raise PhraseError(f"the {side} response is empty")
        plain[side], tagged[side] = strip_tags(text, side)
    if plain["chosen"] == plain["rejected"]:
        raise PhraseError("chosen and rejected are equal")
    derived: dict[str, tuple[Span, ...]] = {}
    sides = []
    for side, given in (("chosen", chosen_spans), ("rejected", rejected_spans)):
        if given is not None and tagged[side] is not None:
            raise PhraseError(f"{side} has <mask> tags and {side}_spans; give one of them")
        spans = tagged[side] if given is None else read_spans(plain[side], given, side)
        if spans is None and not derived:
            derived = dict(zip(plain, diff_spans(plain["chosen"], plain["rejected"]), strict=True))
        sides.append(PhrasedText(plain[side], derived[side] if spans is None else spans))
    if not sides[0].spans and not sides[1].spans:
        raise PhraseError("neither chosen nor rejected has a phrase (no span, or they differ in white space only)")
    return sides[0], sides[1]


def strip_tags(text: str, side: str) -> tuple[str, tuple[Span, ...] | None]:
    """Removes `<mask>...</mask>` tags.

    Returns:
        The plain text and the spans that the tags enclosed; None instead of spans where there is no tag.

    Raises:
        PhraseError: A tag is not closed, not opened, or nested.
    """
    for tag in _ANY_TAG.finditer(text):
        if not _TAG.fullmatch(tag.group()):
            raise PhraseError(f"{side} has {tag.group()!r}; a tag is written <mask> or </mask>")
    pieces: list[str] = []
    spans: list[Span] = []
    opened: int | None = None
    end = length = 0
    for tag in _TAG.finditer(text):
        pieces.append(text[end : tag.start()])
        length += len(pieces[-1])
        end = tag.end()
        if (tag.group() == "<mask>") == (opened is not None):
            raise PhraseError(f"unbalanced {tag.group()} at character {tag.start()} of {side}")
        if opened is None:
            opened = length
        else:
            spans.append((opened, length))
            opened = None
    if opened is not None:
        raise PhraseError(f"a <mask> of {side} is not closed")
    if not end:
        return text, None
    plain = "".join(pieces) + text[end:]
    return plain, _tidy(plain, spans)


def read_spans(text: str, given: object, side: str) -> tuple[Span, ...]:
    """Checks a row's spans against its text; white space at their edges is left out.

    Raises:
        PhraseError: Not a list of [start, end), or not 0 <= start < end <= len(text).
    """
    if not isinstance(given, list | tuple):
        raise PhraseError(f"{side}_spans must be a list of [start, end), found {given!r}")
    return _tidy(text, _edges(text, given, f"{side}_spans", side))


def _edges(text: str, given: Sequence[object], column: str, side: str) -> list[Span]:
    spans: list[Span] = []
    for span in given:
        ok = isinstance(span, list | tuple) and len(span) == 2 and all(type(edge) is int for edge in span)
        if not ok:
            raise PhraseError(f"{column} must hold [start, end) pairs of integers, found {span!r}")
        start, end = cast(Span, span)
        if not 0 <= start < end <= len(text):
            raise PhraseError(f"{column} has [{start}, {end}) outside the {side} text of {len(text)} characters")
        spans.append((start, end))
    return spans


def read_weights(text: str, given: object, side: str) -> tuple[WeightedSpan, ...]:
    """Checks a row's weighted spans against its text; None has none. Edges may be whole floats, as files store them.

    Raises:
        PhraseError: Not a list of [start, end, weight], outside the text, overlapping, or not 0 <= weight <= 1e6.
    """
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise PhraseError(f"{side}_weights must be a list of [start, end, weight], found {given!r}")
    weighted: list[WeightedSpan] = []
    for each in given:
        if not (isinstance(each, list | tuple) and len(each) == 3):
            raise PhraseError(f"{side}_weights must hold [start, end, weight], found {each!r}")
        *edges, weight = each
        whole = [int(edge) if isinstance(edge, float) and edge.is_integer() else edge for edge in edges]
        ((start, end),) = _edges(text, [whole], f"{side}_weights", side)
        number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
        if not number or not 0 <= weight <= MOST_WEIGHT:
            raise PhraseError(
                f"{side}_weights has the weight {weight!r}; it must be a number from 0 to {MOST_WEIGHT:g}"
            )
        weighted.append((start, end, float(weight)))
    weighted.sort()
    for (_, end, _), (start, *_) in pairwise(weighted):
        if start < end:
            raise PhraseError(f"{side}_weights has two weights for character {start} of the {side} text")
    return tuple(weighted)


def token_weights(weighted: Sequence[WeightedSpan], offsets: Sequence[Span]) -> list[float]:
    """What each token counts: the weight of the first span that it shares a character with; 1 where there is none.

    Args:
        weighted: Sorted and disjoint.
        offsets: See `token_positions`.
    """
    ends = [end for _, end, _ in weighted]
    found = []
    for start, end in offsets:
        place = bisect_right(ends, start)
        shared = start < end and place < len(weighted) and weighted[place][0] < end
        found.append(weighted[place][2] if shared else 1.0)
    return found


def diff_spans(chosen: str, rejected: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """The words in which two texts differ, as spans of each; runs of changed words make one span.

    Of long texts of few different words, which would take minutes, all that is between their common start and end is
    one span.
    """
    words = [word_spans(text) for text in (chosen, rejected)]
    before = [chosen[start:end] for start, end in words[0]]
    after = [rejected[start:end] for start, end in words[1]]
    try:
        edits = _Diff(before, after).get_opcodes()
        changed = [edit[1:] for edit in edits if edit[0] != "equal"]
    except _TooLongError:
        changed = [_middle(before, after)]
    return (
        tuple((words[0][a][0], words[0][b - 1][1]) for a, b, _, _ in changed if a < b),
        tuple((words[1][a][0], words[1][b - 1][1]) for _, _, a, b in changed if a < b),
    )


class _TooLongError(Exception):
    """A diff would take more steps than it may."""


class _Diff(SequenceMatcher[str]):
    """A diff of words that counts the steps which it is going to take; raises _TooLongError beyond _MOST_STEPS."""

    def __init__(self, before: list[str], after: list[str]) -> None:
        self._steps = _MOST_STEPS
        times = Counter(after)
        self._up_to = [0, *accumulate(times[word] for word in before)]
        super().__init__(None, before, after, autojunk=False)

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        """As SequenceMatcher's, which looks at every place of each word again."""
        self._steps -= self._up_to[ahi if ahi is not None else -1] - self._up_to[alo]
        if self._steps < 0:
            raise _TooLongError
        return super().find_longest_match(alo, ahi, blo, bhi)


def _middle(before: list[str], after: list[str]) -> tuple[int, int, int, int]:
    """What is left of two lists without what both begin and end with, as [start, end) of each."""
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    return start, len(before) - end, start, len(after) - end


def word_spans(text: str) -> list[Span]:
    """The words of a text; a combining mark or a joiner belongs to the letters around it."""
    words: list[Span] = []
    for match in WORD.finditer(text):
        start, end = match.span()
        inside = words and words[-1][1] == start
        if inside and (_is_mark(text[start]) or (_is_mark(text[start - 1]) and text[start].isalnum())):
            words[-1] = (words[-1][0], end)
        else:
            words.append((start, end))
    return words


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character)[0] == "M"


def token_positions(spans: Sequence[Span], offsets: Sequence[Span]) -> list[int]:
    """Positions of the tokens that share at least one character with a span.

    Args:
        spans: Disjoint spans.
        offsets: [start, end) of every token in the same text, as a fast tokeniser reports them.
    """
    return sorted(
        {
            position
            for first, last in spans
            for position, (start, end) in enumerate(offsets)
            if start < last and first < end
        }
    )


def _tidy(text: str, spans: list[Span]) -> tuple[Span, ...]:
    """Sorts spans, merges those that touch, and trims white space; a blank span vanishes."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    trimmed = []
    for start, end in merged:
        inside = text[start:end]
        if inside.strip():
            trimmed.append((start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())))
    return tuple(trimmed)
