"""The statement of a response that answers: its conclusion, where it draws one; the rest must not say otherwise."""

from dataclasses import replace

from .grammar import GRAMMARS
from .reading import Change, Picker, Question, Reading
from .remarks import blank, without_remarks
from .text import Piece, sentences
from .units import Unit, content, read_units
from .vocabulary import Vocabulary

_UNFIT = "the rules cannot tell whether the reasons that the response gives fit another answer"


class Concluded:
    """A question whose responses are read without their remarks, and by their conclusion where they draw one.

    Args:
        question: Reads and turns what is left.
        asked: The units of question and ground truth that say something.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    def __init__(self, question: Question, asked: tuple[Unit, ...], language: str, vocabulary: Vocabulary) -> None:
        self._question = question
        self._asked = asked
        self._language = language
        self._vocabulary = vocabulary
        self.closed = question.closed

    def read(self, text: str) -> Reading:
        """What a text answers: the last statement that answers decides; where another one disagrees, nothing does."""
        text = self._without_remarks(text)
        last = self._conclusion(text)
        if last is None:
            return self._question.read(text)
        said, before = self._question.read(_only(text, last)), self._question.read(blank(text, [last]))
        if said.correct is not None and before.correct is not None and said.says.lower() != before.says.lower():
            return replace(said, correct=None, reason="the response concludes what it denies before", disputed=True)
        if said.correct is not None and self._names_another(text, last):
            return replace(said, correct=None, reason="the response names another answer before its conclusion")
        return said

    def states(self, text: str) -> bool:
        """Whether the conclusion of a text, or a text without one, states the ground truth."""
        text = self._without_remarks(text)
        last = self._conclusion(text)
        return self._question.states(text if last is None else _only(text, last))

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Changes of the conclusion and of what says the same before it; none where other reasons are given."""
        text = self._without_remarks(text)
        last = self._conclusion(text)
        if last is not None:
            reasons = blank(text, [last])
            if any(map(str.isalnum, reasons)) and self._question.read(reasons).correct is None:
                return _UNFIT
        return self._question.turn(text, pick)

    def _names_another(self, text: str, last: Piece) -> bool:
        """Whether a term stands before the conclusion that is of a sort with what it concludes, and another one."""
        before, core = (
            content(read_units(part, self._language, self._vocabulary))
            for part in (text[: last.start], text[last.start : last.end])
        )
        groups, known = {unit.group for unit in core} - {""}, (*core, *self._asked)
        return any(u.group in groups and not any(u.means(k) or k.means(u) for k in known) for u in before)

    def _without_remarks(self, text: str) -> str:
        return without_remarks(text, self._asked, self._language, self._vocabulary)

    def _conclusion(self, text: str) -> Piece | None:
        """The last sentence, or end of one, that says that it is the answer."""
        for piece in reversed(sentences(text)):
            found = list(GRAMMARS[self._language].conclusion.finditer(text, piece.start, piece.end))
            if found and any(map(str.isalnum, text[found[-1].end() : piece.end])):
                return Piece(found[-1].start(), piece.end)
        return None


def _only(text: str, piece: Piece) -> str:
    return " " * piece.start + text[piece.start : piece.end]
