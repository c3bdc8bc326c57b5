"""The term model: what a method adds up over the cells of a row.

A row gives four cells, {clean, noised} image x {chosen, rejected} response. Formulas are written with

    cc, cr, nc, nr   the cells clean/chosen, clean/rejected, noised/chosen, noised/rejected
    r(c)             beta * sum over the response tokens t of cell c of w_t [log pi - log ref]_t; r_P over those of
                     phrases alone
    L(m)             -log sigmoid(m)
    KL, NLL          of `losses.mixed_kl` and `losses.chosen_nll`, on cc
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Scope = Literal["phrase", "response"]
SCOPES: tuple[Scope, ...] = ("phrase", "response")


class Cell(IntEnum):
    """One (image, response) of a row. The value is its column in a [B, 4] tensor."""

    CLEAN_CHOSEN = 0
    CLEAN_REJECTED = 1
    NOISED_CHOSEN = 2
    NOISED_REJECTED = 3

    @property
    def image(self) -> Literal["clean", "noised"]:
        return "clean" if self < Cell.NOISED_CHOSEN else "noised"

    @property
    def response(self) -> Literal["chosen", "rejected"]:
        return "chosen" if self in (Cell.CLEAN_CHOSEN, Cell.NOISED_CHOSEN) else "rejected"

    def __str__(self) -> str:
        return f"{self.image}/{self.response}"


CC, CR, NC, NR = Cell

Weight = float | Literal["alpha", "gamma", "nll_weight"]
"""What a term is multiplied by in the loss: a number, or the field of `Settings` that holds it."""


@dataclass(frozen=True)
class Side:
    """A signed reward in a margin: of the first of `cells` that a row has, best first.

    A noised cell exists only where the row has a noised image.
    """

    sign: float
    cells: tuple[Cell, ...]

    def cell(self, has_noised: bool) -> Cell | None:
        """The cell that it takes of a row; None where the row has none of them."""
        return next((cell for cell in self.cells if has_noised or cell.image == "clean"), None)


@dataclass(frozen=True)
class PreferenceTerm:
    """weight * L(sum over sides of sign * r(cell)), r over the tokens in `scope`; a row without a side has no term."""

    name: str
    sides: tuple[Side, ...]
    scope: Scope
    weight: Weight = 1.0

    @property
    def compares_responses(self) -> bool:
        """Whether it prefers the chosen response over a rejected one, as DPO's rewards are read."""
        preferred = {cell.response for side in self.sides if side.sign > 0 for cell in side.cells}
        others = {cell.response for side in self.sides if side.sign < 0 for cell in side.cells}
        return preferred == {"chosen"} and others == {"rejected"}

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cells that the term needs of a row; none where it does not apply to the row."""
        cells = [side.cell(has_noised) for side in self.sides]
        return () if None in cells else tuple(cell for cell in cells if cell is not None)


@dataclass(frozen=True)
class KLTerm:
    """alpha * sum_t [lambda * KL(ref || pi)_t + (1 - lambda) * KL(pi || ref)_t] on a cell, over `Settings.kl_scope`.

    `fixed_lambda` is set where the method itself fixes lambda.
    """

    fixed_lambda: float | None = None
    cell: Cell = CC
    weight: Weight = "alpha"
    name: str = "kl"

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cell, in every row."""
        return (self.cell,)


@dataclass(frozen=True)
class NLLTerm:
    """nll_weight * the mean of -log pi over the tokens of a cell's whole response."""

    cell: Cell = CC
    weight: Weight = "nll_weight"
    name: str = "nll"

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cell, in every row."""
        return (self.cell,)


Term = PreferenceTerm | KLTerm | NLLTerm


@dataclass(frozen=True)
class Objective:
    """A method.

    Attributes:
        name: As `fire_objective` names it.
        formula: Its loss of a row, in the symbols of this module; what `terms` say.
        terms: What it adds up. Every method may have an NLL besides, by its setting.
        source: Where it was published.
    """

    name: str
    formula: str
    terms: tuple[Term, ...]
    source: str

    @property
    def kl(self) -> KLTerm | None:
        return next((term for term in self.terms if isinstance(term, KLTerm)), None)

    def weighs_by(self, setting: str) -> bool:
        """Whether a setting is the weight of a term."""
        return any(term.weight == setting for term in self.terms)

    def applies(self, has_noised: bool) -> bool:
        """Whether any preference term applies to a row with, or without, a noised image."""
        return any(term.cells(has_noised) for term in self.terms if isinstance(term, PreferenceTerm))


def prefer(
    name: str, preferred: Cell, *others: Cell, scope: Scope = "response", weight: Weight = 1.0
) -> PreferenceTerm:
    """L(r(preferred) - r(other)): of `others` the first that a row has; without any, the other side is 0."""
    sides = (Side(1.0, (preferred,)), *([Side(-1.0, others)] if others else []))
    return PreferenceTerm(name, sides, scope, weight)
