"""Which sort of question a record asks: yes/no, a choice, a size, or an open one."""

import re
from functools import lru_cache
from typing import Literal

from ..records import Record
from .choice import ChoiceQuestion, options_of
from .conclusion import Concluded
from .grammar import GRAMMARS
from .lettered import LetteredQuestion, lettered_options, right_option
from .open_answer import OpenQuestion
from .polar import PolarQuestion
from .reading import Question
from .scale import ScaleQuestion
from .units import content, read_units
from .vocabulary import Vocabulary

VERSION = 6
"""Raised when the rules read, judge or edit an answer otherwise, be it for a word of vocabulary.yaml: what they decided
is kept under it, in builds and in evaluations."""
LONGEST_RESPONSE = 32_000
"""Characters of a response that is read: reading takes seconds there, and hours for what a server may send."""

_POLAR_TRUTH = re.compile(r"\W*(yes|no)\b(?=\W*$|[ \t]*(?:\n|[^\w\s-]))", re.IGNORECASE)
_EITHER = re.compile(r"(?<![^\W_])(?:yes|no)(?![^\W_])", re.IGNORECASE)
_CHINESE_POLAR = re.compile(r"[吗么嘛]|是否|有没有|是不是|能不能|会不会")
_EDGES = re.compile(r"^\W+|\W+$")
_CHINESE_NO = re.compile(r"[\W_]*(?:不|没|无|否|非|未)")


def understand(record: Record, vocabulary: Vocabulary) -> Question:
    """How rules see a record's question.

    Raises:
        KeyError: There is no grammar of the record's language.
    """
    return _understand(record.question, record.truth, record.language, vocabulary)


@lru_cache(maxsize=1024)
def _understand(question: str, truth: str, language: str, vocabulary: Vocabulary) -> Question:
    asked = content(read_units(f"{question}\n{truth}", language, vocabulary))
    return Concluded(_plain(question, truth, language, vocabulary), asked, language, vocabulary)


def _plain(question: str, truth: str, language: str, vocabulary: Vocabulary) -> Question:
    lettered = lettered_options(question)
    right_one = right_option(lettered, truth) if lettered else None
    if right_one is not None:
        return LetteredQuestion(lettered, right_one, language, vocabulary)
    polarity = polar_truth(question, truth, language)
    if polarity:
        return PolarQuestion(question, polarity, language, vocabulary)
    options = options_of(question, language, vocabulary)
    units = content(read_units(truth, language, vocabulary))
    right = [index for index, option in enumerate(options) if option.among(units)]
    if len(right) == 1:
        return ChoiceQuestion(question, options, right[0], language, vocabulary)
    try:
        return ScaleQuestion(question, truth, language, vocabulary)
    except ValueError:
        return OpenQuestion(question, truth, language, vocabulary)


def polar_truth(question: str, truth: str, language: str) -> Literal["yes", "no"] | None:
    """The ground truth as yes or no; None where it is another answer."""
    if language == "zh":
        bare = _EDGES.sub("", truth)
        if not _CHINESE_POLAR.search(question) or not bare:
            return None
        if _CHINESE_NO.match(bare):
            return "no"
        return "yes" if bare in GRAMMARS["zh"].yes or bare in question else None
    match = _POLAR_TRUTH.match(truth)
    if not match or {word.lower() for word in _EITHER.findall(truth)} == {"yes", "no"}:
        return None
    return "yes" if match[1].lower() == "yes" else "no"
