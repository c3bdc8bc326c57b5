"""Which exchanges of terms leave a text that a radiologist could have written; the rest is refused."""

import re
from collections.abc import Sequence

from .units import Unit
from .vocabulary import Term, akin

_PLACES = frozenset({"organ", "part", "lobe"})
_SINGULAR_VERB = re.compile(r",?\s+(?:(?:which|that)\s+)?(?:is|was|has|appears|shows|looks|seems)\b", re.IGNORECASE)
_PLURAL_VERB = re.compile(r"\b(?:are|were|have|they|these|those)\b", re.IGNORECASE)
_EXPLAINS = re.compile(
    r"\bwhich\s+(?:means?|indicates?|suggests?|implies|makes?)\b"
    r"|\b(?:this|that|it)\s+(?:means?|indicates?|suggests?|implies)\b"
    r"|\b(?:because|since|due to|as it|as they|as the|meaning|indicating|suggesting|given that)\b"
    r"|因为|由于|意味着|说明",
    re.IGNORECASE,
)  # fmt: skip


def explains(text: str) -> bool:
    """Whether a text gives reasons or consequences, which a changed answer would contradict."""
    return bool(_EXPLAINS.search(text))


def clashes(old: Term, new: Term, beside: Sequence[Unit]) -> bool:
    """Whether a term cannot stand in the place of another, for what is said beside it.

    Args:
        old: The term that is there.
        new: The one that would take its place.
        beside: The other units of the text and of its question.
    """
    for unit in beside:
        if unit.term is None or unit.term.name == old.name:
            continue
        if old.group in unit.term.ties or _repeats(new, unit.term):
            return True
        if old.group == unit.group == "organ" and akin(old, unit.term) and not akin(old, new):
            return True
        if old.group in _PLACES and unit.group == "finding" and not _may_be_in(unit.term, new):
            return True
    return False


def _repeats(new: Term, other: Term) -> bool:
    """Whether a new term says again, or less or more exactly, what stands beside it already."""
    if new.group != other.group or new.group != "finding":
        return False
    implied = other.name in new.implies or new.name in other.implies
    narrower = set(new.en[0].split()) <= set(other.en[0].split()) or set(other.en[0].split()) <= set(new.en[0].split())
    return implied or narrower or akin(new, other)


def _may_be_in(finding: Term, place: Term) -> bool:
    if finding.organ:
        return place.name == finding.organ
    return not finding.region or finding.region in (place.region, place.name)


def disagrees(text: str, end: int, was_plural: bool, is_plural: bool) -> bool:
    """Whether another number of the noun that ends at `end` breaks the grammar around it."""
    if was_plural == is_plural:
        return False
    return bool(_PLURAL_VERB.search(text) if was_plural else _SINGULAR_VERB.match(text, end))
