"""How a term of a short answer is exchanged for another one."""

import re

from .open_reader import NOUNS, TECHNICAL, OpenReader, Part
from .plausible import clashes, disagrees, explains
from .reading import Change, Picker, named, put, written
from .text import CHINESE_NUMBERS, NUMBERS, plural, word_set
from .units import Unit, read_clauses, read_units
from .vocabulary import Vocabulary

_LONGEST = 6
"""A ground truth of more units describes; a change of one of them is no other answer."""
_ALONE = frozenset({"laterality", "amount", "colour", "symmetry", "trend", "texture", "normality", "health"})
"""Exchanged only where they are the whole answer, as is what stands beside them: "unilateral lungs" are none."""
_DESCRIBING = word_set("side laterality vertical depth size severity amount extent course lobe")
"""Sorts of terms that make an answer more exact."""
_WITHIN_NAMES = word_set("of the 的")
_ARTICLE = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_ATTRIBUTES = frozenset({"side", "laterality", "vertical", "depth", "severity", "size"})
"""Exchanged before all other terms: the least of an answer."""


class OpenQuestion(OpenReader):
    """A question with a ground truth in words, and how to exchange the terms of a text that answers it."""

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Exchanges a term of the stated truth for an opposite, or the wrong terms for those of the truth."""
        if self.read(text).correct:
            return self._corrupt(text, pick)
        return self._correct(text)

    def _corrupt(self, text: str, pick: Picker) -> list[Change] | str:
        units = [unit for part in self._parts for unit in part]
        if self._denied or self._reasons or explains(text):
            return "the question or the response reasons or denies, so that another word is not plainly wrong"
        if len(units) > _LONGEST or "/" in self._truth:
            return "the ground truth is no short answer"
        clauses = read_clauses(text, self._language, self._vocabulary)
        known = all(unit.term or unit.role == "number" for unit in units)
        found: dict[bool, list[list[Change]]] = {True: [], False: []}
        for part in self._parts:
            windows = [window for clause in clauses for window in self._windows(text, clause, part)]
            for index in (index for index in range(len(part)) if self._may_change(part, index, known)):
                places = named(text, [_place(window, part, index) for window in windows], part[index])
                for changes in self._exchanges(text, places, part, part[index]):
                    if not self.states(_changed(text, changes)):
                        found[part[index].group in _ATTRIBUTES].append(changes)
        if found[True]:
            return pick(found[True])
        if found[False]:
            return pick(found[False])
        return "the vocabulary has no opposite for a word of the ground truth"

    def _may_change(self, part: Part, index: int, known: bool) -> bool:
        """Whether a word of the truth is one that can be exchanged by itself."""
        group = part[index].group
        if len(part) > 1 and any(unit.group in _ALONE for unit in part):
            return False
        others = [unit for other in self._parts if other is not part for unit in other]
        if group in NOUNS and any(unit.group != group for unit in others):
            return False
        if group in TECHNICAL and any(unit.group not in TECHNICAL for unit in (*part, *others)):
            return False
        if group == "side" and len({u.key for u in (*part, *others) if u.group == "side"}) > 1:
            return False
        if group in NOUNS and (not known or (group != "finding" and any(unit.group == "finding" for unit in part))):
            return False
        return group in ("side", "number") or all(unit.term for unit in part)

    def _exchanges(self, text: str, places: list[Unit], part: Part, unit: Unit) -> list[list[Change]]:
        """The ways to put another answer in the places of a word of the truth."""
        if unit.role == "number" and self._counts:
            number = int(unit.key) + 1
            fits = all(_may_count(text, place, number) for place in places)
            return [[put(text, u.start, u.end, _numeral(text, u, number)) for u in places]] if fits and places else []
        if unit.term is None or len({text[u.start : u.end].lower() for u in places}) != 1:
            return []
        said = {u.key for u in read_units(text, self._language, self._vocabulary)}
        taken = {u.key for u in part} | (said | {u.key for u in self._asked} if unit.group != "side" else set())
        beside = [u for u in (*read_units(text, self._language, self._vocabulary), *self._asked) if u not in places]
        sides = sum(u.key == unit.key for p in self._parts for u in p)
        known = {u.key for u in (*self._asked, *(u for p in self._parts for u in p))}
        if unit.group in ("vertical", "depth") and any(
            u.group in ("organ", "lobe") and u.key not in known for u in beside
        ):
            return []
        again = [u for u in beside if u.key == unit.key and not any(u is asked for asked in self._asked)]
        if again and (unit.group != "side" or sides == 1):
            return []
        sided = any(_side_before(text, place, self._language, self._vocabulary) for place in places)
        found: list[list[Change]] = []
        for term in self._vocabulary.alternatives(unit.term):
            forms = [written(term, place, text, self._language) for place in places]
            if term.name in taken or (sided and unit.group == "organ" and not term.paired):
                continue
            if clashes(unit.term, term, beside):
                continue
            changes = [put(text, u.start, u.end, form) for u, form in zip(places, forms, strict=True) if form]
            found += [changes] if len(changes) == len(places) else []
        return found

    def _correct(self, text: str) -> list[Change] | str:
        if explains(text):
            return "the response gives reasons for its answer"
        clauses = read_clauses(text, self._language, self._vocabulary)
        truth = [unit for part in self._parts for unit in part]
        answer = [u for u in self._rest(clauses) if u.group in {t.group for t in truth}]
        wrong = [u for u in answer if not self._kin(u, truth)]
        beside = [u for u in self._rest(clauses) if u not in wrong]
        changes = []
        for unit in (place for like in {u.key: u for u in wrong}.values() for place in named(text, wrong, like)):
            right = [other for other in truth if other.group == unit.group]
            if any(u.term and other.term and clashes(u.term, other.term, beside) for u in [unit] for other in right):
                return "the rest of the response does not fit the ground truth"
            single = unit.group == "organ" and any(other.term and not other.term.paired for other in right)
            if single and _side_before(text, unit, self._language, self._vocabulary):
                return "the organ of the ground truth has no sides"
            new = self._in_place(text, unit, right[0]) if len(right) == 1 else ""
            if new is None:
                return "the ground truth does not fit the grammar of the response"
            changes += [put(text, unit.start, unit.end, new)] if new else []
        if changes and self._says_only_truth(_changed(text, changes)):
            return changes
        answer += [u for u in self._rest(clauses) if u.group in _DESCRIBING and u not in answer]
        first, last = min(u.start for u in answer), max(u.end for u in answer)
        if disagrees(text, last, max(answer, key=lambda unit: unit.end).plural, truth[-1].plural):
            return "the ground truth does not fit the grammar of the response"
        following = re.match(r"\W*(\w+)", text[last:])
        if following and following[1].lower() in word_set(self._truth.lower()):
            return "the ground truth would be followed by a word of its own"
        units = read_units(text, self._language, self._vocabulary)
        if any(u.group in NOUNS and u.start >= last and not text[last : u.start].strip() for u in units):
            return "the wrong answer goes on with a noun that would stay"
        whole = [put(text, first, last, self._bare_truth(text[:first]))]
        if self._is_one_name(text, first, last) and self._says_only_truth(_changed(text, whole)):
            return whole
        return "the rules cannot write the ground truth, and nothing else, in the place of the wrong answer"

    def _is_one_name(self, text: str, start: int, end: int) -> bool:
        """Whether a stretch is one noun phrase: no list, and no verb inside."""
        units = read_units(text, self._language, self._vocabulary)
        inside = [unit for unit in units if start <= unit.start < end]
        return all(unit.role in ("word", "term", "number") or unit.key in _WITHIN_NAMES for unit in inside)

    def _says_only_truth(self, text: str) -> bool:
        """Whether a text states the truth and describes nothing more exactly than the truth does."""
        truth = [unit for part in self._parts for unit in part]
        rest = self._rest(read_clauses(text, self._language, self._vocabulary))
        sorts = _DESCRIBING if all(unit.group in TECHNICAL for unit in truth) else _DESCRIBING | NOUNS
        more = [u for u in rest if u.group in sorts and not any(u.means(t) for t in truth)]
        return self.states(text) and not more

    def _bare_truth(self, before: str) -> str:
        """The ground truth, without its article where the text has one already."""
        truth = self._truth.strip(" .。")
        return _ARTICLE.sub("", truth) if re.search(r"\b(?:the|an?)\s+$", before, re.IGNORECASE) else truth

    def _in_place(self, text: str, wrong: Unit, right: Unit) -> str | None:
        """The truth's words for a unit, in the number of the wrong one; None where that does not fit."""
        words = self._truth[right.start : right.end]
        if wrong.role == "number":
            return _numeral(text, wrong, int(right.key)) if _may_count(text, wrong, int(right.key)) else None
        if right.term is not None and right.term.paired and wrong.plural and not right.plural:
            return plural(words)
        return None if disagrees(text, wrong.end, wrong.plural, right.plural) else words


def _place(window: Part, part: Part, index: int) -> Unit:
    return next((unit for unit in window if unit.key == part[index].key), window[index])


def _side_before(text: str, place: Unit, language: str, vocabulary: Vocabulary) -> bool:
    """Whether a side stands before a place ("left kidney")."""
    before = [unit for unit in read_units(text, language, vocabulary) if unit.end <= place.start]
    return bool(before) and before[-1].group in ("side", "laterality")


def _may_count(text: str, place: Unit, number: int) -> bool:
    """Whether another number fits the grammar around a number."""
    return min(int(place.key), number) > 1 or text.strip(" .。") == text[place.start : place.end]


def _numeral(text: str, like: Unit, number: int) -> str:
    """A number, in words where the one whose place it takes is in words."""
    old = text[like.start : like.end]
    if old in CHINESE_NUMBERS:
        return next((word for word, value in CHINESE_NUMBERS.items() if value == str(number)), str(number))
    return NUMBERS[number] if old.isalpha() and old.isascii() and number < len(NUMBERS) else str(number)


def _changed(text: str, changes: list[Change]) -> str:
    for change in sorted(changes, key=lambda change: -change.start):
        text = text[: change.start] + change.text + text[change.end :]
    return text
