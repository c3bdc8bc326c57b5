"""Text as words: one normal form for case, plurals, number words and apostrophes; sentences; scripts."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from ..phrases import IDEOGRAPHS as _IDEOGRAPHS
from ..phrases import WORD


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for tables."""
    return frozenset(text.split())


_UNITS = "mm|cm|ml|kg|mg"

_WORD = re.compile(
    rf"[{_IDEOGRAPHS}]|\d+(?:[.,]\d+)+|\d+(?=(?:{_UNITS})(?![^\W{_IDEOGRAPHS}]))"
    rf"|[^\W{_IDEOGRAPHS}]+(?:['’](?:s|t|re|ve|ll|d|m)(?!\w))?|[^\w\s]",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\"'”’)*\]]*(?:\s|$))[\"'”’)*\]]*|[。\uff01\uff1f\uff1b][”’」\uff09]*|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:vs|e\.g|i\.e|dr|approx|fig|figs|cf|no(?=\.\s\d))|^\W*\d+)\.$", re.IGNORECASE)

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""English number words by value."""
CHINESE_NUMBERS = {
    "零": "0", "一": "1", "两": "2", "二": "2", "三": "3", "四": "4", "五": "5", "六": "6", "七": "7",
    "八": "8", "九": "9",
}  # fmt: skip
"""Of two words for a number, the first stands before a measure word."""
_NUMBER_OF = {word: str(value) for value, word in enumerate(NUMBERS)}
_SINGULAR = {
    "vertebrae": "vertebra", "metastases": "metastasis", "diagnoses": "diagnosis", "calculi": "calculus",
    "bronchi": "bronchus", "hila": "hilum", "atria": "atrium", "pneumothoraces": "pneumothorax", "foci": "focus",
    "teeth": "tooth", "feet": "foot", "thoraces": "thorax", "apices": "apex", "bases": "base", "axes": "axis",
    "nuclei": "nucleus", "men": "man", "women": "woman", "lies": "lie", "consists": "consist", "sinuses": "sinus",
    "uteri": "uterus", "pelves": "pelvis", "infiltrates": "infiltrate", "diaphragms": "diaphragm", "xrays": "xray",
}  # fmt: skip
_NOT_PLURAL = word_set(
    "pancreas gas ascites lens series yes has was does its this his as us pus feces faeces caries axis biceps "
    "triceps always perhaps besides across towards sometimes hers ours diabetes atlas gis is versus vs"
)


@dataclass(frozen=True)
class Token:
    """A word, a Chinese character or a punctuation mark, and where it stands.

    Attributes:
        word: Its normal form: lower case, singular, "3" for "three", no possessive.
        start, end: [start, end) in the text.
        plural: Whether it was written as a plural.
    """

    word: str
    start: int
    end: int
    plural: bool


@dataclass(frozen=True)
class Piece:
    """A stretch [start, end) of a text."""

    start: int
    end: int


@lru_cache(maxsize=2048)
def tokens(text: str) -> tuple[Token, ...]:
    """Splits a text into words, Chinese characters and punctuation marks, normalised."""
    found = []
    for match in _WORD.finditer(text):
        word = unicodedata.normalize("NFKC", match.group()).lower().replace("’", "'")
        word = word.removesuffix("'s")
        normal = singular(word)
        plain = _NUMBER_OF.get(normal, CHINESE_NUMBERS.get(normal, normal))
        found.append(Token(plain, *match.span(), plural=normal != word))
    return tuple(found)


def singular(word: str) -> str:
    """The singular of a lower-case English word; the third person of a verb loses its "s" too."""
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or word in _NOT_PLURAL or not word.isascii() or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def plural(phrase: str) -> str:
    """The plural of a singular English noun phrase."""
    irregular = {single: many for many, single in _SINGULAR.items()}
    head, space, last = phrase.rpartition(" ")
    if last in irregular:
        last = irregular[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    else:
        last += "s"
    return head + space + last


def is_word(token: Token) -> bool:
    """Whether it is no punctuation mark."""
    return token.word[0].isalnum()


def count_words(text: str) -> int:
    """Words, numbers and Chinese characters in a text, split as phrases are."""
    return sum(match.group()[0].isalnum() for match in WORD.finditer(text))


def sentences(text: str) -> tuple[Piece, ...]:
    """The sentences of a text, trimmed; a list number belongs to the sentence that it opens."""
    pieces = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[start : match.end()].rstrip("\n")) and match.group()[0] == ".":
            continue
        pieces.append((start, match.end()))
        start = match.end()
    pieces.append((start, len(text)))
    trimmed = (trim(text, *piece) for piece in pieces)
    return tuple(piece for piece in trimmed if any(c.isalnum() for c in text[piece.start : piece.end]))


def trim(text: str, start: int, end: int) -> Piece:
    """[start, end) without the white space at its edges."""
    inside = text[start:end]
    return Piece(start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip()))


def scripts(text: str) -> frozenset[str]:
    """The scripts of a text's letters, by their Unicode names: "LATIN", "CJK", "CYRILLIC"; Greek is left out."""
    names = {unicodedata.name(c, "UNKNOWN").split()[0] for c in text if c.isalpha()}
    return frozenset(names - {"GREEK", "MICRO", "FULLWIDTH", "FEMININE", "MASCULINE"})
