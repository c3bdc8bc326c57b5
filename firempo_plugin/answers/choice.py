"""Choice questions ("heart or lung?"): which option a text takes, and how to put another in its place."""

import re
from dataclasses import dataclass

from .grammar import GRAMMARS
from .plausible import disagrees, explains
from .reading import Change, Picker, Reading, named, put, written
from .text import word_set
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import Vocabulary

_PLURAL_VERB = re.compile(r"\s+(?:are|were|appear|show|look|seem|have)\b")
_OR = frozenset({"or", "还是", "或", "或者", "还 是", "或 者"})
_COMMAS = frozenset({",", "、"})
_POSITIONS = frozenset({"side", "laterality", "vertical", "depth"})
_HARMLESS = word_set(
    "modality projection part plane side laterality vertical depth organ lobe portion place weighting density signal"
    " colour size severity amount extent number"
)


@dataclass(frozen=True)
class Option:
    """One of the answers that a question offers.

    Attributes:
        marks: The units that tell it from the other options.
        text: As the question writes it.
        units: All units of it: "right lung", of which "lung" may be the mark.
    """

    marks: tuple[Unit, ...]
    text: str
    units: tuple[Unit, ...]

    def among(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """Its marks among other units; empty where one is missing."""
        found = [next((unit for unit in units if unit.means(mark)), None) for mark in self.marks]
        return tuple(unit for unit in found if unit is not None) if all(found) else ()


def options_of(question: str, language: str, vocabulary: Vocabulary) -> tuple[Option, ...]:
    """The options that a question offers; empty where it offers none that rules can tell apart."""
    units = read_units(question, language, vocabulary)
    where = [index for index, unit in enumerate(units) if unit.key in _OR]
    if len(where) != 1:
        return ()
    last = _run(units, where[0] + 1, 1)
    first = where[0] - 1
    while first >= 0 and units[first].key in _COMMAS:
        first -= 1
    runs = [last, _run(units, first, -1)[-max(1, len(last)) :] or _with(units[first], last, vocabulary)]
    while runs[-1]:
        comma = next(index for index, unit in enumerate(units) if unit.start == runs[-1][0].start) - 1
        before = _run(units, comma - 1, -1)[-len(runs[-1]) :] if comma > 0 and units[comma].key in _COMMAS else []
        if not before or not {unit.group for unit in before} & {unit.group for unit in runs[-1]} - {""}:
            break
        runs.append(before)
    return _distinct(runs[::-1], question)


class ChoiceQuestion:
    """A question that names its possible answers.

    Args:
        question: The question.
        options: What it offers.
        truth: Index of the right one.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    closed = True

    def __init__(
        self, question: str, options: tuple[Option, ...], truth: int, language: str, vocabulary: Vocabulary
    ) -> None:
        self._options = options
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary
        self._asked = content(read_units(question, language, vocabulary))
        self._groups = {mark.group for option in options for mark in option.marks} - {""}

    def read(self, text: str) -> Reading:
        """Which option a text takes: the only one that it names without denying it."""
        stated: set[int] = set()
        clauses = read_clauses(text, self._language, self._vocabulary)
        if any(clause.lead == "no" for clause in clauses):
            return Reading(None, "", "the response says no to a question that is no yes/no question")
        for clause in clauses:
            taken_here = self._named(text, clause)
            if taken_here is None:
                return Reading(None, "", "a clause of the response leaves open which option it takes")
            stated |= taken_here
        if len(stated) != 1:
            reason = "names several options" if stated else "names none of the options"
            return Reading(None, "", f"the response {reason}", disputed=len(stated) > 1)
        taken = stated.pop()
        return Reading(taken == self._truth, self._options[taken].text, "the response takes one option")

    def states(self, text: str) -> bool:
        """Whether a text states the ground truth."""
        return self.read(text).correct is True

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Exchanges the option that the text takes for the right one, or for a wrong one."""
        reading = self.read(text)
        taken = next(index for index, option in enumerate(self._options) if option.text == reading.says)
        others = [index for index in range(len(self._options)) if index != taken]
        given = pick(others) if taken == self._truth else self._truth
        if explains(text):
            return "the response gives reasons for its answer"
        changes: list[Change] = []
        for clause in read_clauses(text, self._language, self._vocabulary):
            end = self._end_of_claim(text, clause)
            for old, new in ((taken, given), (given, taken)):
                for places in self._places(text, clause, self._options[old]):
                    if places[0].start >= end:
                        continue
                    if _positioned(clause, places):
                        return "the rest of the response does not fit the other option"
                    change = self._exchange(text, places, self._options[new])
                    if change is None:
                        return f"the rules cannot write {self._options[new].text!r} for {self._options[old].text!r}"
                    changes.append(change)
        return changes

    def _end_of_claim(self, text: str, clause: Clause) -> int:
        """Where a clause begins to list all options ("the largest of lung, liver and heart"); else its end."""
        cut = GRAMMARS[self._language].comparison.search(text, clause.start, clause.end)
        if cut is None:
            return clause.end
        after = content(tuple(unit for unit in clause.units if unit.start >= cut.start()))
        return cut.start() if all(option.among(after) for option in self._options) else clause.end

    def _places(self, text: str, clause: Clause, option: Option) -> list[tuple[Unit, ...]]:
        """Where a clause names an option, with the words that the question has beside its mark."""
        said = content(clause.units)
        if len(option.marks) == 1:
            return [(unit,) for unit in named(text, said, option.marks[0])]
        found = option.among(said)
        return [found] if found else []

    def _named(self, text: str, clause: Clause) -> set[int] | None:
        """The options that a clause takes; None where it is not clear."""
        cut = GRAMMARS[self._language].comparison.search(text, clause.start, clause.end)
        front = tuple(unit for unit in clause.units if not cut or unit.end <= cut.start())
        said = content(front)
        taken = {index for index, option in enumerate(self._options) if option.among(said)}
        mentioned = any(option.among(content(clause.units)) for option in self._options)
        if not mentioned:
            return set()
        marks = [mark for option in self._options for mark in option.marks]
        rest = [unit for unit in said if not any(asked.means(unit) for asked in (*self._asked, *marks))]
        unsure = any(unit.role in ("negator", "blur", "veto", "guess") for unit in front)
        odd = any(unit.group not in _HARMLESS - self._groups for unit in rest)
        return None if unsure or odd or not taken else taken

    def _exchange(self, text: str, places: tuple[Unit, ...], new: Option) -> Change | None:
        first, last = min(unit.start for unit in places), max(unit.end for unit in places)
        alike = len(text[first:last].split()) == len(new.text.split())
        if not alike and not {unit.group for unit in places} & {unit.group for unit in new.units} - {""}:
            return None
        if disagrees(text, last, places[-1].plural, new.units[-1].plural) and not new.marks[0].group:
            return None
        if len(places) == len(new.units) == 1 and new.marks[0].term and places[0].group == new.marks[0].group:
            words = written(new.marks[0].term, places[0], text, self._language)
            singular = None if _PLURAL_VERB.match(text, last) else new.text
            exchanged = new.text if self._language == "zh" else words or singular
            return put(text, first, last, exchanged) if exchanged else None
        together = sum(unit.end - unit.start for unit in places) >= last - first - len(places) + 1
        return put(text, first, last, new.text) if together else None


def _run(units: tuple[Unit, ...], start: int, step: int) -> list[Unit]:
    """Neighbouring units that say something, from a start; articles before the first are passed over."""
    run: list[Unit] = []
    position = start
    while 0 <= position < len(units):
        unit = units[position]
        if unit.role in ("word", "term", "number"):
            run.append(unit)
        elif run or unit.role != "filler" or step < 0:
            break
        position += step
    return run[::step]


def _with(before: Unit, last: list[Unit], vocabulary: Vocabulary) -> list[Unit]:
    """The first option of "with or without contrast"."""
    term = last[0].term if last else None
    if before.key != "with" or term is None or last[0].words[0] != "without":
        return []
    other = vocabulary.alternatives(term)[0]
    return [Unit(other.name, "term", tuple(other.en[0].split()), before.start, before.end, other)]


def _distinct(runs: list[list[Unit]], question: str) -> tuple[Option, ...]:
    """Options with what tells them apart; none where two are alike or one is empty."""
    marks = []
    for run in runs:
        others = [unit for other in runs if other is not run for unit in other]
        own = [unit for unit in run if not any(unit.means(other) for other in others)]
        shared = [unit for unit in own if unit.group and unit.group in {other.group for other in others}]
        marks.append(tuple(shared or own))
    if len(marks) < 2 or not all(marks):
        return ()
    return tuple(_option(own, run, question) for own, run in zip(marks, runs, strict=True))


def _option(marks: tuple[Unit, ...], run: list[Unit], question: str) -> Option:
    """An option with its marks and the positions right before them: "right lung"."""
    first = next(index for index, unit in enumerate(run) if unit.start == marks[0].start)
    while first > 0 and run[first - 1].group in _POSITIONS and marks[0].group not in _POSITIONS:
        first -= 1
    last = next(index for index, unit in enumerate(run) if unit.end == marks[-1].end)
    units = tuple(run[first : last + 1])
    return Option(marks, _text(units, question), units)


def _positioned(clause: Clause, places: tuple[Unit, ...]) -> bool:
    """Whether a position stands before an organ and would stay there: "left liver" from "left kidney"."""
    before = [unit for unit in clause.units if unit.end <= places[0].start]
    return places[0].group == "organ" and bool(before) and before[-1].group in _POSITIONS


def _text(run: tuple[Unit, ...], question: str) -> str:
    written_out = question[run[0].start : run[-1].end]
    first = run[0].term
    return first.en[0] if first and written_out.lower() == "with" else written_out
