"""A text as units of meaning (terms of the vocabulary, small words, other words), and as clauses."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .grammar import GRAMMARS, Grammar
from .text import Piece, Token, is_word, sentences, tokens, trim
from .vocabulary import Term, Vocabulary

Role = Literal["word", "term", "number", "filler", "negator", "blur", "veto", "guess", "mark"]
_MARKS = ("and", "or", "nor", "和", "或", "与", "及", "还是", "或者", "以及")
_MILLIMETRES = {"mm": 1.0, "cm": 10.0}
_EDGES = " \t\n\r,.:!*\"'”“’‘。、\uff0c\uff1a\uff01"
_HYPHENS = frozenset("-‐‑–")
_ANSWER = re.compile("answer|答案|回答", re.IGNORECASE)
_NEGATING_WORDS = frozenset({"no", "not", "non", "without"})


@dataclass(frozen=True)
class Unit:
    """One or more words that mean one thing.

    Attributes:
        key: What it means: a term's name, a measure in millimetres ("56 mm"), or the words' normal form.
        role: What it does in a clause.
        words: Normal forms.
        start, end: [start, end) in the text.
        term: The vocabulary's term, or None.
        plural: Whether its last word was written as a plural.
    """

    key: str
    role: Role
    words: tuple[str, ...]
    start: int
    end: int
    term: Term | None = None
    plural: bool = False

    @property
    def group(self) -> str:
        """The term's group; "number" for a bare number, "" for other words."""
        if self.term:
            return self.term.group
        return "number" if self.role == "number" else ""

    def means(self, other: "Unit") -> bool:
        """Whether it states what another unit states, or more ("pleural effusion" means "effusion")."""
        if self.key == other.key:
            return True
        if len(other.words) > 1 or other.role == "number":
            return False
        if self.term is None and len(self.words) > 1:
            return other.term is None and other.words[0] == self.words[-1]
        if self.term and any(word in _NEGATING_WORDS for word in self.words):
            return False
        if self.group == "device":
            return other.words[0] == self.words[-1] or other.key in self.words[-1:]
        return other.words[0] in self.words or bool(self.term and other.key in self.term.implies)


@dataclass(frozen=True)
class Clause:
    """A part of a sentence that can state an answer by itself.

    Attributes:
        start, end: [start, end) in the text.
        sentence: Number of its sentence.
        units: Its units; their positions count from the start of the text.
        lead: For an explicit answer at the start of a sentence, "yes" or "no"; else None.
    """

    start: int
    end: int
    sentence: int
    units: tuple[Unit, ...]
    lead: Literal["yes", "no"] | None = None


@lru_cache(maxsize=512)
def read_units(text: str, language: str, vocabulary: Vocabulary) -> tuple[Unit, ...]:
    """Groups the words of a text into units, longest form first.

    Raises:
        KeyError: The language has no grammar.
    """
    words = [token for token in tokens(text) if not _joins(token, text)]
    units: list[Unit] = []
    position = 0
    while position < len(words):
        unit = _measure(words, position) or _longest(words, position, language, vocabulary)
        units.append(unit)
        while position < len(words) and words[position].start < unit.end:
            position += 1
    return tuple(units)


@lru_cache(maxsize=512)
def read_clauses(text: str, language: str, vocabulary: Vocabulary) -> tuple[Clause, ...]:
    """The clauses of a text in order; sentences that ask are left out."""
    grammar = GRAMMARS[language]
    clauses: list[Clause] = []
    for number, sentence in enumerate(sentences(text)):
        inside = text[sentence.start : sentence.end]
        if inside.rstrip("\"'”’)*").endswith(("?", "\uff1f")):
            continue
        start = sentence.start
        lead = grammar.lead.match(inside)
        if lead:
            word = Piece(start + lead.start(1), start + lead.end(1))
            says: Literal["yes", "no"] = "yes" if lead.group(1).lower() in grammar.yes else "no"
            clauses.append(_clause(text, word, number, language, vocabulary, says))
            start = word.end
        for piece in _split(text, start, sentence.end, grammar):
            answer = grammar.lead.match(text, piece.start, piece.end)
            if answer and _ANSWER.search(text, piece.start, answer.start(1)):
                word = Piece(answer.start(1), answer.end(1))
                says = "yes" if answer.group(1).lower() in grammar.yes else "no"
                clauses.append(_clause(text, word, number, language, vocabulary, says))
                piece = Piece(word.end, piece.end)
            clauses.append(_clause(text, piece, number, language, vocabulary, None))
    return tuple(clause for clause in clauses if clause.units)


def content(units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that say something: no small words and no marks."""
    return tuple(unit for unit in units if unit.role in ("word", "term", "number"))


def _clause(
    text: str, piece: Piece, number: int, language: str, vocabulary: Vocabulary, lead: Literal["yes", "no"] | None
) -> Clause:
    units = read_units(text[piece.start : piece.end], language, vocabulary)
    moved = tuple(
        Unit(u.key, u.role, u.words, u.start + piece.start, u.end + piece.start, u.term, u.plural) for u in units
    )
    return Clause(piece.start, piece.end, number, moved if any(u.role != "mark" for u in moved) else (), lead)


def _split(text: str, start: int, end: int, grammar: Grammar) -> list[Piece]:
    """The clauses of [start, end), without the marks at their edges."""
    pieces = []
    edge = start
    for cut in grammar.breaks.finditer(text, start, end):
        pieces.append((edge, cut.start()))
        edge = cut.end()
    pieces.append((edge, end))
    trimmed = []
    for left, right in pieces:
        inside = text[left:right]
        left += len(inside) - len(inside.lstrip(_EDGES + "-–—"))
        right -= len(inside) - len(inside.rstrip(_EDGES))
        if left < right:
            trimmed.append(trim(text, left, right))
    return trimmed


def _joins(token: Token, text: str) -> bool:
    """Whether it is a hyphen inside a word, or at its end ("T1- or T2-weighted")."""
    before, after = text[token.start - 1 : token.start], text[token.end : token.end + 1]
    return token.word in _HYPHENS and (before.isalnum() or not (before.isspace() or after.isspace()))


def _measure(words: list[Token], position: int) -> Unit | None:
    number, unit = words[position], words[position + 1].word if position + 1 < len(words) else ""
    if unit not in _MILLIMETRES or not number.word[0].isdigit() or number.word.count(".") > 1:
        return None
    try:
        length = float(number.word.replace(",", ".")) * _MILLIMETRES[unit]
    except ValueError:
        return None
    return Unit(f"{length:g} mm", "word", (f"{length:g}mm",), number.start, words[position + 1].end)


def _longest(words: list[Token], position: int, language: str, vocabulary: Vocabulary) -> Unit:
    first = words[position]
    if not is_word(first):
        return Unit(first.word, "mark", (first.word,), first.start, first.end)
    for form, role, term in _forms(language, vocabulary).get(first.word, ()):
        last = position + len(form) - 1
        if last < len(words) and all(a == b.word for a, b in zip(form, words[position:], strict=False)):
            key = term.name if term else " ".join(form)
            return Unit(key, role, form, first.start, words[last].end, term, words[last].plural)
    role = "number" if first.word.isdigit() else "word"
    return Unit(first.word, role, (first.word,), first.start, first.end, plural=first.plural)


@lru_cache(maxsize=32)
def _forms(language: str, vocabulary: Vocabulary) -> dict[str, list[tuple[tuple[str, ...], Role, Term | None]]]:
    """By first word, what begins with it: longest first, small words before terms."""
    grammar = GRAMMARS[language]
    tables: tuple[tuple[Role, tuple[str, ...]], ...] = (
        ("veto", grammar.vetoes),
        ("blur", grammar.blurs),
        ("negator", grammar.negators),
        ("guess", grammar.guesses),
        ("mark", _MARKS),
        ("filler", grammar.fillers),
    )
    found: dict[str, list[tuple[tuple[str, ...], Role, Term | None]]] = {}
    for role, phrases in tables:
        for phrase in phrases:
            words = tuple(token.word for token in tokens(phrase))
            found.setdefault(words[0], []).append((words, role, None))
    for first, forms in vocabulary.forms.items():
        found.setdefault(first, []).extend((words, "term", vocabulary.terms[name]) for words, name in forms)
    for first, names in vocabulary.fixed.items():
        found.setdefault(first, []).extend((words, "word", None) for words in names)
    for entries in found.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return found
