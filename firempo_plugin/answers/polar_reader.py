"""Yes/no questions: what a text answers."""

import re
from itertools import pairwise
from typing import Literal

from .grammar import GRAMMARS
from .reading import Reading
from .text import word_set
from .units import Clause, Unit, content, read_clauses, read_units
from .vocabulary import FINDINGS, Vocabulary, akin

Verdict = Literal["yes", "no", "unclear"] | None
"""What a clause answers; None: it is about something else."""
_IMAGE_TAIL = re.compile(
    r"\s+(?:in|on|from)\s+(?:the|this|these|that)\s+(?:(?:above|given|provided|chest|brain|head|abdominal|thoracic|ct"
    r"|mri|mr|x-?ray|plain|axial|coronal|sagittal|medical)\s+)*(?:ct|mri|x-?rays?|radiograph|scan|image|picture|film"
    r"|study|slice|section|photo)s?\W*$",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\byes\s*(?:/|or|and)\s*no\b|\bno\s*(?:/|or)\s*yes\b", re.IGNORECASE)
TECHNICAL = frozenset({"modality", "projection", "part", "plane"})
_ACQUISITION = frozenset({"modality", "projection", "plane", "weighting", "contrast"})
_PLACES = frozenset({"side", "laterality", "vertical", "depth", "organ", "lobe", "place", "matter", "portion"})
_QUALITIES = word_set(
    "weighting density signal echo lucency colour size severity amount extent course outline margin texture"
    " symmetry content finding number"
)
_CHINESE_CHOICE = re.compile("有没有|是不是|能不能|会不会|是否")
_CONTRASTS = frozenset({"but", "however", "although", "though", "while", "whereas", "yet"})
_JOINING = frozenset({"or", "nor", "and", "/", "或", "和", "或 者", "以 及"})
_DEFINITE = frozenset({"the", "this", "these", "its"})
MODIFIERS = frozenset({"side", "vertical", "depth", "size", "severity", "amount", "extent", "course"})


class PolarReader:
    """A question that is answered by yes or no.

    Args:
        question: The question.
        truth: Its right answer.
        language: "en" or "zh".
        vocabulary: The terms.
    """

    closed = True

    def __init__(self, question: str, truth: Literal["yes", "no"], language: str, vocabulary: Vocabulary) -> None:
        self._question = question
        self._truth = truth
        self._language = language
        self._vocabulary = vocabulary
        units = read_units(_IMAGE_TAIL.sub("", question), language, vocabulary)
        self._content = content(units)
        self._joined = any(unit.key in _JOINING for unit in units)
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
        if self._vetoed(clauses, {clause.sentence for clause, verdict in verdicts if verdict in ("yes", "no")}):
            return Reading(None, "", "the response takes its yes or no back")
        if "yes" in leads and any(self._denies_asked(clause) or self._says_other(clause) for clause in clauses):
            return Reading(None, "", "the response says yes and denies it", disputed=True)
        if "no" in leads and any(self._presupposes(clause) for clause in clauses):
            return Reading(None, "", "the response says no and goes on as if it were yes", disputed=True)
        if not leads and unclear:
            return Reading(None, "", "a clause of the response leaves the answer open")
        says = stated.pop()
        assert says is not None
        return Reading(says == self._truth, self._word(says), f"the response says {says}")

    def states(self, text: str) -> bool:
        """Whether a text states the ground truth."""
        return self.read(text).correct is True

    def _denies_asked(self, clause: Clause) -> bool:
        """Whether a negator stands right before something that the question asks about."""
        told = [unit for unit in clause.units if unit.role not in ("filler", "mark")]
        denied = any(first.role == "negator" and self._asks(second) for first, second in pairwise(told))
        return denied and not (clause.lead or self._complemented(clause))

    def _says_other(self, clause: Clause) -> bool:
        """Whether a clause says the complement of what the question asks, before any denial."""
        told = [unit for unit in clause.units if unit.role not in ("filler", "mark")]
        first = next((unit for unit in told if unit.role == "negator" or self._complements(unit)), None)
        if clause.lead or first is None or first.role == "negator" or self._asks(first) or _negates(first):
            return False
        return not any(self._asks(unit) and unit.group == first.group for unit in told)

    def _presupposes(self, clause: Clause) -> bool:
        """Whether a clause speaks of "the effusion" where the question is whether there is one."""
        blurred = any(unit.role in ("blur", "veto", "guess") for unit in clause.units)
        if (
            clause.lead
            or blurred
            or not self._there
            or self._negators(clause)
            or not self._covers(content(clause.units))
        ):
            return False
        head = next((unit for unit in self._content if unit.group not in MODIFIERS), self._content[0])
        place = next(index for index, unit in enumerate(clause.units) if unit.means(head))
        while place > 0 and clause.units[place - 1].role in ("word", "term"):
            place -= 1
        return place > 0 and clause.units[place - 1].words[0] in _DEFINITE and head.group in (*FINDINGS, "")

    def _carries(self, clauses: tuple[Clause, ...], position: int) -> bool:
        """Whether the clause after an explicit answer belongs to it; not where a later clause restates the question."""
        clause, lead = clauses[position], clauses[position - 1]
        if clause.sentence != lead.sentence or clause.units[0].key in _CONTRASTS:
            return False
        rest = [other for other in clauses[position + 1 :] if other.sentence == lead.sentence]
        later = any(self._verdict(other, False) in ("yes", "no") for other in rest)
        return not later or any(unit.group in FINDINGS | {"normality", "health"} for unit in clause.units)

    def _word(self, says: str) -> str:
        return {"yes": "是", "no": "否"}[says] if self._language == "zh" else says

    def _vetoed(self, clauses: tuple[Clause, ...], leading: set[int]) -> bool:
        """Whether doubt is cast in a sentence that answers, or on what is asked about."""
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
        blurred = self._blurred(clause)
        if rest and self._presupposes(clause):
            return "unclear"
        if not negators:
            return self._affirmed(units, said, rest, covered, blurred, alone)
        if len(negators) > 1 or blurred:
            return "unclear" if covered else None
        if self._denied(units, said, rest, covered, alone):
            return "no"
        return "unclear" if covered else None

    def _affirmed(
        self,
        units: tuple[Unit, ...],
        said: tuple[Unit, ...],
        rest: list[Unit],
        covered: bool,
        blurred: bool,
        alone: bool,
    ) -> Verdict:
        if not self._joined and any(unit.key in ("or", "或", "或 者") for unit in units):
            return "unclear" if covered else None
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
                (unit.group in TECHNICAL and not self._asks_group(unit)) or self._complements(unit) for unit in rest
            )
        listed = any(unit.key in ("or", "nor", "或", "及", "和", "、") for unit in units) and not any(
            unit.key == "and" for unit in units
        )
        head = next((unit for unit in self._content if unit.group not in MODIFIERS), self._content[0])
        named = covered if self._joined else any(unit.means(head) for unit in said)
        return named and all(
            (listed and unit.group in FINDINGS) or unit.group in TECHNICAL or self._complements(unit) for unit in rest
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
        allowed = TECHNICAL | {"organ"} if last.group in _ACQUISITION else TECHNICAL
        if not all(unit.group in allowed for unit in rest if unit.key != others[0].key):
            return None
        stream = iter(said)
        return others[0] if all(any(unit.means(asked) for unit in stream) for asked in self._content[:-1]) else None

    def _harmless(self, unit: Unit) -> bool:
        """Whether a unit that the question lacks leaves the answer what it is."""
        if not self._there:
            return unit.group in TECHNICAL | {"severity adverb"} and not self._asks_group(unit)
        known = unit.group in TECHNICAL | _PLACES | _QUALITIES
        return known and (unit.group == "finding" or len(self._content) == 1 or not self._asks_group(unit))

    def _complemented(self, clause: Clause) -> bool:
        return any(self._complements(unit) and not self._asks(unit) for unit in clause.units)

    def _complements(self, unit: Unit) -> bool:
        """Whether a unit is the complement of what the question asks: "normal" where it asks for abnormalities."""
        return unit.term is not None and unit.term.complement and self._asks_group(unit)

    def _blurred(self, clause: Clause) -> bool:
        return any(u.role in ("blur", "veto", "guess") and u.key not in self._excused for u in clause.units)

    def _negators(self, clause: Clause) -> list[Unit]:
        return [u for u in clause.units if u.role == "negator" or (_negates(u) and not self._asks(u))]

    def _asks(self, unit: Unit) -> bool:
        return any(unit.means(asked) for asked in self._content)

    def _asks_group(self, unit: Unit) -> bool:
        return any(asked.group == unit.group for asked in self._content)


def _negates(unit: Unit) -> bool:
    return unit.term is not None and any(word in ("no", "not", "non", "without") for word in unit.words)
