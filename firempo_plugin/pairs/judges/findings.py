"""What a report says of each finding, there or not there, as far as its sentences can be read without doubt."""

from collections.abc import Iterable
from dataclasses import dataclass

from .text import word_set
from .units import Clause, Unit, content, read_clauses
from .vocabulary import Vocabulary

_HARMLESS_WORDS = word_set(
    "stable unchanged again new trace minimal tiny size base lobe focal bibasilar basilar patchy streaky degenerative"
    " change lung there obvious overt discrete gross suspicious bony acute air space definite apparent no"
)
_UNRESTRICTING = word_set("focal obvious overt discrete gross definite pleural")
_RESTRICTING = frozenset({"size", "severity", "course", "side", "laterality", "vertical", "depth", "amount"})
_LISTED = frozenset({",", "or", "nor", "/"})
_SCOPE_ENDS = frozenset({"with", "there"})
_HEART_IS = {"enlarged": True, "normal in size": False}


@dataclass(frozen=True)
class Statement:
    """One finding in one clause.

    Attributes:
        finding: The term's name.
        present: Whether it is said to be there; None where the clause leaves that open.
        clause: Where.
        alone: Whether the clause says nothing of other findings.
    """

    finding: str
    present: bool | None
    clause: Clause
    alone: bool


def read_statements(report: str, language: str, vocabulary: Vocabulary) -> tuple[Statement, ...]:
    """Every finding that a report names, clause by clause."""
    return tuple(s for clause in read_clauses(report, language, vocabulary) for s in _statements(clause))


def settled(statements: Iterable[Statement]) -> dict[str, bool]:
    """Findings that all of a report's statements agree on."""
    said: dict[str, set[bool | None]] = {}
    for statement in statements:
        said.setdefault(statement.finding, set()).add(statement.present)
    return {finding: True in values for finding, values in said.items() if values in ({True}, {False})}


def contradictions(report: str, truth: str, language: str, vocabulary: Vocabulary) -> tuple[Statement, ...]:
    """A report's statements whose opposite the ground truth states."""
    known = settled(read_statements(truth, language, vocabulary))
    return tuple(
        statement
        for statement in read_statements(report, language, vocabulary)
        if statement.present is not None and known.get(statement.finding, statement.present) != statement.present
    )


def _statements(clause: Clause) -> list[Statement]:
    units = clause.units
    named = [unit for unit in units if unit.group == "finding"]
    heart = _heart(clause)
    if heart is not None and not named:
        return [Statement("cardiomegaly", heart, clause, True)]
    negators = [index for index, unit in enumerate(units) if unit.role == "negator"]
    if any(unit.role in ("blur", "veto", "guess") for unit in units) or len(negators) > 1:
        return [Statement(unit.key, None, clause, False) for unit in named]
    if not negators:
        known = all(unit.term or unit.words[0] in _HARMLESS_WORDS for unit in content(units))
        doubtful = not known or any(unit.key == "or" for unit in units)
        return [Statement(u.key, None if doubtful else True, clause, len(named) == 1) for u in named]
    denied = _denied(units, negators[0])
    return [Statement(u.key, False if u.start in denied else None, clause, len(named) == 1) for u in named]


def _heart(clause: Clause) -> bool | None:
    """Whether a clause says that the heart is enlarged, and nothing else."""
    said = content(clause.units)
    if any(unit.role in ("negator", "blur", "veto", "guess") for unit in clause.units):
        return None
    keys = [unit.key for unit in said]
    if len(keys) == 2 and keys[0] == "heart":
        return _HEART_IS.get(keys[1])
    return False if sorted(keys) == ["heart", "normal", "size"] else None


def _denied(units: tuple[Unit, ...], negator: int) -> set[int]:
    """Where the findings start that a negator denies without restriction."""
    before = [unit for unit in units[:negator] if unit.role != "filler"]
    end = next((i for i, unit in enumerate(units) if i > negator and unit.key in _SCOPE_ENDS), len(units))
    after = [unit for unit in units[negator + 1 : end] if unit.role != "filler"]
    if not after and all(unit.group == "finding" or unit.key in _LISTED | {"and"} for unit in before):
        return {unit.start for unit in before if unit.group == "finding"}
    found: set[int] = set()
    restricted = False
    for unit in after:
        if unit.key in _LISTED:
            restricted = False
        elif unit.group == "finding":
            found |= set() if restricted else {unit.start}
        elif unit.group in _RESTRICTING or unit.words[0] in _HARMLESS_WORDS - _UNRESTRICTING:
            restricted = True
        elif unit.words[0] not in _UNRESTRICTING and unit.group not in ("organ", "part"):
            break
    last = max((index for index, unit in enumerate(after) if unit.start in found), default=-1)
    trailing = any(unit.role == "word" and unit.words[0] not in _HARMLESS_WORDS for unit in after[last + 1 :])
    return set() if trailing or any(unit.key == "and" for unit in after) else found
