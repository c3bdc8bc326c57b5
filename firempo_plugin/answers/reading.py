"""What reading a text for its answer gives, and how an answer is put in another's place."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from .english import indefinite, lower_first
from .text import Piece, plural, tokens
from .units import Unit
from .vocabulary import Term

_ARTICLE_BEFORE = re.compile(r"\ban?\s+$", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What a text answers.

    Attributes:
        correct: Whether it states the ground truth; None where that cannot be decided.
        says: The answer it gives, short; "" where there is none.
        reason: How that was decided, or why not.
        disputed: Whether the text contradicts itself, or names another answer too.
    """

    correct: bool | None
    says: str
    reason: str
    disputed: bool = False


@dataclass(frozen=True)
class Change:
    """New words for [start, end) of a text."""

    start: int
    end: int
    text: str


class Question(Protocol):
    """A question with its ground truth, of a sort that rules understand.

    Attributes:
        closed: Whether it is answered by one of a known few.
    """

    closed: bool

    def read(self, text: str) -> Reading:
        """What a text answers to the question."""
        ...

    def states(self, text: str) -> bool:
        """Whether a text states the ground truth, whatever else it says beside it."""
        ...

    def turn(self, text: str, pick: "Picker") -> list[Change] | str:
        """Changes that make a right text wrong, or a wrong one state the ground truth; or why there are none.

        Args:
            text: A text whose reading is decided.
            pick: Chooses among equally good changes.
        """
        ...


class Picker:
    """Chooses by a hash of a seed: the same choice in every run, on every machine."""

    def __init__(self, seed: str) -> None:
        self._number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])

    def __call__(self, options: Sequence[T]) -> T:
        return options[self._number % len(options)]


def apply(text: str, changes: Sequence[Change], span: Piece) -> str:
    """The stretch `span` of a text with its changes made."""
    result = []
    edge = span.start
    for change in sorted(changes, key=lambda change: change.start):
        result += [text[edge : change.start], change.text]
        edge = change.end
    return "".join(result) + text[edge : span.end]


def written(term: Term, like: Unit, text: str, language: str) -> str | None:
    """How a term is written in the place of another: noun for noun, plural for plural; None where it cannot be."""
    place = text[like.start : like.end]
    if language == "zh" and not text.isascii():
        return next((form for form in term.zh if len(form) == len(place)), term.zh[0] if term.zh else None)
    if term.uncountable and _ARTICLE_BEFORE.search(text[: like.start]):
        return None
    old = like.term or term
    if old.uncountable and not term.uncountable and term.group == "finding" and not _is_all(text, place):
        return None
    adjective = _place_among(like.words, old.adj) is not None
    forms, models = (term.adj, old.adj) if adjective else (term.en, old.en)
    if not forms:
        return None
    index = _place_among(like.words, models) or 0
    same = len(forms) == len(models) and len(tokens(forms[index])) == len(tokens(models[index]))
    form = forms[index] if same else forms[0]
    if not like.plural or adjective or _is_all(text, place):
        return form
    return plural(form) if term.paired or (term.group == "finding" and not term.uncountable) else None


def _is_all(text: str, place: str) -> bool:
    return text.strip(" .。") == place


def _place_among(words: tuple[str, ...], forms: tuple[str, ...]) -> int | None:
    """Which of some forms consists of these words."""
    for index, form in enumerate(forms):
        if tuple(token.word for token in tokens(form) if token.word[0].isalnum()) == words:
            return index
    return None


def put(text: str, start: int, end: int, new: str) -> Change:
    """New words at a place, with its case, and with the article before them in step."""
    old = text[start:end]
    fitted = fit_case(new, old)
    before = text[:start]
    word = before.rstrip().rpartition(" ")[2]
    bare = word.strip("\"'(*“‘").lower()
    if bare in ("a", "an") and len(before) - len(before.rstrip()) == 1 and fitted.isascii():
        article = indefinite(fitted)
        if article != bare:
            begin = len(before) - 1 - len(bare)
            article = article.capitalize() if before[begin].isupper() else article
            return Change(begin, end, f"{article} {fitted}")
    return Change(start, end, fitted)


def fit_case(new: str, old: str) -> str:
    """A text with the case of the one whose place it takes; acronyms stay as they are."""
    lowered = " ".join(_lowered(word) for word in new.split(" "))
    words = old.split()
    if not words or not words[0][:1].isupper():
        return lower_first(lowered)
    if len(words) > 1 and all(word[:1].isupper() for word in words):
        return " ".join(word[:1].upper() + word[1:] for word in lowered.split(" "))
    return lowered if _is_acronym(words[0]) else lowered[:1].upper() + lowered[1:]


def _is_acronym(word: str) -> bool:
    return sum(map(str.isupper, word)) > 1 or (word[:1].isupper() and any(map(str.isdigit, word)))


def _lowered(word: str) -> str:
    if word.lower() == "x-ray":
        return "X-ray"
    return word if _is_acronym(word) else word.lower()


def named(text: str, units: Sequence[Unit], like: Unit) -> list[Unit]:
    """Where a term is named among units; "MRI (magnetic resonance imaging)" is one place."""
    places: list[Unit] = []
    for unit in units:
        if not unit.means(like):
            continue
        between = text[places[-1].end : unit.start] if places else ""
        if between.strip() == "(" and text[unit.end : unit.end + 1] == ")":
            places[-1] = replace(places[-1], end=unit.end + 1)
        else:
            places.append(unit)
    return places
