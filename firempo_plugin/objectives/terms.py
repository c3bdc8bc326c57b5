"""The term model: what a method adds up over the cells of a row.

A row gives six cells, {clean, noised, blind} image x {chosen, rejected} response; blind is the prompt without any
image. Formulas are written with

    cc, cr, nc, nr   the cells clean/chosen, clean/rejected, noised/chosen, noised/rejected
    bc, br           the cells blind/chosen, blind/rejected
    r(c)             beta * sum over the response tokens t of cell c of w_t [log pi - log ref]_t, w_t = 1, times what
                     the row says that the token counts; r_P over those of phrases alone; r_k with w_t = k in
                     phrases, k the phrase weight
    mr(c)            r with the mean over the tokens in place of the sum; mp(c) the same of log pi alone
    |c|              the response tokens of cell c, a the length weight
    margin           the target margin, by which the preferred is to win
    o(c)             the log-odds log(p / (1 - p)) of p = exp of the mean of log pi over the tokens of cell c
    L(m)             -log sigmoid(m); L_e(m), R_e(m), H(m), S(m) are the smoothed, the robust, the hinge and the square
                     link of `links`, e the label smoothing; L_h(m) is smoothed with e = 1/2, least at m = 0
    lse(a, b, ...)   log(exp a + exp b + ...), over the cells that a row has
    D(c), sg         beta * sum over the response tokens of cell c of KL(ref || pi)_t, d the sequence KL weight; sg is
                     its argument without a gradient
    neg(r)           max(0, -r), f the floor weight
    q                the consistency weight, of a squared difference of margins of log-ratios, m / beta
    KL, NLL          of `losses.mixed_kl` and `losses.chosen_nll`, on cc
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple, get_args

ImageKind = Literal["clean", "noised", "blind"]
IMAGE_KINDS: tuple[ImageKind, ...] = get_args(ImageKind)
Scope = Literal["phrase", "response"]
SCOPES: tuple[Scope, ...] = ("phrase", "response")

Group = Literal[
    "FiRe-MPO and its ablations",
    "Fine-grained text",
    "Whole responses",
    "DPO under another name",
    "With images",
    "Without a reference",
    "As other code runs it",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""Under which a reader finds a method, in the order in which they are listed."""


class Cell(IntEnum):
    """One (image, response) of a row. The value is its column in a [B, 6] tensor."""

    CLEAN_CHOSEN = 0
    CLEAN_REJECTED = 1
    NOISED_CHOSEN = 2
    NOISED_REJECTED = 3
    BLIND_CHOSEN = 4
    BLIND_REJECTED = 5

    @property
    def image(self) -> ImageKind:
        return IMAGE_KINDS[self // 2]

    @property
    def response(self) -> Literal["chosen", "rejected"]:
        return "rejected" if self % 2 else "chosen"

    def __str__(self) -> str:
        return f"{self.image}/{self.response}"


CC, CR, NC, NR, BC, BR = Cell

Number = (
    float
    | Literal[
        "alpha",
        "beta",
        "gamma",
        "nll_weight",
        "label_smoothing",
        "phrase_weight",
        "target_margin",
        "length_weight",
        "sequence_kl_weight",
        "floor_weight",
        "consistency_weight",
    ]
)
"""A number of a term, or the field of `Settings` that holds it."""

Link = Literal["logistic", "smoothed", "robust", "hinge", "square"]
"""What turns a margin into a loss, see `links`."""


Reward = Literal["sum", "mean", "odds"]
"""What a cell's tokens come to, see `losses.REWARDS`."""


class TokenWeights(NamedTuple):
    """w_t of a response token: inside phrases, and outside of them."""

    inside: Number
    outside: Number


PHRASES, RESPONSE = TokenWeights(1.0, 0.0), TokenWeights(1.0, 1.0)


def named(*numbers: Number) -> frozenset[str]:
    """The fields of `Settings` among numbers."""
    return frozenset(number for number in numbers if isinstance(number, str))


@dataclass(frozen=True)
class Side:
    """A signed reward in a margin: of the first of `cells` that a row has, best first.

    Noised and blind cells exist only where the row has a noised image.
    """

    sign: float
    cells: tuple[Cell, ...]

    def cell(self, has_noised: bool) -> Cell | None:
        """The cell that it takes of a row; None where the row has none of them."""
        return next((cell for cell in self.cells if has_noised or cell.image == "clean"), None)


class SequenceKL(NamedTuple):
    """A signed KL(ref || pi), summed over the response of a cell, in a margin; `detached` is without a gradient."""

    sign: float
    cell: Cell
    detached: bool = False


@dataclass(frozen=True)
class PreferenceTerm:
    """weight * link(sum over sides of sign * reward(cell) - offset); a row without a side has no term.

    Attributes:
        name: Names its metrics.
        sides: What the margin adds up.
        tokens: How much each token counts in a reward.
        weight: Its share in the loss.
        link: What turns the margin into a loss.
        smoothing: e of the links `smoothed` and `robust`: how often the preference is the wrong way round.
        softmax: Whether the sides that are taken off are joined by lse instead of added; one that a row has not is
            then left out.
        reward: What a cell's tokens come to.
        reference: Whether they are log-ratios; else log pi alone.
        offset: What is taken off the margin in the loss.
        length: What every token of a cell's response adds to its reward in the loss.
        sequence_kls: What is added to the margin in the loss, times beta and their weight, of cells of its sides.
        sequence_kl_weight: d.
        floor: What every preferred reward below 0 costs the margin in the loss, a unit.
    """

    name: str
    sides: tuple[Side, ...]
    tokens: TokenWeights
    weight: Number = 1.0
    link: Link = "logistic"
    smoothing: Number = 0.0
    softmax: bool = False
    reward: Reward = "sum"
    reference: bool = True
    offset: Number = 0.0
    length: Number = 0.0
    sequence_kls: tuple[SequenceKL, ...] = ()
    sequence_kl_weight: Number = 0.0
    floor: Number = 0.0

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Settings` on which its loss depends."""
        in_margin = (self.offset, self.length, self.sequence_kl_weight, self.floor)
        return named("beta", self.weight, self.smoothing, *in_margin, *self.tokens)

    @property
    def scope(self) -> Scope:
        """The tokens on which it depends."""
        phrases_alone = self.tokens.outside == 0 and self.length == 0 and not self.sequence_kls
        return "phrase" if phrases_alone else "response"

    @property
    def compares_responses(self) -> bool:
        """Whether it prefers the chosen response over a rejected one, as DPO's rewards are read."""
        preferred = {cell.response for side in self.sides if side.sign > 0 for cell in side.cells}
        others = {cell.response for side in self.sides if side.sign < 0 for cell in side.cells}
        return preferred == {"chosen"} and others == {"rejected"}

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cells that the term needs of a row; none where it does not apply to the row."""
        missing = [side for side in self.sides if side.cell(has_noised) is None]
        others = [side for side in self.sides if side.sign < 0]
        spared = self.softmax and all(side in others for side in missing) and len(missing) < len(others)
        if missing and not spared:
            return ()
        return tuple(cell for side in self.sides if (cell := side.cell(has_noised)) is not None)


@dataclass(frozen=True)
class KLTerm:
    """alpha * sum_t [lambda * KL(ref || pi)_t + (1 - lambda) * KL(pi || ref)_t] on a cell, over `Settings.kl_scope`.

    `fixed_lambda` is set where the method itself fixes lambda.
    """

    fixed_lambda: float | None = None
    cell: Cell = CC
    weight: Number = "alpha"
    name: str = "kl"
    reference: bool = field(default=True, init=False)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Settings` on which its loss depends."""
        return named(self.weight) | {"kl_scope"} | ({"kl_lambda"} if self.fixed_lambda is None else frozenset())

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cell, in every row."""
        return (self.cell,)


@dataclass(frozen=True)
class NLLTerm:
    """nll_weight * the mean of -log pi over the tokens of a cell's whole response."""

    cell: Cell = CC
    weight: Number = "nll_weight"
    name: str = "nll"
    reference: bool = field(default=False, init=False)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Settings` on which its loss depends."""
        return named(self.weight)

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cell, in every row."""
        return (self.cell,)


@dataclass(frozen=True)
class ConsistencyTerm:
    """consistency_weight * (the first term's margin of log-ratios - the second's)^2, in rows that have both."""

    first: PreferenceTerm
    second: PreferenceTerm
    weight: Number = "consistency_weight"
    name: str = "consistency"
    reference: bool = field(default=True, init=False)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Settings` on which its loss depends."""
        return named(self.weight) | self.first.reads | self.second.reads

    @property
    def scope(self) -> Scope:
        """The tokens on which it depends."""
        return "response" if "response" in (self.first.scope, self.second.scope) else "phrase"

    def cells(self, has_noised: bool) -> tuple[Cell, ...]:
        """The cells of both terms; none where one does not apply to the row."""
        first, second = self.first.cells(has_noised), self.second.cells(has_noised)
        return first + second if first and second else ()


Term = PreferenceTerm | KLTerm | NLLTerm | ConsistencyTerm


@dataclass(frozen=True)
class Objective:
    """A method.

    Attributes:
        name: As `fire_objective` names it.
        formula: Its loss of a row, in the symbols of this module; what `terms` say.
        terms: What it adds up. Every method may have an NLL besides, by its setting.
        source: Where it was published.
        group: Under which it is listed.
        use: When one would take it, in one line.
        defaults: The fields of `Settings` that it has by default, where they differ from those of FiRe-MPO.
    """

    name: str
    formula: str
    terms: tuple[Term, ...]
    source: str
    group: Group
    use: str
    defaults: Mapping[str, float] = field(default_factory=dict)

    @property
    def kl(self) -> KLTerm | None:
        return next((term for term in self.terms if isinstance(term, KLTerm)), None)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Settings` on which its loss depends, besides the weight of the NLL."""
        return frozenset(name for term in self.terms for name in term.reads)

    def applies(self, has_noised: bool) -> bool:
        """Whether any preference term applies to a row with, or without, a noised image."""
        return any(term.cells(has_noised) for term in self.terms if isinstance(term, PreferenceTerm))


def prefer(
    name: str, preferred: Cell, *others: Cell, tokens: TokenWeights = RESPONSE, weight: Number = 1.0
) -> PreferenceTerm:
    """L(r(preferred) - r(other)): of `others` the first that a row has; without any, the other side is 0."""
    sides = (Side(1.0, (preferred,)), *([Side(-1.0, others)] if others else []))
    return PreferenceTerm(name, sides, tokens, weight)
