"""Yes/no questions: what a text answers, and how to turn its answer around."""

import re
from itertools import pairwise
from typing import Literal

from . import chinese, english
from .answers import Change, Picker, Reading, apply, put, written
from .grammar import GRAMMARS
from .text import Piece, word_set
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import Vocabulary, akin

Verdict = Literal["yes", "no", "unclear"] | None
"""What a clause answers; None: it is about something else."""

_IMAGE_TAIL = re.compile(
    r"\s+(?:in|on|from)\s+(?:the|this|these|that)\s+(?:(?:above|given|provided|chest|brain|head|abdominal|thoracic|ct"
    r"|mri|mr|x-?ray|plain|axial|coronal|sagittal|medical)\s+)*(?:ct|mri|x-?rays?|radiograph|scan|image|picture|film"
    r"|study|slice|section|photo)s?\W*$",
    re.IGNORECASE,
)
_WHICH = re.compile(
    r",?\s+(which)\s+(?:(?:\w+ly|also|does|do|not)\s+)*(?:include|contain|show|feature|display|depict|reveal|involve)",
    re.IGNORECASE,
)
_VERBAL = re.compile(
    r"which\s+(?:mean|indicate|suggest)|and\s+(?!there|it|this|that|these|they|the\b|no\b)", re.IGNORECASE
)
_BOTH = re.compile(r"\byes\s*(?:/|or|and)\s*no\b|\bno\s*(?:/|or)\s*yes\b", re.IGNORECASE)
_TECHNICAL = frozenset({"modality", "projection", "part", "plane"})
_ACQUISITION = frozenset({"modality", "projection", "plane", "weighting", "contrast"})
_PLACES = frozenset({"side", "laterality", "vertical", "depth", "organ", "lobe", "place", "matter", "portion"})
_QUALITIES = word_set(
    "weighting density signal echo lucency colour size severity amount extent course outline margin texture"
    " symmetry content finding number"
)
_CHINESE_CHOICE = re.compile("有没有|是不是|能不能|会不会|是否")
_CONTRASTS = frozenset({"but", "however", "although", "though", "while", "whereas", "yet"})
_MODIFIERS = frozenset({"side", "vertical", "depth", "size", "severity", "amount", "extent", "course"})
_OPPOSITE: dict[str, Literal["yes", "no"]] = {"yes": "no", "no": "yes"}


class PolarQuestion:
    """A question that is answered by yes or no.

    Args:
        question: The question.
        truth: Its right answer.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    def __init__(self, question: str, truth: Literal["yes", "no"], language: str, vocabulary: Vocabulary) -> None:
        self._question = question
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary
        units = read_units(_IMAGE_TAIL.sub("", question), language, vocabulary)
        self._content = content(units)
        self._excused = {unit.key for unit in units if unit.role in ("blur", "veto", "guess")}
        self._there = bool(GRAMMARS[language].existential.search(question))
        asked_negatively = any(unit.role == "negator" for unit in units)
        self._reversible = not asked_negatively or (language == "zh" and bool(_CHINESE_CHOICE.search(question)))

    def read(self, text: str) -> Reading:
        """What a text answers: by its explicit yes or no, else by a clause that restates the question."""
        if not self._reversible:
            return Reading(None, "", "the question is asked in the negative")
        if _BOTH.search(text):
            return Reading(None, "", "the response says both yes and no", disputed=True)
        clauses = read_clauses(text, self._language, self._vocabulary)
        verdicts = [(clause, clause.lead or self._verdict(clause, len(clauses) == 1)) for clause in clauses]
        leads = {clause.lead for clause in clauses if clause.lead}
        stated = {verdict for _, verdict in verdicts if verdict in ("yes", "no")}
        if len(stated) > 1:
            return Reading(None, "", "the response says both yes and no", disputed=True)
        if not stated:
            return Reading(None, "", "the response states neither yes nor no that the rules can read")
        unclear = [clause for clause, verdict in verdicts if verdict == "unclear"]
        if leads and self._vetoed(clauses):
            return Reading(None, "", "the response takes its yes or no back")
        if "yes" in leads and any(self._denies_asked(clause) for clause in clauses):
            return Reading(None, "", "the response says yes and denies it", disputed=True)
        if not leads and unclear:
            return Reading(None, "", "a clause of the response leaves the answer open")
        says = stated.pop()
        assert says is not None
        return Reading(says == self._truth, self._word(says), f"the response says {says}")

    def states(self, text: str) -> bool:
        """Whether a text states the ground truth."""
        return self.read(text).correct is True

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
                change = self._turn_clause(text, clause, said == "no")
                if isinstance(change, str):
                    return change
                changes.append(change)
            elif verdict == "unclear" or (clause.sentence in leading and _VERBAL.match(text, clause.start)):
                return f"the rules cannot turn around {text[clause.start : clause.end]!r}"
        return changes

    def _denies_asked(self, clause: Clause) -> bool:
        """Whether a negator stands right before something that the question asks about."""
        told = [unit for unit in clause.units if unit.role not in ("filler", "mark")]
        denied = any(first.role == "negator" and self._asks(second) for first, second in pairwise(told))
        return denied and not (clause.lead or self._complemented(clause))

    def _carries(self, clauses: tuple[Clause, ...], position: int) -> bool:
        """Whether the clause after an explicit answer belongs to it; not where a later clause restates the question."""
        clause, lead = clauses[position], clauses[position - 1]
        if clause.sentence != lead.sentence or clause.units[0].key in _CONTRASTS:
            return False
        rest = [other for other in clauses[position + 1 :] if other.sentence == lead.sentence]
        later = any(self._verdict(other, False) in ("yes", "no") for other in rest)
        return not later or any(unit.group in ("finding", "normality", "health") for unit in clause.units)

    def _word(self, says: str) -> str:
        return {"yes": "是", "no": "否"}[says] if self._language == "zh" else says

    def _vetoed(self, clauses: tuple[Clause, ...]) -> bool:
        leading = {clause.sentence for clause in clauses if clause.lead}
        return any(
            unit.role == "veto" and unit.key not in self._excused
            for clause in clauses
            for unit in clause.units
            if clause.sentence in leading or any(unit.means(asked) for unit in clause.units for asked in self._content)
        )

    def _verdict(self, clause: Clause, alone: bool) -> Verdict:
        units = clause.units
        if not self._content or (units[0].key == "without" and not alone):
            return None
        said = content(units)
        negators = self._negators(clause)
        rest = [unit for unit in said if not self._asks(unit)]
        covered = self._covers(said)
        blurred = any(unit.role in ("blur", "veto", "guess") and unit.key not in self._excused for unit in units)
        if not negators:
            return self._affirmed(said, rest, covered, blurred, alone)
        if len(negators) > 1 or blurred:
            return "unclear" if covered else None
        if self._denied(units, said, rest, covered, alone):
            return "no"
        return "unclear" if covered else None

    def _affirmed(self, said: tuple[Unit, ...], rest: list[Unit], covered: bool, blurred: bool, alone: bool) -> Verdict:
        if covered:
            return "yes" if not blurred and all(self._harmless(unit) for unit in rest) else "unclear"
        if blurred:
            return None
        if self._replaced(said, rest) is not None:
            return "no"
        return "yes" if alone and not rest and not self._there and self._ends(said) else None

    def _denied(
        self, units: tuple[Unit, ...], said: tuple[Unit, ...], rest: list[Unit], covered: bool, alone: bool
    ) -> bool:
        if not self._there:
            whole = covered or (alone and self._ends(tuple(unit for unit in said if self._asks(unit))))
            return whole and all(
                (unit.group in _TECHNICAL and not self._asks_group(unit)) or self._complements(unit) for unit in rest
            )
        listed = any(unit.key in ("or", "nor", "或", "及", "和", "、") for unit in units) and not any(
            unit.key == "and" for unit in units
        )
        head = next((unit for unit in self._content if unit.group not in _MODIFIERS), self._content[0])
        named = any(unit.means(head) for unit in said)
        return named and all(
            (listed and unit.group == "finding") or unit.group in _TECHNICAL or self._complements(unit) for unit in rest
        )

    def _covers(self, said: tuple[Unit, ...]) -> bool:
        """Whether units state all that the question asks; in its order, unless it asks whether something is there."""
        if self._there:
            return all(any(unit.means(asked) for unit in said) for asked in self._content)
        stream = iter(said)
        return all(any(unit.means(asked) for unit in stream) for asked in self._content)

    def _ends(self, said: tuple[Unit, ...]) -> bool:
        """Whether units are the end of what the question asks, as in "Not enlarged."."""
        asked = self._content[len(self._content) - len(said) :]
        return 0 < len(said) <= len(self._content) and all(a.means(b) for a, b in zip(said, asked, strict=True))

    def _replaced(self, said: tuple[Unit, ...], rest: list[Unit]) -> Unit | None:
        """The term that stands where the question has its complement: "It is a CT" for "Is it an MRI?"."""
        last = self._content[-1]
        if not last.term or not last.term.complement or (self._there and len(self._content) > 1):
            return None
        others = [unit for unit in rest if unit.group == last.group]
        if len({unit.key for unit in others}) != 1 or (others[0].term and akin(others[0].term, last.term)):
            return None
        allowed = _TECHNICAL | {"organ"} if last.group in _ACQUISITION else _TECHNICAL
        if not all(unit.group in allowed for unit in rest if unit.key != others[0].key):
            return None
        stream = iter(said)
        return others[0] if all(any(unit.means(asked) for unit in stream) for asked in self._content[:-1]) else None

    def _harmless(self, unit: Unit) -> bool:
        """Whether a unit that the question lacks leaves the answer what it is."""
        if not self._there:
            return unit.group in _TECHNICAL | {"severity adverb"} and not self._asks_group(unit)
        known = unit.group in _TECHNICAL | _PLACES | _QUALITIES
        return known and (unit.group == "finding" or len(self._content) == 1 or not self._asks_group(unit))

    def _complemented(self, clause: Clause) -> bool:
        return any(self._complements(unit) and not self._asks(unit) for unit in clause.units)

    def _complements(self, unit: Unit) -> bool:
        """Whether a unit is the complement of what the question asks: "normal" where it asks for abnormalities."""
        return unit.term is not None and unit.term.complement and self._asks_group(unit)

    def _negators(self, clause: Clause) -> list[Unit]:
        return [u for u in clause.units if u.role == "negator" or (_negates(u) and not self._asks(u))]

    def _asks(self, unit: Unit) -> bool:
        return any(unit.means(asked) for asked in self._content)

    def _asks_group(self, unit: Unit) -> bool:
        return any(asked.group == unit.group for asked in self._content)

    def _turn_lead(self, text: str, clause: Clause) -> Change:
        word = text[clause.start : clause.end]
        if self._language == "zh" and word in chinese.LEADS:
            return Change(clause.start, clause.end, chinese.LEADS[word])
        new: str = _OPPOSITE[clause.lead or "yes"]
        cased = new.upper() if word.isupper() and len(word) > 1 else new.capitalize() if word[0].isupper() else new
        return Change(clause.start, clause.end, cased)

    def _turn_clause(self, text: str, clause: Clause, to_yes: bool) -> Change | str:
        clause = self._relative(text, clause)
        words = text[clause.start : clause.end]
        unable = f"the rules cannot turn around {words!r}"
        swap = self._swap(text, clause) if to_yes else None
        if swap is not None:
            return swap
        negators = self._negators(clause)
        listed = any(unit.key in ("or", "nor") for unit in clause.units)
        claims = any(u.group in ("normality", "health") and not self._asks_group(u) for u in clause.units)
        if len(negators) > 1 or (negators and (listed or claims)):
            return unable
        words = self._without_complements(text, clause) if negators else words
        if self._language == "zh":
            turned = chinese.affirm(words) if negators else chinese.negate(words)
        elif negators:
            turned = english.affirm(words, self._question, self._vocabulary)
        else:
            turned = english.negate(words)
        return unable if turned is None else Change(clause.start, clause.end, turned)

    def _without_complements(self, text: str, clause: Clause) -> str:
        """A clause with what the question asks in the place of its complement: "abnormal" for "normal"."""
        changes = []
        for unit in clause.units:
            asked = next((a.term for a in self._content if a.group == unit.group and a.term), None)
            if asked and self._complements(unit) and not self._asks(unit):
                changes.append(put(text, unit.start, unit.end, written(asked, unit, text, self._language) or ""))
        return apply(text, changes, Piece(clause.start, clause.end))

    def _relative(self, text: str, clause: Clause) -> Clause:
        """The relative clause, where it alone has what the question asks about; else the clause."""
        which = _WHICH.search(text, clause.start, clause.end)
        if not which or any(self._asks(unit) for unit in clause.units if unit.end <= which.start()):
            return clause
        units = tuple(unit for unit in clause.units if unit.start >= which.start(1))
        return Clause(which.start(1), clause.end, clause.sentence, units) if units else clause

    def _swap(self, text: str, clause: Clause) -> Change | None:
        """The question's own term in the place of the one that the clause has instead."""
        if any(unit.role == "negator" for unit in clause.units):
            return None
        for asked in self._content:
            if not asked.term or not asked.term.exclusive or any(unit.means(asked) for unit in clause.units):
                continue
            others = [unit for unit in clause.units if unit.group == asked.group and unit.term != asked.term]
            if len(others) == 1:
                new = written(asked.term, others[0], text, self._language)
                if new is not None:
                    return put(text, others[0].start, others[0].end, new)
        return None


def _negates(unit: Unit) -> bool:
    return unit.term is not None and any(word in ("no", "not", "non", "without") for word in unit.words)
