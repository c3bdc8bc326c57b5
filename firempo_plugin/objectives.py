"""Objectives as data: which cell of a row is preferred over which, and what regularises it.

A row gives four cells, {clean, noised} image x {chosen, rejected} response. An objective is a list of
preference terms over those cells, plus at most one KL term on clean/chosen. FiRe-MPO (arXiv 2606.12590)
and its relatives are the rows of `OBJECTIVES`; nothing else in the package knows their names.
"""

import math
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class PreferenceTerm:
    """-log sigmoid(r(preferred) - r(other)), summed over the tokens in `scope`.

    `others` lists the cells to compare with, best first; a row takes the first one that it has (a noised
    cell exists only where the row has a noised image). Without any, the term is an anchor: other = 0.
    `gamma` terms are multiplied by gamma in the loss.
    """

    name: str
    preferred: Cell
    others: tuple[Cell, ...]
    scope: Scope
    gamma: bool = False

    @property
    def ranks_responses(self) -> bool:
        """Whether it prefers the chosen response over a rejected one, as DPO's rewards are read."""
        return self.name == "rank"

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cells that the term needs of a row; none where it does not apply to the row."""
        present = [cell for cell in (self.preferred, *self.others) if has_noised or cell.image == "clean"]
        if self.preferred not in present or (self.others and len(present) == 1):
            return ()
        return tuple(present[:2])


@dataclass(frozen=True)
class KLTerm:
    """alpha * sum_t [lambda * KL(ref || pi)_t + (1 - lambda) * KL(pi || ref)_t] on clean/chosen.

    `fixed_lambda` is set where the method itself fixes lambda.
    """

    fixed_lambda: float | None = None


@dataclass(frozen=True)
class Objective:
    """A method: its preference terms, its KL term if it has one, and where it was published."""

    name: str
    terms: tuple[PreferenceTerm, ...]
    kl: KLTerm | None
    source: str

    @property
    def has_gamma(self) -> bool:
        return any(term.gamma for term in self.terms)

    def applies(self, has_noised: bool) -> bool:
        """Whether any preference term applies to a row with, or without, a noised image."""
        return any(term.cells(has_noised) for term in self.terms)


def _rank(scope: Scope) -> PreferenceTerm:
    return PreferenceTerm("rank", Cell.CLEAN_CHOSEN, (Cell.CLEAN_REJECTED,), scope)


def _visual(preferred: Cell, other: Cell) -> PreferenceTerm:
    return PreferenceTerm("visual", preferred, (other,), "phrase", gamma=True)


_IMAGE = PreferenceTerm("image", Cell.CLEAN_CHOSEN, (Cell.NOISED_CHOSEN,), "response")
_ANCHOR = PreferenceTerm("anchor", Cell.CLEAN_CHOSEN, (), "response")
_WEIGHTED_RANK = PreferenceTerm("rank", Cell.CLEAN_CHOSEN, (Cell.NOISED_REJECTED, Cell.CLEAN_REJECTED), "response")

OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "fire_mpo",
            (_rank("phrase"), _visual(Cell.NOISED_REJECTED, Cell.NOISED_CHOSEN)),
            KLTerm(),
            "arXiv 2606.12590",
        ),
        Objective(
            "fire_mpo_v1",
            (_rank("phrase"), _visual(Cell.CLEAN_CHOSEN, Cell.NOISED_CHOSEN)),
            KLTerm(),
            "arXiv 2606.12590, ablation v1",
        ),
        Objective(
            "fire_mpo_v2",
            (_rank("phrase"), _visual(Cell.CLEAN_CHOSEN, Cell.NOISED_REJECTED)),
            KLTerm(),
            "arXiv 2606.12590, ablation v2",
        ),
        Objective("rrpo", (_rank("phrase"),), KLTerm(fixed_lambda=1.0), "arXiv 2504.12083"),
        Objective("mask_dpo", (_rank("phrase"),), None, "arXiv 2503.02846"),
        Objective("dpo", (_rank("response"),), None, "arXiv 2305.18290"),
        Objective("copo", (_IMAGE,), None, "arXiv 2406.11839, its image term alone"),
        Objective("mdpo", (_rank("response"), _IMAGE, _ANCHOR), None, "arXiv 2406.11839"),
        Objective("mmedpo", (_WEIGHTED_RANK,), None, "arXiv 2412.06141, as arXiv 2601.17918 runs it"),
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
    """

    objective: Objective
    beta: float
    alpha: float
    gamma: float
    kl_lambda: float
    kl_scope: Scope
    nll_weight: float
    terms: tuple[PreferenceTerm, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        finite = all(math.isfinite(x) for x in (self.beta, self.alpha, self.gamma, self.nll_weight))
        in_range = self.beta > 0 and min(self.alpha, self.gamma, self.nll_weight) >= 0
        if not (finite and in_range and 0 <= self.kl_lambda <= 1 and self.kl_scope in SCOPES):
            raise ValueError(f"settings out of range: {self}")
        active = tuple(term for term in self.objective.terms if not term.gamma or self.gamma > 0)
        object.__setattr__(self, "terms", active)

    @property
    def has_kl(self) -> bool:
        return self.objective.kl is not None and self.alpha > 0

    @property
    def has_nll(self) -> bool:
        return self.nll_weight > 0

    def cells(self, has_noised: bool) -> dict[Cell, Scope]:
        """The cells to run for a row, each with the widest scope that any part of the loss needs."""
        needs: list[tuple[Cell, Scope]] = [(cell, term.scope) for term in self.terms for cell in term.cells(has_noised)]
        if self.has_kl:
            needs.append((Cell.CLEAN_CHOSEN, self.kl_scope))
        if self.has_nll:
            needs.append((Cell.CLEAN_CHOSEN, "response"))
        return {
            cell: "response" if (cell, "response") in needs else "phrase"
            for cell in Cell
            if any(cell == needed for needed, _ in needs)
        }
