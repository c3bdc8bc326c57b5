"""Sentences of an English report that only deny, and whether the ground truth says anything of what they deny."""

from collections.abc import Sequence

from .findings import UNRESTRICTING
from .text import word_set
from .units import Clause, Unit
from .vocabulary import FINDINGS, Term, akin

Thing = tuple[Unit, ...]
_BETWEEN = frozenset({",", "or", "nor", "/"})
_ENDS = word_set("with but however although though while whereas except which that there then because since and")
_DESCRIBING = word_set("side laterality vertical depth lobe size amount extent course organ part portion severity")
_VAGUE = word_set(
    "abnormal abnormality process disease pathology lesion change interval longer worsening improvement difference"
    " progression development increase decrease other further additional more new doubt question comparison evidence"
    " cardiopulmonary intrathoracic chest study examination it this these that prior previous injury problem residual"
    " complication deviation shift significance limit explanation reason cause way mention previously recent"
)
"""With one of them a denial says something of the whole, or of what was."""
_LARGE = word_set("lung heart chest brain abdomen")
"""Of these organs a report says something whatever it finds."""
_HEART = word_set("heart cardiac cardiomediastinal cardiopericardial silhouette")


def denied_things(clause: Clause) -> list[Thing]:
    """The things that a clause denies, without small words; empty where it says anything else, or is in doubt."""
    units = [unit for unit in clause.units if unit.role != "filler" or unit.key in _ENDS]
    while units and (units[0].key in _ENDS or units[0].role == "mark"):
        units = units[1:]
    if clause.lead or not units or units[0].key not in ("no", "without"):
        return []
    things: list[list[Unit]] = [[]]
    for unit in units[1:]:
        if unit.key in _BETWEEN:
            things.append([])
        elif unit.role not in ("word", "term") or _is_vague(unit):
            return []
        else:
            things[-1].append(unit)
    found = [tuple(thing) for thing in things if thing]
    return found if all(any(_names(unit) for unit in thing) for thing in found) else []


def findings_of(thing: Thing) -> list[Term]:
    """The findings and devices among what is denied."""
    return [unit.term for unit in thing if unit.term and unit.group in FINDINGS]


def is_silent(truth: Sequence[Unit], thing: Thing) -> bool:
    """Whether a report says nothing of a thing, nor of anything too near to it.

    Args:
        truth: All units of the report.
        thing: What is denied.
    """
    told = [unit.term for unit in truth if unit.term and unit.group in FINDINGS]
    words, keys = {word for unit in truth for word in unit.words}, {unit.key for unit in truth}
    for term in findings_of(thing):
        near = {form.split()[-1].lower() for form in (*term.en, *term.implies)}
        if any(_related(term, other) for other in told) or words & near or term.organ in keys - _LARGE:
            return False
        if term.name == "cardiomegaly" and words & _HEART:
            return False
    return not any(_names(unit) and unit.words[-1] in words for unit in thing)


def _is_vague(unit: Unit) -> bool:
    return unit.group in ("normality", "health", "trend", "comparison") or any(word in _VAGUE for word in unit.words)


def _names(unit: Unit) -> bool:
    """Whether a unit names what is denied, and does not describe it."""
    return unit.group not in _DESCRIBING and unit.words[-1] not in UNRESTRICTING | {"acute", "displaced", "suspicious"}


def _related(one: Term, other: Term) -> bool:
    return akin(one, other) or bool({one.name, *one.implies} & {other.name, *other.implies})
