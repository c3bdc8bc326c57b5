"""What of a response stays when its answer is turned around, and whether it can still stand beside the new answer."""

import re
from collections.abc import Sequence

from .plausible import explains
from .reading import Change
from .text import word_set
from .units import Clause, Unit, content
from .vocabulary import FINDINGS

_INTRODUCING = frozenset({"modality", "projection", "part", "plane", "weighting", "contrast"})
_GENERAL = frozenset({"normality", "health"})
_GENERAL_WORDS = word_set("disease pathology lesion mass abnormality issue problem disorder illness 病")
_HEALTHY = frozenset({"normal", "healthy", "clear"})
_FILLED_BY = {"lung": "chest", "brain": "head"}
_GOES_ON = re.compile(
    r"(?:,\s*|\s)which\b(?!\s+(?:is|are)\s+(?:an?|one|the)\s+(?:\w+\s+){0,2}(?:type|kind|form|organ)s?\b)"
    r"|,\s*(?:\w+ly\s+)?(?:\w+ing\b|(?:consistent|compatible|in keeping) with\b|suggestive of\b)"
    r"|\b(?:that|who)\s+(?:is|are|was|were|has|have|can|may)\b|,\s*(?:as|with|where|causing|making)\b",
    re.IGNORECASE,
)
_EMBEDS = re.compile(
    r"\b(?<!show )(?<!shows )(?<!appears )(?<!indicates )(?<!confirms )(?<!suggests )"
    r"(?:that|which|showing|depicting|displaying|demonstrating|revealing|containing|including|indicating)\b",
    re.IGNORECASE,
)


def left_over(
    text: str, clauses: Sequence[Clause], changes: Sequence[Change], asked: Sequence[Unit], to_yes: bool
) -> str:
    """The first stretch of a response that the turned answer would contradict, or that rules cannot read; "" for none.

    Args:
        text: The response.
        clauses: Its clauses.
        changes: What turns its answer around.
        asked: The units of the question that say something.
        to_yes: Whether the new answer is yes.
    """
    for clause in clauses:
        words = text[clause.start : clause.end]
        touching = [change for change in changes if change.start < clause.end and clause.start < change.end]
        if _elsewhere(clause, asked) if to_yes else touching and _nowhere_else(clause, asked):
            return words
        if not touching:
            if not _introduces(clause, asked) or explains(words):
                return words
            continue
        first = min(change.start for change in touching)
        if not clause.lead and (_GOES_ON.search(text, first, clause.end) or explains(text[first : clause.end])):
            return words
        kept = [unit for unit in clause.units if _stays(text[unit.start : unit.end], unit, touching)]
        if _finds_more(kept, asked) if _general_question(asked) else to_yes and _praises(kept):
            return words
    return ""


def embedded(words: str, place: int) -> bool:
    """Whether what stands at a place of a clause is told by a clause or a participle inside it.

    A denial of the outer verb would deny too much: "is not a CT scan that shows the liver".
    """
    return bool(_EMBEDS.search(words, 1, max(place, 1)))


def _introduces(clause: Clause, asked: Sequence[Unit]) -> bool:
    """Whether a clause only says how the image was taken, which is not what is asked."""
    groups = {unit.group for unit in asked if unit.term}
    doubtful = any(unit.role in ("blur", "veto", "guess") for unit in clause.units)
    return not doubtful and all(unit.group in _INTRODUCING - groups for unit in content(clause.units))


def _general_question(asked: Sequence[Unit]) -> bool:
    """Whether a question is about health or disease as such, on which every finding bears."""
    return any(unit.group in _GENERAL or unit.words[-1] in _GENERAL_WORDS for unit in asked)


def _stays(words: str, unit: Unit, changes: Sequence[Change]) -> bool:
    """Whether no change touches a unit, or the changed text still says its words."""
    touching = [change for change in changes if change.start < unit.end and unit.start < change.end]
    return all(re.search(rf"\b{re.escape(words)}\b", change.text, re.IGNORECASE) for change in touching)


def _finds_more(kept: Sequence[Unit], asked: Sequence[Unit]) -> bool:
    """Whether a turned clause still tells of findings that were not asked about: "normal with signs of pathology"."""
    return any(
        (unit.group in FINDINGS or unit.words[-1] in _GENERAL_WORDS) and not any(unit.means(other) for other in asked)
        for unit in kept
    )


def _praises(kept: Sequence[Unit]) -> bool:
    """Whether a turned clause still calls something healthy: "clear lungs with signs of effusion"."""
    return any(unit.key in _HEALTHY for unit in kept)


def _nowhere_else(clause: Clause, asked: Sequence[Unit]) -> bool:
    """Whether a clause is about a part of the body that always shows the organ that the question asks for."""
    parts = {unit.key for unit in clause.units if unit.group == "part"}
    return any(unit.group == "organ" and _FILLED_BY.get(unit.key) in parts for unit in asked)


def _elsewhere(clause: Clause, asked: Sequence[Unit]) -> bool:
    """Whether a clause is about a part of the body that has no such organ as the question asks for."""
    regions = {unit.term.region for unit in asked if unit.term and unit.group == "organ" and unit.term.region}
    parts = {unit.key for unit in clause.units if unit.group == "part"} - {unit.key for unit in asked}
    kindred = {"abdomen", "pelvis", "spine"}
    return bool(regions and parts) and not any(
        part == region or {part, region} <= kindred for part in parts for region in regions
    )
