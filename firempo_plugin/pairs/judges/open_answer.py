"""Open questions with a short answer: whether a text states it in the same words, and how to exchange its terms."""

from .answers import Change, Picker, Reading, named, put, written
from .grammar import GRAMMARS
from .text import NUMBERS, is_word, plural, tokens
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import Term, Vocabulary

Part = tuple[Unit, ...]

_NOUNS = frozenset({"organ", "finding", "lobe", "part", "system"})
"""Exchanged only where the vocabulary knows every word beside them: "bowel contents" are no "kidney contents"."""
_OR = frozenset({"or", "或", "或 者", "还 是"})
_SEPARATORS = frozenset(",;/&+()、和及与") | {"and", "以 及"}
_TECHNICAL = frozenset({"modality", "projection", "part", "plane", "weighting"})
_ARTICLES = frozenset({"the", "a", "an"})
_ORDER = ("side", "laterality", "vertical", "depth", "severity", "size")
_VIEWERS = frozenset({"patient", "body", "image", "picture", "person"})


class OpenQuestion:
    """A question with a ground truth in words.

    Args:
        question: The question.
        truth: Its answer; a list may come in any order.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    def __init__(self, question: str, truth: str, language: str, vocabulary: Vocabulary) -> None:
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary
        units = read_units(question, language, vocabulary)
        self._asked = content(units)
        self._viewed = {unit.key for unit in units if unit.key in _VIEWERS}
        self._excused = {unit.key for unit in units if unit.role in ("blur", "veto", "guess")}
        self._counts = bool(GRAMMARS[language].counting.search(question))
        self._parts, negated = _parts_of(read_units(truth, language, vocabulary))
        denied = negated or any(unit.role == "negator" for unit in units)
        self._readable = bool(self._parts) and not denied and not self._echoed()

    def read(self, text: str) -> Reading:
        """Whether a text states the truth in words that the vocabulary knows as the same, or plainly another answer."""
        if not self._truth.strip():
            return Reading(None, "", "there is no ground truth")
        if _plain(text) == _plain(self._truth):
            return Reading(True, text.strip(" .。"), "the response is the ground truth")
        if not self._readable:
            return Reading(None, "", "question or ground truth deny something, or the one repeats the other")
        clauses = read_clauses(text, self._language, self._vocabulary)
        stated = [any(self._windows(text, clause, part) for clause in clauses) for part in self._parts]
        if all(stated):
            return self._stated(clauses)
        if not any(stated) or len(self._parts) == 1:
            return self._otherwise(text, clauses)
        return Reading(None, "", "the response states a part of the ground truth")

    def states(self, text: str) -> bool:
        """Whether every part of the truth stands in a text, not denied; other words may stand beside it."""
        clauses = read_clauses(text, self._language, self._vocabulary)
        everywhere = [any(self._windows(text, clause, part) for clause in clauses) for part in self._parts]
        return _plain(text) == _plain(self._truth) or (bool(everywhere) and all(everywhere))

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Exchanges a term of the stated truth for an opposite, or the wrong terms for those of the truth."""
        if self.read(text).correct:
            return self._corrupt(text, pick)
        return self._correct(text)

    def _echoed(self) -> bool:
        return all(any(asked.means(unit) for asked in self._asked) for part in self._parts for unit in part)

    def _windows(self, text: str, clause: Clause, part: Part) -> list[Part]:
        """Where a clause states a part of the truth without denying, doubting or contrasting it."""
        if any(u.role in ("negator", "blur", "veto", "guess") and u.key not in self._excused for u in clause.units):
            return []
        cut = GRAMMARS[self._language].comparison.search(text, clause.start, clause.end)
        found, run = [], []
        for unit in (*clause.units, None):
            if unit is not None and unit.role in ("word", "term", "number") and not (cut and unit.start >= cut.start()):
                run.append(unit)
            elif unit is None or unit.role == "mark":
                found += [tuple(run[i : i + len(part)]) for i in range(len(run) - len(part) + 1)]
                run = []
        return [window for window in found if _same(window, part)]

    def _stated(self, clauses: tuple[Clause, ...]) -> Reading:
        truth = [unit for part in self._parts for unit in part]
        rest = [unit for unit in self._rest(clauses) if not any(unit.means(other) for other in truth)]
        if any(unit.key in _OR for clause in clauses for unit in clause.units) or any(
            self._rivals(unit, truth) for unit in rest
        ):
            return Reading(None, "", "the response names another answer beside the ground truth", disputed=True)
        technical = len(truth) == 1 and truth[0].group in _TECHNICAL
        if any(unit.role == "word" or (technical and unit.group not in _TECHNICAL) for unit in rest):
            return Reading(None, "", "the response says more than the rules can read")
        return Reading(True, self._truth.strip(" .。"), "the response states the ground truth")

    def _rivals(self, unit: Unit, truth: list[Unit]) -> bool:
        """Whether a unit beside the truth is another answer, or turns the question's own terms around."""
        groups = {other.group for other in truth if _decides(other) or other.group in ("finding", "number")}
        asked = {other.group for other in self._asked if _decides(other) and not any(other.means(t) for t in truth)}
        return (unit.group in groups and not self._kin(unit, truth)) or unit.group in asked

    def _otherwise(self, text: str, clauses: tuple[Clause, ...]) -> Reading:
        unknown = Reading(None, "", "the response does not state the ground truth in its words")
        units = [unit for clause in clauses for unit in clause.units]
        truth = [unit for part in self._parts for unit in part]
        if any(u.role in ("negator", "blur", "veto", "guess") and u.key not in self._excused for u in units):
            return unknown
        if not all(_decides(u) or u.group == "portion" or (u.role == "number" and self._counts) for u in truth):
            return unknown
        rest = self._rest(clauses)
        groups = {unit.group for unit in truth}
        if any(unit.group not in groups | _TECHNICAL for unit in rest):
            return unknown
        viewed = {unit.key for unit in units if unit.key in _VIEWERS - {"image", "picture"}}
        for group in sorted(groups - {"portion"}):
            there = {unit.key: unit for unit in rest if unit.group == group}
            right = {unit.key for unit in truth if unit.group == group}
            if not there or len(there) != len(right) or any(self._kin(unit, truth) for unit in there.values()):
                continue
            if group == "side" and viewed - self._viewed:
                continue
            says = " ".join(text[unit.start : unit.end] for unit in there.values())
            return Reading(False, says, f"the response says {says!r}, not {self._truth!r}")
        return unknown

    def _rest(self, clauses: tuple[Clause, ...]) -> list[Unit]:
        """The units of a text that the question does not have."""
        said = [unit for clause in clauses for unit in content(clause.units)]
        truth = [unit for part in self._parts for unit in part]
        return [u for u in said if not any(a.means(u) for a in self._asked) or any(u.means(t) for t in truth)]

    def _kin(self, unit: Unit, truth: list[Unit]) -> bool:
        return any(
            unit.means(other) or (unit.term and other.term and unit.term.kin and unit.term.kin == other.term.kin)
            for other in truth
        )

    def _corrupt(self, text: str, pick: Picker) -> list[Change] | str:
        clauses = read_clauses(text, self._language, self._vocabulary)
        for part in self._parts:
            windows = [window for clause in clauses for window in self._windows(text, clause, part)]
            order = sorted(range(len(part)), key=lambda index: _rank(part[index]))
            plain = all(unit.term for unit in part)
            for index in order:
                if part[index].group in _NOUNS and not plain:
                    continue
                units = [_place(window, part, index) for window in windows]
                places = named(text, units, part[index])
                changes = self._exchanged(text, places, part, part[index], pick)
                if changes and not self.states(_changed(text, changes)):
                    return changes
        return "the vocabulary has no opposite for a word of the ground truth"

    def _exchanged(self, text: str, places: list[Unit], part: Part, unit: Unit, pick: Picker) -> list[Change]:
        if unit.role == "number" and self._counts:
            number = int(unit.key) + 1
            fits = all(_may_count(text, place, number) for place in places)
            return [put(text, u.start, u.end, _numeral(text, u, number)) for u in places] if fits else []
        if unit.term is None or not places:
            return []
        said = {u.key for u in read_units(text, self._language, self._vocabulary)}
        taken = {u.key for u in part} | (said | {u.key for u in self._asked} if unit.group != "side" else set())
        sided = any(_side_before(text, place, self._language, self._vocabulary) for place in places)
        options: list[tuple[Term, list[str]]] = []
        for term in self._vocabulary.alternatives(unit.term):
            forms = [written(term, place, text, self._language) for place in places]
            if term.name in taken or (sided and unit.group == "organ" and not term.paired):
                continue
            if all(forms):
                options.append((term, [form for form in forms if form]))
        if not options:
            return []
        chosen, words = pick(options)
        changes = [put(text, u.start, u.end, form) for u, form in zip(places, words, strict=True)]
        return changes + self._swapped_back(text, chosen, unit.term)

    def _swapped_back(self, text: str, chosen: Term, instead: Term) -> list[Change]:
        """In a list that has both, the other way round too: "right lung, left" for "left lung, right"."""
        if not any(unit.key == chosen.name for part in self._parts for unit in part):
            return []
        places = [u for u in read_units(text, self._language, self._vocabulary) if u.key == chosen.name]
        forms = [(place, written(instead, place, text, self._language)) for place in places]
        return [put(text, place.start, place.end, form) for place, form in forms if form]

    def _correct(self, text: str) -> list[Change] | str:
        clauses = read_clauses(text, self._language, self._vocabulary)
        truth = [unit for part in self._parts for unit in part]
        wrong = [u for u in self._rest(clauses) if u.group in {t.group for t in truth} and not self._kin(u, truth)]
        changes = []
        for unit in (place for like in {u.key: u for u in wrong}.values() for place in named(text, wrong, like)):
            right = [other for other in truth if other.group == unit.group]
            new = self._in_place(text, unit, right[0]) if len(right) == 1 else ""
            if new is None:
                return "another number does not fit the grammar of the response"
            changes += [put(text, unit.start, unit.end, new)] if new else []
        if changes and self.states(_changed(text, changes)):
            return changes
        answer = [u for u in self._rest(clauses) if u.group in {t.group for t in truth}]
        first, last = min(u.start for u in answer), max(u.end for u in answer)
        whole = [put(text, first, last, self._truth.strip(" .。"))]
        if self.states(_changed(text, whole)):
            return whole
        return "the rules cannot write the ground truth in the place of the wrong answer"

    def _in_place(self, text: str, wrong: Unit, right: Unit) -> str | None:
        """The truth's words for a unit, in the number of the wrong one; None where a number does not fit."""
        words = self._truth[right.start : right.end]
        if wrong.role == "number":
            return _numeral(text, wrong, int(right.key)) if _may_count(text, wrong, int(right.key)) else None
        paired = right.term is not None and right.term.paired
        return plural(words) if paired and wrong.plural and not right.plural else words


def _parts_of(units: tuple[Unit, ...]) -> tuple[tuple[Part, ...], bool]:
    """The parts of a list, and whether one of them denies something."""
    parts: list[list[Unit]] = [[]]
    for unit in units:
        if unit.key in _SEPARATORS:
            parts.append([])
        elif unit.role in ("word", "term", "number"):
            parts[-1].append(unit)
    denies = any(unit.role in ("negator", "blur", "veto", "guess") for unit in units)
    return tuple(tuple(part) for part in parts if part), denies


def _same(window: Part, part: Part) -> bool:
    """Whether units say the same, in any order where all are terms but for the last word."""
    if all(a.means(b) for a, b in zip(window, part, strict=True)):
        return True
    rest = list(window)
    for unit in part:
        fixed = unit is part[-1] and unit.term is None
        match = next((o for o in rest if o.key == unit.key and (unit.term or (fixed and o is window[-1]))), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _place(window: Part, part: Part, index: int) -> Unit:
    return next((unit for unit in window if unit.key == part[index].key), window[index])


def _side_before(text: str, place: Unit, language: str, vocabulary: Vocabulary) -> bool:
    """Whether a side stands before a place ("left kidney")."""
    before = [unit for unit in read_units(text, language, vocabulary) if unit.end <= place.start]
    return bool(before) and before[-1].group in ("side", "laterality")


def _decides(unit: Unit) -> bool:
    return unit.term is not None and unit.term.exclusive


def _rank(unit: Unit) -> int:
    return _ORDER.index(unit.group) if unit.group in _ORDER else len(_ORDER)


def _may_count(text: str, place: Unit, number: int) -> bool:
    """Whether another number fits the grammar around a number."""
    return min(int(place.key), number) > 1 or text.strip(" .。") == text[place.start : place.end]


def _numeral(text: str, like: Unit, number: int) -> str:
    """A number, in words where the one whose place it takes is in words."""
    old = text[like.start : like.end]
    return NUMBERS[number] if old.isalpha() and old.isascii() and number < len(NUMBERS) else str(number)


def _changed(text: str, changes: list[Change]) -> str:
    for change in sorted(changes, key=lambda change: -change.start):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _plain(text: str) -> tuple[str, ...]:
    return tuple(token.word for token in tokens(text) if is_word(token) and token.word not in _ARTICLES)
