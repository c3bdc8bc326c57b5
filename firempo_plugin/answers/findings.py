"""What a report says of each finding, there or not there, as far as its sentences can be read without doubt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .text import word_set
from .units import Clause, Unit, content, read_clauses
from .vocabulary import FINDINGS, Term, Vocabulary, akin

_HARMLESS_WORDS = word_set(
    "stable unchanged again new trace minimal tiny size base lobe focal bibasilar basilar patchy streaky degenerative"
    " change lung there calcified adjacent associated overlying underlying bilaterally"
    " obvious overt discrete gross suspicious bony acute air space definite apparent no"
)
UNRESTRICTING = word_set("focal obvious overt discrete gross definite pleural")
"""What a denial has beside a finding without leaving another one of the kind: "no focal consolidation"."""
_RESTRICTING = frozenset({"size", "severity", "course", "side", "laterality", "vertical", "depth", "amount"})
_PLACING = frozenset({"side", "vertical", "depth", "lobe"})
"""Where a finding is denied in one place, it may be in another: "the left lung shows no consolidation"."""
_LISTED = frozenset({",", "or", "nor", "/"})
_SCOPE_ENDS = frozenset({"with", "there"})
_HEART = frozenset({"heart", "cardiac silhouette", "cardiomediastinal silhouette"})
_HEART_WORDS = word_set("size contour")
_HEART_IS = {"enlarged": True, "normal in size": False, "normal": False}
_ATTRIBUTES = frozenset({"side", "vertical", "size", "severity"})
_BOTH = frozenset({"bilaterally", "bilateral", "both"})
_LINKS = frozenset({"with", "in", "at", "of"})
_ANY = Term("", "side")
CLEAR = "clear lungs"
_OPAQUE = frozenset({"airspace"})
"""Kin of the findings that clear lungs do not have."""


@dataclass(frozen=True)
class Statement:
    """One finding in one clause.

    Attributes:
        finding: The term's name.
        present: Whether it is said to be there; None where the clause leaves that open.
        clause: Where.
        alone: Whether the clause says nothing of other findings.
        attributes: Where and how large a finding that is there is said to be.
    """

    finding: str
    present: bool | None
    clause: Clause
    alone: bool
    attributes: tuple[Unit, ...] = ()


@dataclass(frozen=True)
class Contradiction:
    """A statement that the ground truth denies, wholly or in one attribute.

    Attributes:
        statement: The report's statement.
        wrong: The attribute, as the report has it; None: the finding itself.
        right: The ground truth's term for it.
    """

    statement: Statement
    wrong: Unit | None = None
    right: Term | None = None

    @property
    def finding(self) -> str:
        """What is contradicted."""
        return f"{self.wrong.key} {self.statement.finding}" if self.wrong else self.statement.finding


def read_statements(report: str, language: str, vocabulary: Vocabulary) -> tuple[Statement, ...]:
    """Every finding that a report names, clause by clause."""
    return tuple(s for clause in read_clauses(report, language, vocabulary) for s in _statements(clause))


def settled(statements: Iterable[Statement]) -> dict[str, bool]:
    """Findings that all of a report's statements agree on; clear lungs have none that would cloud them."""
    said: dict[str, set[bool | None]] = {}
    for statement in statements:
        said.setdefault(statement.finding, set()).add(statement.present)
    return {finding: True in values for finding, values in said.items() if values in ({True}, {False})}


def attributes(statements: Iterable[Statement]) -> dict[tuple[str, str], Term]:
    """The one term of an attribute that a report has for a finding, by finding and group; none where it has two."""
    found: dict[tuple[str, str], dict[str, Term]] = {}
    for statement in statements:
        for unit in statement.attributes:
            assert unit.term is not None
            found.setdefault((statement.finding, unit.group), {})[unit.key] = unit.term
        if any(unit.group == "laterality" for unit in statement.clause.units) and statement.present is not False:
            found.setdefault((statement.finding, "side"), {}).update(dict.fromkeys(("left", "right"), _ANY))
    return {place: next(iter(terms.values())) for place, terms in found.items() if len(terms) == 1}


def denied_by_clear_lungs(name: str, known: Mapping[str, bool], vocabulary: Vocabulary) -> bool:
    """Whether a report that says that the lungs are clear denies a finding of which it says nothing else."""
    term = vocabulary.terms.get(name)
    return known.get(CLEAR, False) and name not in known and term is not None and term.kin in _OPAQUE


def contradictions(report: str, truth: str, language: str, vocabulary: Vocabulary) -> tuple[Contradiction, ...]:
    """A report's statements whose opposite the ground truth states."""
    told = read_statements(truth, language, vocabulary)
    known, exact = settled(told), attributes(told)
    found: list[Contradiction] = []
    for statement in read_statements(report, language, vocabulary):
        name = statement.finding
        if statement.present is None:
            continue
        clouded = denied_by_clear_lungs(name, known, vocabulary)
        if known.get(name, False if clouded else statement.present) != statement.present:
            found.append(Contradiction(statement))
            continue
        for unit in statement.attributes:
            right = exact.get((name, unit.group))
            if right is not None and right.name != unit.key and known.get(name) and not akin(right, unit.term or right):
                found.append(Contradiction(statement, unit, right))
    return tuple(found)


def _statements(clause: Clause) -> list[Statement]:
    units = clause.units
    found = [unit for unit in units if unit.group in FINDINGS]
    overall = _overall(clause)
    if overall is not None and not found:
        return [overall]
    negators = [index for index, unit in enumerate(units) if unit.role == "negator"]
    if any(unit.role in ("blur", "veto", "guess") for unit in units) or len(negators) > 1:
        return [Statement(unit.key, None, clause, False) for unit in found]
    if not negators:
        known = all(unit.term or unit.words[0] in _HARMLESS_WORDS for unit in content(units))
        doubtful = not known or any(unit.key == "or" for unit in units)
        alone = len(found) == 1
        present = None if doubtful else True
        return [Statement(u.key, present, clause, alone, _attributes(units, u, alone)) for u in found]
    denied = _denied(units, negators[0])
    return [Statement(u.key, False if u.start in denied else None, clause, len(found) == 1) for u in found]


def _attributes(units: tuple[Unit, ...], finding: Unit, alone: bool) -> tuple[Unit, ...]:
    """The attributes that stand before a finding, and those of all the clause where it has no other."""
    if any(unit.group == "laterality" or unit.key in ("or", "/") for unit in units):
        return ()
    before: list[Unit] = []
    for unit in reversed([unit for unit in units if unit.end <= finding.start]):
        if unit.group in FINDINGS or unit.role in ("mark", "negator") or unit.key in _LINKS:
            break
        before.append(unit)
    told = [unit for unit in (units if alone else before) if unit.group in _ATTRIBUTES]
    return tuple(unit for unit in told if sum(other.group == unit.group for other in told) == 1)


def _overall(clause: Clause) -> Statement | None:
    """What a clause says of the size of the heart, or of clear lungs, if it says nothing else."""
    said = content(clause.units)
    if any(unit.role in ("negator", "blur", "veto", "guess") for unit in clause.units) or not said:
        return None
    keys = [u.key for u in said if u.group not in ("severity adverb", "severity") and u.key not in _BOTH]
    if sorted(keys) == ["clear", "lung"]:
        return (
            None if any(unit.group in ("side", "vertical") for unit in said) else Statement(CLEAR, True, clause, True)
        )
    hearts = [key for key in keys if key in _HEART]
    rest = [key for key in keys if key not in _HEART and key not in _HEART_WORDS]
    if len(hearts) == 1 and len(rest) == 1 and rest[0] in _HEART_IS:
        if rest[0] == "normal" and hearts[0] == "heart" and "size" not in keys:
            return None
        return Statement("cardiomegaly", _HEART_IS[rest[0]], clause, True)
    return None


def _denied(units: tuple[Unit, ...], negator: int) -> set[int]:
    """Where the findings start that a negator denies without restriction."""
    before = [unit for unit in units[:negator] if unit.role != "filler"]
    end = next((i for i, unit in enumerate(units) if i > negator and unit.key in _SCOPE_ENDS), len(units))
    after = [unit for unit in units[negator + 1 : end] if unit.role != "filler"]
    if not after and all(unit.group in FINDINGS or unit.key in _LISTED | {"and"} for unit in before):
        return {unit.start for unit in before if unit.group in FINDINGS}
    found: set[int] = set()
    restricted = False
    for unit in after:
        if unit.key in _LISTED:
            restricted = False
        elif unit.group in FINDINGS:
            found |= set() if restricted else {unit.start}
        elif unit.group in _RESTRICTING or unit.words[0] in _HARMLESS_WORDS - UNRESTRICTING:
            restricted = True
        elif unit.words[0] not in UNRESTRICTING and unit.group not in ("organ", "part"):
            break
    if any(unit.group in _PLACING for unit in before):
        return set()
    last = max((index for index, unit in enumerate(after) if unit.start in found), default=-1)
    trailing = any(
        unit.group in _PLACING or (unit.role == "word" and unit.words[0] not in _HARMLESS_WORDS)
        for unit in after[last + 1 :]
    )
    return set() if trailing or any(unit.key == "and" for unit in after) else found
