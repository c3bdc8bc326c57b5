"""A sentence of a report that states one finding, turned around; only sentences of a few plain shapes are."""

import re

from .answers import fit_case
from .english import indefinite, lower_first
from .findings import DESCRIPTIONS, Statement
from .text import word_set
from .units import Unit, read_units
from .vocabulary import Vocabulary

_SEEN = (
    r"(?:is|are)\s+(?:(?:again|also)\s+)?(?:seen|noted|identified|present|observed|visible|visuali[sz]ed|demonstrated"
    r"|evident|appreciated|detected)"
)
_AFTER = re.compile(rf"(?P<verb>\s+{_SEEN})?(?P<place>\s+(?:in|at|on|within|of)\s+(?:the\s+)?[\w\s-]+)?", re.IGNORECASE)
_THERE = re.compile(r"(?P<there>there\s+(?:is|are)\s+)?(?:(?P<article>an?)\s+)?(?P<rest>(?:[\w-]+\s+)*)", re.IGNORECASE)
_DENIED = re.compile(
    r"(?P<there>there\s+(?:is|are)\s+)?no\s+(?P<evidence>evidence\s+of\s+)?(?P<rest>(?:(?:focal|definite|obvious)\s+)?)",
    re.IGNORECASE,
)
_TWO = re.compile(
    r"(?P<there>there\s+(?:is|are)\s+)?(?P<no>no)\s+(?P<first>[\w -]+?)\s+or\s+(?P<second>[\w -]+)", re.IGNORECASE
)
_STATES = frozenset({"enlarged", "normal in size", "normal"})
_IN_SIZE = " in size"
_SIZED = re.compile(r"\b(?:size|silhouette)\W+(?:\w+\W+){0,3}$", re.IGNORECASE)
_PLACE_GROUPS = frozenset(DESCRIPTIONS) & word_set("side vertical depth lobe") | {"organ", "portion", "part"}


def turn(text: str, statement: Statement, vocabulary: Vocabulary) -> str | None:
    """The clause of a statement with its finding denied, or said to be there.

    Where the finding is denied, no size, course or side stays before it, which a denial would leave open; a place
    after it stays.

    Args:
        text: The report.
        statement: Its statement; its `present` is known.
        vocabulary: The terms.

    Returns:
        The clause, without the sentence's full stop; None where it has none of the shapes.
    """
    clause = statement.clause
    words = text[clause.start : clause.end]
    heart = next((unit for unit in clause.units if unit.key in _STATES), None)
    if statement.finding == "cardiomegaly" and heart is not None:
        return _turned_heart(text, statement, heart)
    finding = next((unit for unit in clause.units if unit.key == statement.finding), None)
    if finding is None or finding.term is None:
        return None
    if not statement.alone:
        return _turned_list(words, finding, statement, vocabulary)
    before = text[clause.start : finding.start]
    after = _AFTER.fullmatch(text, finding.end, clause.end)
    name = text[finding.start : finding.end]
    if name.lower().startswith("enlarged") or after is None or not _is_place(after["place"] or "", vocabulary):
        return None
    turned = _denied(before, name, after) if statement.present else _affirmed(before, name, after, finding)
    return _begun_like(turned, words) if turned else None


def _begun_like(text: str, like: str) -> str:
    """A text whose first letter has the case of another text's first letter."""
    return text[:1].upper() + text[1:] if like[:1].isupper() else text


def _denied(before: str, name: str, after: re.Match[str]) -> str | None:
    start = _THERE.fullmatch(before)
    if start is None or re.search(r"\b(?:no|not|of|is|are|with|and|or)\b", start["rest"], re.IGNORECASE):
        return None
    return f"{start['there'] or ''}no {lower_first(name)}{after.group()}"


def _affirmed(before: str, name: str, after: re.Match[str], finding: Unit) -> str | None:
    start = _DENIED.fullmatch(before)
    if start is None or finding.term is None or finding.plural:
        return None
    phrase = f"{start['rest']}{lower_first(name)}"
    if start["evidence"]:
        phrase = f"evidence of {phrase}"
    elif not finding.term.uncountable:
        phrase = f"{indefinite(phrase)} {phrase}"
    there = start["there"] or ("" if after["verb"] else "there is ")
    return f"{there}{phrase}{after.group()}"


def _is_place(words: str, vocabulary: Vocabulary) -> bool:
    units = [unit for unit in read_units(words, "en", vocabulary) if unit.role != "filler"]
    return all(unit.group in _PLACE_GROUPS for unit in units) and not (words and not units)


def _turned_heart(text: str, statement: Statement, state: Unit) -> str | None:
    """A clause on the size of the heart, with the other size."""
    clause = statement.clause
    before = [u for u in clause.units if u.end <= state.start and u.group in ("severity adverb", "severity")]
    start = before[0].start if before else state.start
    if start == clause.start:
        return None
    sized = _SIZED.search(text[clause.start : start])
    new = ("normal" if sized else "normal in size") if statement.present else "enlarged"
    end = state.end + (len(_IN_SIZE) if text.startswith(_IN_SIZE, state.end) else 0)
    return text[clause.start : start] + fit_case(new, text[start : state.end]) + text[end : clause.end]


def _turned_list(words: str, finding: Unit, statement: Statement, vocabulary: Vocabulary) -> str | None:
    """ "No pneumothorax or pleural effusion" with one of the two there: "A pneumothorax but no pleural effusion"."""
    match = _TWO.fullmatch(words)
    if match is None or statement.present or finding.plural:
        return None
    first, second = (read_units(match[name], "en", vocabulary) for name in ("first", "second"))
    if len(first) != 1 or len(second) != 1 or {first[0].group, second[0].group} != {"finding"}:
        return None
    there = match["there"] or ""
    named = match["first"] if first[0].key == finding.key else match["second"]
    with_article = _named(named, finding)
    if first[0].key == finding.key:
        begin = f"{there}{with_article} but no {match['second']}"
        return _begun_like(begin, words)
    return f"{there}{match['no']} {match['first']} but {with_article}"


def _named(words: str, finding: Unit) -> str:
    term = finding.term
    return words if term is None or term.uncountable else f"{indefinite(words)} {words}"
