"""Multiple choice with letters ("A) CT B) MRI"): which option a text takes, by letter, by text or by both."""

import re
from dataclasses import dataclass

from .grammar import GRAMMARS
from .reading import Change, Picker, Reading, fit_case
from .text import word_set
from .units import read_units
from .vocabulary import Vocabulary

_MARK = r"(?:(?<=^)|(?<=[\s(\[,;:?.\uff1f\uff1a。]))[(\[\uff08]?([A-H])[)\]\uff09.:\uff1a\u3001](?!\w\.)"
_OPTION = re.compile(rf"{_MARK}\s*(.+?)[\s,;]*(?=$|\n|{_MARK})", re.MULTILINE)
_LETTER = re.compile(
    r"(?:^\W*|(?i:\b(?:option|choice|answer)\b\W*(?:is\b|would be\b)?\W*)|(?:选项?|答案)(?:是|为)?\W*|[(\uff08\n]\s*)"
    r"(?:(?i:option|choice)\s+|选项?)?([A-H])(?![\w'’-])(?=\W*(?:$|[).:,\uff09\uff1a。\n]|is\b|\W*$))",
)
_PLAIN = word_set("option choice select choose pick correct therefore thus hence conclusion my 选 项 因 此")


@dataclass(frozen=True)
class LetteredOption:
    """An option with its letter, as the question writes it."""

    letter: str
    text: str


def lettered_options(question: str) -> tuple[LetteredOption, ...]:
    """The options that a question marks with letters from A on, without a gap; else none."""
    found = [LetteredOption(match[1], match[2].strip(" .,;")) for match in _OPTION.finditer(question)]
    letters = "".join(option.letter for option in found)
    texts = {option.text.lower() for option in found}
    proper = len(found) > 1 and letters == "ABCDEFGH"[: len(found)] and all(texts) and len(texts) == len(found)
    return tuple(found) if proper else ()


def right_option(options: tuple[LetteredOption, ...], truth: str) -> int | None:
    """Index of the option that the ground truth names by letter, by text or by both; None where it names no one."""
    bare = truth.strip(" .()\n")
    for index, option in enumerate(options):
        both = re.fullmatch(rf"{option.letter}\s*[).:\uff1a]?\s*(.*)", bare, re.DOTALL)
        named = bare.lower() == option.text.lower()
        if named or (both and both[1].strip(" .").lower() in ("", option.text.lower())):
            return index
    return None


class LetteredQuestion:
    """A question with lettered options.

    Args:
        options: What it offers.
        truth: Index of the right one.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    closed = True

    def __init__(self, options: tuple[LetteredOption, ...], truth: int, language: str, vocabulary: Vocabulary) -> None:
        self._options = options
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary

    def read(self, text: str) -> Reading:
        """Which option a text takes: the only one that it names, and it says nothing more than that."""
        places = self._places(text)
        taken = {index for index, _, _ in places}
        if len(taken) != 1:
            reason = "names several options" if taken else "names none of the options"
            return Reading(None, "", f"the response {reason}", disputed=len(taken) > 1)
        rest = text
        for _, start, end in places:
            rest = rest[:start] + " " * (end - start) + rest[end:]
        rest = GRAMMARS[self._language].conclusion.sub(" ", rest)
        said = [
            unit for unit in read_units(rest, self._language, self._vocabulary) if unit.role not in ("mark", "filler")
        ]
        if any(not _PLAIN.issuperset(unit.words) for unit in said):
            return Reading(None, "", "the response says more of its option than the rules can read")
        index = taken.pop()
        option = self._options[index]
        return Reading(index == self._truth, f"{option.letter}: {option.text}", "the response takes one option")

    def states(self, text: str) -> bool:
        """Whether a text takes the right option."""
        return self.read(text).correct is True

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Puts letter and text of the right option, or of a wrong one, in the place of those that are there."""
        wrong = [index for index in range(len(self._options)) if index != self._truth]
        new = self._options[pick(wrong) if self.read(text).correct else self._truth]
        changes = []
        for _, start, end in self._places(text):
            old = text[start:end]
            written = new.letter if len(old) == 1 and old.isupper() else fit_case(new.text, old)
            changes.append(Change(start, end, written))
        return changes

    def _places(self, text: str) -> list[tuple[int, int, int]]:
        """Where options are named: index, start and end; a longer text before one that it contains."""
        places: list[tuple[int, int, int]] = []
        order = sorted(range(len(self._options)), key=lambda index: -len(self._options[index].text))
        for index in order:
            words = re.escape(self._options[index].text)
            for match in re.finditer(rf"(?<![^\W\d_]){words}(?![^\W_])", text, re.IGNORECASE):
                if not any(start <= match.start() and match.end() <= end for _, start, end in places):
                    places.append((index, *match.span()))
        letters = {option.letter: index for index, option in enumerate(self._options)}
        for match in _LETTER.finditer(text):
            if match[1] in letters and not any(start <= match.start(1) < end for _, start, end in places):
                places.append((letters[match[1]], *match.span(1)))
        return sorted(places, key=lambda place: place[1])
