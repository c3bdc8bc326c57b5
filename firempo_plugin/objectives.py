"""Objectives as data: which terms over the cells of a row a method adds up.

A row gives four cells, {clean, noised} image x {chosen, rejected} response. FiRe-MPO (arXiv 2606.12590) and its
relatives are the rows of `OBJECTIVES`; nothing else in the package knows their names. Their formulas are written with

    cc, cr, nc, nr   the cells clean/chosen, clean/rejected, noised/chosen, noised/rejected
    r(c)             beta * sum over the response tokens t of cell c of w_t [log pi - log ref]_t; r_P over those of
                     phrases alone
    L(m)             -log sigmoid(m)
    KL, NLL          of `losses.mixed_kl` and `losses.chosen_nll`, on cc
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from .errors import UserError

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


_RANK = prefer("rank", CC, CR)
_RANK_PHRASES = prefer("rank", CC, CR, scope="phrase")
_IMAGE = prefer("image", CC, NC)


def _visual(preferred: Cell, other: Cell) -> PreferenceTerm:
    return prefer("visual", preferred, other, scope="phrase", weight="gamma")


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "fire_mpo",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(nr) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, _visual(NR, NC), KLTerm()),
            "arXiv 2606.12590",
        ),
        Objective(
            "fire_mpo_v1",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nc)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NC), KLTerm()),
            "arXiv 2606.12590, ablation v1",
        ),
        Objective(
            "fire_mpo_v2",
            "L(r_P(cc) - r_P(cr)) + gamma L(r_P(cc) - r_P(nr)) + alpha KL",
            (_RANK_PHRASES, _visual(CC, NR), KLTerm()),
            "arXiv 2606.12590, ablation v2",
        ),
        Objective(
            "rrpo",
            "L(r_P(cc) - r_P(cr)) + alpha KL with lambda = 1",
            (_RANK_PHRASES, KLTerm(fixed_lambda=1.0)),
            "arXiv 2504.12083",
        ),
        Objective("mask_dpo", "L(r_P(cc) - r_P(cr))", (_RANK_PHRASES,), "arXiv 2503.02846"),
        Objective("dpo", "L(r(cc) - r(cr))", (_RANK,), "arXiv 2305.18290"),
        Objective("copo", "L(r(cc) - r(nc))", (_IMAGE,), "arXiv 2406.11839, its image term alone"),
        Objective(
            "mdpo",
            "L(r(cc) - r(cr)) + L(r(cc) - r(nc)) + L(r(cc))",
            (_RANK, _IMAGE, prefer("anchor", CC)),
            "arXiv 2406.11839",
        ),
        Objective(
            "mmedpo",
            "L(r(cc) - r(nr)), or r(cr) without a noised image",
            (prefer("rank", CC, NR, CR),),
            "arXiv 2412.06141, as arXiv 2601.17918 runs it",
        ),
    )
}


@dataclass(frozen=True)
class Settings:
    """An objective with its numbers: everything that the loss of a run depends on.

    Args:
        objective: The row of `OBJECTIVES`.
        beta: Temperature of the log-ratios, > 0.
        alpha: Weight of the KL term, >= 0; 0 switches it off.
        gamma: Weight of the gamma terms, >= 0; 0 switches them off.
        kl_lambda: lambda, the share of the forward KL, in [0, 1].
        kl_scope: Token positions of clean/chosen that the KL sums over.
        nll_weight: Weight of the length-normalised NLL on clean/chosen, >= 0; 0 switches it off.

    Attributes:
        terms: Those of the objective that have a weight, then the NLL if it has one.
    """

    objective: Objective
    beta: float
    alpha: float
    gamma: float
    kl_lambda: float
    kl_scope: Scope
    nll_weight: float
    terms: tuple[Term, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        finite = all(math.isfinite(x) for x in (self.beta, self.alpha, self.gamma, self.nll_weight))
        in_range = self.beta > 0 and min(self.alpha, self.gamma, self.nll_weight) >= 0
        if not (finite and in_range and 0 <= self.kl_lambda <= 1 and self.kl_scope in SCOPES):
            raise UserError(f"settings out of range: {self}")
        active = tuple(term for term in (*self.objective.terms, NLLTerm()) if self.weight_of(term) > 0)
        object.__setattr__(self, "terms", active)

    def weight_of(self, term: Term) -> float:
        """What a term is multiplied by."""
        return term.weight if isinstance(term.weight, float) else float(vars(self)[term.weight])

    def scope_of(self, term: Term) -> Scope:
        """The tokens of its cells that a term needs."""
        match term:
            case PreferenceTerm():
                return term.scope
            case KLTerm():
                return self.kl_scope
            case NLLTerm():
                return "response"

    @property
    def kl(self) -> KLTerm | None:
        """The KL term, where it has a weight."""
        return next((term for term in self.terms if isinstance(term, KLTerm)), None)

    @property
    def kl_share(self) -> float:
        """lambda, by the method or by the setting."""
        fixed = self.kl.fixed_lambda if self.kl else None
        return self.kl_lambda if fixed is None else fixed

    def cells(self, has_noised: bool) -> dict[Cell, Scope]:
        """The cells to run for a row, each with the widest scope that any term needs."""
        needs = [(cell, self.scope_of(term)) for term in self.terms for cell in term.cells(has_noised)]
        return {
            cell: "response" if (cell, "response") in needs else "phrase"
            for cell in Cell
            if any(cell == needed for needed, _ in needs)
        }


@dataclass(frozen=True)
class Metric:
    """A quantity of a term that is logged.

    Attributes:
        term: Its number in `Settings.terms`.
        quantity: As `losses` names it: loss, accuracy, margin, chosen, rejected, forward or reverse.
    """

    term: int
    quantity: str


def metrics_of(settings: Settings) -> dict[str, Metric]:
    """Every metric that the terms of a run give, by the name under which it is logged, in that order.

    `terms/NAME` is a term unweighted, of a KL its two halves; the first preference term has the plain names
    `rewards/accuracies` and `rewards/margins`, the others append their own; `rewards/chosen` and `rewards/rejected`
    are of the first that compares responses.
    """
    return dict((*_term_metrics(settings), *_reward_metrics(settings)))


def _term_metrics(settings: Settings) -> Iterator[tuple[str, Metric]]:
    for number, term in enumerate(settings.terms):
        if isinstance(term, KLTerm):
            for half in ("forward", "reverse"):
                yield f"terms/{term.name}_{half}", Metric(number, half)
        else:
            yield f"terms/{term.name}", Metric(number, "loss")


def _reward_metrics(settings: Settings) -> Iterator[tuple[str, Metric]]:
    preferences = [(number, term) for number, term in enumerate(settings.terms) if isinstance(term, PreferenceTerm)]
    responses = next((number for number, term in preferences if term.compares_responses), None)
    for number, term in preferences:
        suffix = "" if number == preferences[0][0] else f"_{term.name}"
        yield f"rewards/accuracies{suffix}", Metric(number, "accuracy")
        yield f"rewards/margins{suffix}", Metric(number, "margin")
        if number == responses:
            yield "rewards/chosen", Metric(number, "chosen")
            yield "rewards/rejected", Metric(number, "rejected")
