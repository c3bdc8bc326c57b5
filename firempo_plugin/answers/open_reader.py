"""Open questions with a short answer: whether a text states it in the same words."""

from .grammar import GRAMMARS
from .reading import Reading
from .text import is_word, tokens
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import FINDINGS, Vocabulary

Part = tuple[Unit, ...]
NOUNS = FINDINGS | {"organ", "lobe", "part", "system"}
"""Exchanged only where the vocabulary knows every word of the answer: "bowel contents" are no "kidney contents"."""
_THINGS = frozenset({"organ", "condition", "finding", "image", "section", "slice", "scan", "view", "sequence", "器 官"})
"""Small words that name what is counted."""
_MEASURES = frozenset({"个", "张", "处", "种", "幅"})
_OR = frozenset({"or", "或", "或 者", "还 是"})
_SEPARATORS = frozenset(",;/&+()、和及与") | {"and", "以 及"}
TECHNICAL = frozenset({"modality", "projection", "part", "plane", "weighting"})
_ARTICLES = frozenset({"the", "a", "an"})
_WITHIN = frozenset({"vertical", "depth"})
"""Where in the thing: "right upper lung" states "right lung"."""
_VIEWERS = frozenset({"patient", "body", "image", "picture", "person"})


class OpenReader:
    """A question with a ground truth in words.

    Args:
        question: The question.
        truth: Its answer; a list may come in any order.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    closed = False

    def __init__(self, question: str, truth: str, language: str, vocabulary: Vocabulary) -> None:
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary
        units = read_units(question, language, vocabulary)
        self._asked = content(units)
        self._viewed = {unit.key for unit in units if unit.key in _VIEWERS}
        self._excused = {unit.key for unit in units if unit.role in ("blur", "veto", "guess")}
        self._keys = {unit.key for unit in units}
        self._counts = bool(GRAMMARS[language].counting.search(question))
        self._reasons = bool(GRAMMARS[language].reasoning.search(question))
        self._parts, negated = _parts_of(read_units(truth, language, vocabulary))
        self._denied = negated or any(unit.role == "negator" for unit in units)
        self._readable = bool(self._parts) and not self._denied and not self._echoed()

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

    def _echoed(self) -> bool:
        return all(any(asked.means(unit) for asked in self._asked) for part in self._parts for unit in part)

    def _windows(self, text: str, clause: Clause, part: Part) -> list[Part]:
        """Where a clause states a part of the truth without denying, doubting or contrasting it."""
        if any(u.role in ("negator", "blur", "veto", "guess") and u.key not in self._excused for u in clause.units):
            return []
        cut = GRAMMARS[self._language].comparison.search(text, clause.start, clause.end)
        skipped = _WITHIN - {unit.group for unit in part}
        found, run = [], []
        for unit in (*(unit for unit in clause.units if unit.group not in skipped), None):
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
        units = [unit for clause in clauses for unit in clause.units]
        if self._counts and any(unit.role == "number" and self._counts_other(units, unit) for unit in units):
            return Reading(None, "", "the response counts something else")
        technical = len(truth) == 1 and truth[0].group in TECHNICAL
        if any(unit.role == "word" or (technical and unit.group not in TECHNICAL) for unit in rest):
            return Reading(None, "", "the response says more than the rules can read")
        return Reading(True, self._truth.strip(" .。"), "the response states the ground truth")

    def _rivals(self, unit: Unit, truth: list[Unit]) -> bool:
        """Whether a unit beside the truth is another answer, or turns the question's own terms around."""
        groups = {other.group for other in truth if _decides(other) or other.group in FINDINGS | {"number"}}
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
        if any(unit.group not in groups | TECHNICAL | _WITHIN for unit in rest):
            return unknown
        viewed = {unit.key for unit in units if unit.key in _VIEWERS - {"image", "picture"}}
        for group in sorted(groups - {"portion"}):
            there = {unit.key: unit for unit in rest if unit.group == group}
            if group == "number" and any(self._counts_other(units, unit) for unit in there.values()):
                continue
            right = {unit.key for unit in truth if unit.group == group}
            if not there or len(there) != len(right) or any(self._kin(unit, truth) for unit in there.values()):
                continue
            if group == "side" and viewed - self._viewed:
                continue
            says = " ".join(text[unit.start : unit.end] for unit in there.values())
            return Reading(False, says, f"the response says {says!r}, not {self._truth!r}")
        return unknown

    def _counts_other(self, units: list[Unit], number: Unit) -> bool:
        """Whether a number counts something else than the question does: "six organs" where it asks for lungs."""
        after = next((u for u in units if u.start >= number.end and u.key not in _MEASURES), None)
        if after is None or any(asked.means(after) for asked in self._asked):
            return False
        return after.group in NOUNS or (after.key in _THINGS and after.key not in self._keys)

    def _rest(self, clauses: tuple[Clause, ...]) -> list[Unit]:
        """The units of a text that the question does not have, nor the organ of a finding that it asks for."""
        said = [unit for clause in clauses for unit in content(clause.units)]
        truth = [unit for part in self._parts for unit in part]
        where = {asked.term.organ for asked in self._asked if asked.term} - {unit.key for unit in truth}
        asked = [u for u in said if u.key in where or any(a.means(u) for a in self._asked)]
        return [u for u in said if u not in asked or any(u.means(t) for t in truth)]

    def _kin(self, unit: Unit, truth: list[Unit]) -> bool:
        return any(
            unit.means(other) or (unit.term and other.term and unit.term.kin and unit.term.kin == other.term.kin)
            for other in truth
        )


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


def _decides(unit: Unit) -> bool:
    return unit.term is not None and unit.term.exclusive


def _plain(text: str) -> tuple[str, ...]:
    return tuple(token.word for token in tokens(text) if is_word(token) and token.word not in _ARTICLES)
