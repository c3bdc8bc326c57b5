"""How a reader finds a method: the table by groups, and what each method asks of a row, which its terms say."""

from dataclasses import dataclass
from typing import Literal

from .table import OBJECTIVES
from .terms import GROUPS, Group, KLTerm, Objective, PreferenceTerm

NOISED: dict[Literal["needed", "used"], str] = {
    "needed": "a noised image in every row",
    "used": "noised images, where rows have them",
}
PHRASES = "phrases"
NOTHING_MORE = "chosen and rejected alone"


@dataclass(frozen=True)
class Needs:
    """What a method, with its default settings, asks of a row besides its image, prompt and two responses.

    Attributes:
        noised: Whether its noised image is needed for the row to be of use, is used where there is one, or is not.
        phrases: Whether any term tells the tokens of phrases from others.
        reference: Whether any term compares the policy with the reference.
    """

    noised: Literal["needed", "used", "unused"]
    phrases: bool
    reference: bool

    @property
    def of_a_row(self) -> tuple[str, ...]:
        """In words."""
        noised = () if self.noised == "unused" else (NOISED[self.noised],)
        return (*([PHRASES] if self.phrases else []), *noised) or (NOTHING_MORE,)


def needs_of(objective: Objective) -> Needs:
    """What the terms of a method ask of a row."""
    looks = any(cell.image != "clean" for term in objective.terms for cell in term.cells(has_noised=True))
    return Needs(
        noised="unused" if not looks else "used" if objective.applies(has_noised=False) else "needed",
        phrases=any(
            isinstance(term, KLTerm) or (isinstance(term, PreferenceTerm) and term.tokens.inside != term.tokens.outside)
            for term in objective.terms
        ),
        reference=any(term.reference for term in objective.terms),
    )


def grouped() -> dict[Group, list[Objective]]:
    """The methods of every group, as they are listed."""
    return {group: [row for row in OBJECTIVES.values() if row.group == group] for group in GROUPS}
