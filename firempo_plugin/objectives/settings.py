"""A method with its numbers, and the metrics that its terms give."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import UserError
from .terms import (
    SCOPES,
    Cell,
    ConsistencyTerm,
    KLTerm,
    NLLTerm,
    Number,
    Objective,
    PreferenceTerm,
    Scope,
    SequenceKL,
    Term,
)


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
        phrase_weight: k, how often a token of a phrase counts, > 0.
        target_margin: By how much the preferred is to win, >= 0, in units of the margin.
        length_weight: a, what a token of length is worth, >= 0.
        label_smoothing: e, how often a preference is taken to be the wrong way round, in [0, 0.5).
        sequence_kl_weight: d, what sequential KLs in a margin are multiplied by, >= 0.
        floor_weight: f, what a preferred reward below 0 costs, >= 0.
        consistency_weight: q, weight of the difference of margins, >= 0; 0 switches it off.

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
    phrase_weight: float = 1.0
    target_margin: float = 0.0
    length_weight: float = 0.0
    label_smoothing: float = 0.0
    sequence_kl_weight: float = 0.0
    floor_weight: float = 0.0
    consistency_weight: float = 0.0
    terms: tuple[Term, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        above = (self.beta, self.phrase_weight)
        weights = (self.alpha, self.gamma, self.nll_weight, self.consistency_weight)
        in_margin = (self.target_margin, self.length_weight, self.sequence_kl_weight, self.floor_weight)
        least = (*weights, *in_margin)
        finite = all(math.isfinite(number) for number in (*above, *least))
        in_range = min(above) > 0 and min(least) >= 0
        shares = 0 <= self.kl_lambda <= 1 and 0 <= self.label_smoothing < 0.5
        if not (finite and in_range and shares and self.kl_scope in SCOPES):
            raise UserError(f"settings out of range: {self}")
        active = tuple(term for term in (*self.objective.terms, NLLTerm()) if self.weight_of(term) > 0)
        object.__setattr__(self, "terms", active)

    def number(self, number: Number) -> float:
        """A number of a term, looked up here where that names a field."""
        return float(vars(self)[number]) if isinstance(number, str) else number

    def weight_of(self, term: Term) -> float:
        """What a term is multiplied by."""
        return self.number(term.weight)

    def scope_of(self, term: Term) -> Scope:
        """The tokens of its cells that a term needs."""
        match term:
            case PreferenceTerm() | ConsistencyTerm():
                return term.scope
            case KLTerm():
                return self.kl_scope
            case NLLTerm():
                return "response"

    @property
    def kl(self) -> KLTerm | None:
        """The KL term, where it has a weight."""
        return next((term for term in self.terms if isinstance(term, KLTerm)), None)

    def kl_scopes(self, has_noised: bool) -> dict[Cell, Scope]:
        """The cells of a row over whose tokens a KL sums, each with the widest scope that any term needs."""
        whole: Scope = "response"
        sequences = {kl.cell: whole for kl in self._sequence_kls if kl.cell in self.cells(has_noised)}
        return ({self.kl.cell: self.kl_scope} if self.kl else {}) | sequences

    @property
    def _sequence_kls(self) -> list[SequenceKL]:
        preferences = [term for term in self.terms if isinstance(term, PreferenceTerm)]
        weighed = [term for term in preferences if self.number(term.sequence_kl_weight) > 0]
        return [kl for term in weighed for kl in term.sequence_kls]

    @property
    def needs_kl(self) -> bool:
        """Whether any term compares policy and reference over the vocabulary."""
        return self.kl is not None or len(self._sequence_kls) > 0

    @property
    def needs_reference(self) -> bool:
        """Whether any term compares the policy with the reference."""
        return any(term.reference for term in self.terms)

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
