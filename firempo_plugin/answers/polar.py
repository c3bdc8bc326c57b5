"""How the answer to a yes/no question is turned around."""

import re
from typing import Literal

from . import chinese, english
from .leftover import embedded, left_over
from .plausible import clashes, disagrees
from .polar_reader import MODIFIERS, TECHNICAL, PolarReader
from .reading import Change, Picker, named, put, written
from .text import tokens
from .units import Clause, Unit, content, read_clauses
from .vocabulary import Term

_VERBAL = re.compile(
    r"which\s+(?:mean|indicate|suggest)|and\s+(?!there|it|this|that|these|they|the\b|no\b)", re.IGNORECASE
)
_WITH = re.compile(r"\bwith\s+$", re.IGNORECASE)
_MEASURING = frozenset({"amount", "size", "severity"})
_AGREEING = frozenset({"amount", "laterality"})
"""Exchanged, they would take the number of their noun along."""
_NAMES = frozenset({"abnormality", "anomaly"})
"""Nouns among adjectives: "shows abnormality" is no "shows normal"."""
_OPPOSITE: dict[str, Literal["yes", "no"]] = {"yes": "no", "no": "yes"}


class PolarQuestion(PolarReader):
    """A question that is answered by yes or no, and how to turn a text around that answers it."""

    def turn(self, text: str, pick: Picker) -> list[Change] | str:
        """Turns around every clause that states the answer, and the one that an explicit answer introduces."""
        clauses = read_clauses(text, self._language, self._vocabulary)
        changes: list[Change] = []
        leading = {clause.sentence for clause in clauses if clause.lead}
        for position, clause in enumerate(clauses):
            introduced = position > 0 and clauses[position - 1].lead and self._carries(clauses, position)
            verdict = self._verdict(clause, len(clauses) == 1)
            if clause.lead:
                changes.append(self._turn_lead(text, clause))
            elif verdict in ("yes", "no") or introduced:
                said = clauses[position - 1].lead if introduced else verdict
                if self._blurred(clause) or (verdict is None and not self._repeats(clause, said == "no")):
                    return f"the rules cannot tell what {text[clause.start : clause.end]!r} has to do with the answer"
                change = self._turn_clause(text, clause, said == "no")
                if isinstance(change, str):
                    return change
                changes.append(change)
            elif verdict == "unclear" or (clause.sentence in leading and _VERBAL.match(text, clause.start)):
                return f"the rules cannot turn around {text[clause.start : clause.end]!r}"
        to_yes = self.read(text).says in ("no", "否")
        left = left_over(text, clauses, changes, self._content, to_yes)
        return f"the rules cannot tell whether {left!r} fits the other answer" if left else changes

    def _repeats(self, clause: Clause, to_yes: bool) -> bool:
        """Whether a clause that an explicit answer introduces says it again, so that it can be turned with it."""
        said = content(clause.units)
        asked = [unit for unit in self._content if unit.group not in MODIFIERS | TECHNICAL] or self._content
        repeated = sum(any(unit.means(other) for unit in said) for other in asked)
        if not said or repeated == len(asked):
            return True
        if self._negators(clause):
            return 2 * repeated >= len(asked)
        rivals = [u for u in said if u.term and u.term.exclusive and self._asks_group(u) and not self._asks(u)]
        return to_yes and len({unit.key for unit in rivals}) == 1

    def _turn_lead(self, text: str, clause: Clause) -> Change:
        word = text[clause.start : clause.end]
        if self._language == "zh" and word in chinese.LEADS:
            return Change(clause.start, clause.end, chinese.LEADS[word])
        new: str = _OPPOSITE[clause.lead or "yes"]
        cased = new.upper() if word.isupper() and len(word) > 1 else new.capitalize() if word[0].isupper() else new
        return Change(clause.start, clause.end, cased)

    def _turn_clause(self, text: str, clause: Clause, to_yes: bool) -> Change | str:
        words = text[clause.start : clause.end]
        unable = f"the rules cannot turn around {words!r}"
        swap = self._swap(text, clause) if to_yes else None
        if swap is not None:
            return swap
        negators = self._negators(clause)
        listed = any(unit.key in ("or", "nor") for unit in clause.units)
        claims = any(u.group in ("normality", "health") and not self._asks(u) for u in clause.units)
        if len(negators) > 1 or (negators and (listed or claims)) or (to_yes and not negators):
            return unable
        if negators and self._denies_besides(text, clause, negators[0]):
            return unable
        if self._language == "zh":
            turned = chinese.affirm(words) if negators else chinese.negate(words)
        elif negators:
            turned = english.affirm(words, self._vocabulary)
        else:
            asked = [unit.start for unit in clause.units if self._asks(unit)]
            inside = asked and embedded(words, asked[0] - clause.start)
            turned = None if inside or self._measured(clause) else english.negate(words)
        return unable if turned is None else Change(clause.start, clause.end, turned)

    def _denies_besides(self, text: str, clause: Clause, negator: Unit) -> bool:
        """Whether "with no ..." stands behind what was asked: it denies something else."""
        asked_before = any(self._asks(unit) for unit in clause.units if unit.end <= negator.start)
        return asked_before and bool(_WITH.search(text[clause.start : negator.start]))

    def _measured(self, clause: Clause) -> bool:
        """Whether a clause tells of something there with its size or number, which a denial would leave open."""
        return self._there and any(u.group in _MEASURING and not self._asks(u) for u in clause.units)

    def _swap(self, text: str, clause: Clause) -> Change | None:
        """The question's own term in the place of the one that the clause has instead."""
        if any(unit.role == "negator" for unit in clause.units):
            return None
        for asked in self._content:
            if not asked.term or not asked.term.exclusive or any(unit.means(asked) for unit in clause.units):
                continue
            if asked.group in _AGREEING or any(unit.words[-1] in _NAMES for unit in clause.units):
                continue
            others = [unit for unit in clause.units if unit.group == asked.group and unit.term != asked.term]
            places = named(text, others, others[0]) if len({unit.key for unit in others}) == 1 else []
            beside = [unit for unit in clause.units if unit not in others]
            if len(places) == 1 and places[0].term and not clashes(places[0].term, asked.term, beside):
                own = _as_known(self._question[asked.start : asked.end], asked.term)
                alike = (
                    len(asked.words) == 1
                    and asked.words in _noun_forms(asked.term)
                    and places[0].words in _noun_forms(places[0].term)
                )
                new = own if alike and not asked.plural else written(asked.term, places[0], text, self._language)
                if new is not None and not disagrees(text, places[0].end, places[0].plural, asked.plural):
                    return put(text, places[0].start, places[0].end, new)
        return None


def _as_known(words: str, term: Term) -> str:
    """Words as the vocabulary writes them: "MRI" for "mri"."""
    return next((form for form in term.en if form.lower() == words.lower()), words)


def _noun_forms(term: Term) -> set[tuple[str, ...]]:
    return {tuple(token.word for token in tokens(form) if token.word[0].isalnum()) for form in term.en}
