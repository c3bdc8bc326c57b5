"""The equations of FiRe-MPO (arXiv 2606.12590) as pure functions over tensors; imports torch only.

Symbols: v clean image, v' noised image, q prompt, y+ chosen, y- rejected, P(y) phrase positions of y,
pi policy, ref reference, r log-ratio (reward). M scored tokens, B rows, V vocabulary. Every result is
float32 whatever the logits are.

    (1)  r(v, y)  = beta * sum_{t in P(y)} [log pi(y_t | v, q, y_<t) - log ref(y_t | v, q, y_<t)]
    (2)  rank     = -log sigmoid(r(v, y+) - r(v, y-))
    (3)  visual   = -log sigmoid(r(v', y-) - r(v', y+))
    (4)  KL       = sum_{t in P(y+)} [lambda * KL(ref || pi)_t + (1 - lambda) * KL(pi || ref)_t]
    (5)  loss     = mean over rows of weight * [rank + gamma * visual + alpha * KL]
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .links import LINKS
from .settings import Settings, metrics_of
from .terms import Cell, ConsistencyTerm, KLTerm, NLLTerm, PreferenceTerm, Reward, Scope, Side, Term

Head = Callable[[Tensor], Tensor]

HEAD_ROWS = 256
"""Tokens whose logits exist at once: enough that a product with the head's weights is bound by arithmetic, not by
reading them (an H200 needs about 165 in bf16), and few enough that a real vocabulary takes about a gigabyte."""


@dataclass
class ScoredTokens:
    """What the forward passes say of the scored tokens of a batch.

    Attributes:
        row: [M] row of each token.
        cell: [M] its `Cell`.
        in_phrase: [M] bool, whether it lies in a phrase.
        weight: [M] what the row says that it counts, besides what a term says; 1 where it says nothing.
        policy_logps: [M] log pi of the token.
        reference_logps: [M] log ref of the token; None where no term needs it.
        kl: [K] which of the M the KLs are of.
        forward_kl: [K] KL(ref || pi) over the vocabulary there.
        reverse_kl: [K] KL(pi || ref) over the vocabulary there.
        terms: [terms, B] bool, the rows whose tokens of each term are all here.
    """

    row: Tensor
    cell: Tensor
    in_phrase: Tensor
    weight: Tensor
    policy_logps: Tensor
    reference_logps: Tensor | None
    kl: Tensor
    forward_kl: Tensor
    reverse_kl: Tensor
    terms: Tensor


@dataclass
class RowTerm:
    """A quantity of each row, and the rows that have it.

    Attributes:
        values: [B]; meaningless where `applies` is False.
        applies: [B] bool.
    """

    values: Tensor
    applies: Tensor


Quantities = dict[str, Tensor]
"""What a term gives for each row [B], by the names of `settings.Metric`."""


def token_logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """log pi(y_t | .) of the given tokens: [M, V], [M] -> [M], in float32."""
    return -F.cross_entropy(logits.float(), tokens, reduction="none")


def token_kls(policy_logits: Tensor, reference_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of (4) at each position: [K, V], [K, V] -> KL(ref || pi) [K], KL(pi || ref) [K]."""
    log_pi = F.log_softmax(policy_logits.float(), dim=-1)
    log_ref = F.log_softmax(reference_logits.float(), dim=-1)
    forward_kl = (log_ref.exp() * (log_ref - log_pi)).sum(-1)
    reverse_kl = (log_pi.exp() * (log_pi - log_ref)).sum(-1)
    return forward_kl, reverse_kl


def logps_in_chunks(head: Head, hidden: Tensor, tokens: Tensor) -> Tensor:
    """`token_logps` from hidden states: [M, H], [M] -> [M]; logits of `HEAD_ROWS` tokens at once, backward too.

    Args:
        head: Makes logits of hidden states, each row by itself; no gradient is needed of its weights.
        hidden: Where the tokens are predicted from.
        tokens: Their ids.
    """

    def chunk(hidden: Tensor, tokens: Tensor) -> Tensor:
        return token_logps(head(hidden), tokens)

    parts = zip(torch.split(hidden, HEAD_ROWS), torch.split(tokens, HEAD_ROWS), strict=True)
    return torch.cat([_recomputed(chunk, *part) for part in parts])


def kls_in_chunks(head: Head, reference_head: Head, hidden: Tensor, reference_hidden: Tensor) -> tuple[Tensor, Tensor]:
    """`token_kls` from hidden states, [K, H] twice, as `logps_in_chunks`; the reference gets no gradient."""

    def chunk(hidden: Tensor, reference_hidden: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            reference_logits = reference_head(reference_hidden)
        return token_kls(head(hidden), reference_logits)

    parts = zip(torch.split(hidden, HEAD_ROWS), torch.split(reference_hidden, HEAD_ROWS), strict=True)
    forward_kl, reverse_kl = zip(*(_recomputed(chunk, *part) for part in parts), strict=True)
    return torch.cat(forward_kl), torch.cat(reverse_kl)


def _recomputed(chunk: Callable[..., Any], *tensors: Tensor) -> Any:
    """A chunk that is run again backward; saving the state of random numbers would wait for the device."""
    return checkpoint(chunk, *tensors, use_reentrant=False, preserve_rng_state=False)


def sum_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums `values` [M] into `size` slots by `index` [M]; an empty slot is 0."""
    return values.new_zeros(size).index_add(0, index, values)


def log_odds(mean_logps: Tensor) -> Tensor:
    """(11) log(p / (1 - p)) of p = exp(mean log pi), elementwise: ORPO, arXiv 2403.07691.

    Where p rounds to 1 the odds are those of the last number below it, and have no gradient.
    """
    below_one = mean_logps.clamp(max=-torch.finfo(mean_logps.dtype).eps)
    return below_one - torch.log(-torch.expm1(below_one))


def mean(total: Tensor, weights: Tensor) -> Tensor:
    """The mean of the tokens of cells by their weighed sum and the sum of their weights; 0 where there are none."""
    return total / torch.where(weights > 0, weights, 1.0)


REWARDS: dict[Reward, Callable[[Tensor, Tensor, float], Tensor]] = {
    "sum": lambda total, weights, beta: beta * total,
    "mean": lambda total, weights, beta: beta * mean(total, weights),
    "odds": lambda total, weights, beta: log_odds(torch.where(weights > 0, mean(total, weights), -math.log(2.0))),
}
"""The reward of cells by the weighed sum of their tokens and the sum of the weights: 0 where there are no tokens."""


def cell_rewards(term: PreferenceTerm, settings: Settings, scored: ScoredTokens, rows: int) -> Tensor:
    """(1), or another reward, for every cell: [B, 6]. A cell without scored tokens that count has 0."""
    values = scored.policy_logps
    if term.reference:
        if scored.reference_logps is None:
            raise ValueError(f"term {term.name} needs the reference, which was not run")
        values = values - scored.reference_logps
    inside, outside = (torch.full_like(values, settings.number(weight)) for weight in term.tokens)
    weights = torch.where(scored.in_phrase, inside, outside) * scored.weight
    slots = scored.row * len(Cell) + scored.cell
    total, weight = (sum_by(slots, each, rows * len(Cell)).view(rows, -1) for each in (weights * values, weights))
    return REWARDS[term.reward](total, weight, settings.beta)


def reward_sides(term: PreferenceTerm, rewards: Tensor, has_noised: Tensor) -> tuple[Tensor, Tensor]:
    """The rewards that a term's margin adds, and those that it takes off, for each row.

    Args:
        term: The preference term.
        rewards: [B, 6] from `cell_rewards`.
        has_noised: [B] bool.

    Returns:
        [B] and [B]; the margin is their difference. Meaningless for rows to which the term does not apply.
    """
    added, taken = ([side for side in term.sides if side.sign * sign > 0] for sign in (1, -1))
    plus = _weighed(added, rewards, has_noised, 0.0).sum(0)
    if term.softmax:
        return plus, _weighed(taken, rewards, has_noised, torch.finfo(rewards.dtype).min).logsumexp(0)
    return plus, _weighed(taken, rewards, has_noised, 0.0).sum(0)


def _weighed(sides: list[Side], rewards: Tensor, has_noised: Tensor, absent: float) -> Tensor:
    """abs(sign) * r of each side and row: [sides, B]; `absent` where a row has no cell of a side."""
    nothing = torch.full_like(rewards[:, 0], absent)
    found = rewards.new_empty(len(sides), len(rewards))
    for number, side in enumerate(sides):
        cells = [side.cell(noised) for noised in (True, False)]
        with_noised, without = (nothing if cell is None else abs(side.sign) * rewards[:, cell] for cell in cells)
        found[number] = torch.where(has_noised, with_noised, without)
    return found


def sequence_kl(term: PreferenceTerm, settings: Settings, scored: ScoredTokens, rows: int) -> Tensor:
    """(13) beta * d * sum over cells of sign * sum_t KL(ref || pi)_t, for each row [B]: TDPO, arXiv 2404.11999."""
    total = scored.forward_kl.new_zeros(rows)
    for sign, cell, detached in term.sequence_kls:
        forward_kl, _ = kls_of(cell, "response", scored, rows)
        total = total + sign * (forward_kl.detach() if detached else forward_kl)
    return settings.beta * settings.number(term.sequence_kl_weight) * total


def below_zero(term: PreferenceTerm, rewards: Tensor, has_noised: Tensor) -> Tensor:
    """(14) sum over preferred cells of max(0, -r), for each row [B]: DPO-Positive, arXiv 2402.13228."""
    added = [side for side in term.sides if side.sign > 0]
    return F.relu(-_weighed(added, rewards, has_noised, 0.0)).sum(0)


def preference(term: PreferenceTerm, settings: Settings, scored: ScoredTokens, has_noised: Tensor) -> Quantities:
    """(2), (3) and every other preference over cells, for each row.

    (12) loss = link(margin + (13) - f * (14) - offset), of rewards to each of which a times the response's length is
    added.

    The offset is SimPO's gamma (arXiv 2405.14734), a that of length-regularised DPO (arXiv 2403.19159). The metrics are
    of the rewards alone.
    """
    rewards = cell_rewards(term, settings, scored, len(has_noised))
    added, taken = reward_sides(term, rewards, has_noised)
    margin = asked = added - taken
    if length := settings.number(term.length):
        slots = scored.row * len(Cell) + scored.cell
        tokens = sum_by(slots, torch.ones_like(scored.policy_logps), rewards.numel()).view_as(rewards)
        more, less = reward_sides(term, rewards + length * tokens, has_noised)
        asked = more - less
    if settings.number(term.sequence_kl_weight):
        asked = asked + sequence_kl(term, settings, scored, len(has_noised))
    if floor := settings.number(term.floor):
        asked = asked - floor * below_zero(term, rewards, has_noised)
    asked = asked - settings.number(term.offset)
    return {
        "loss": LINKS[term.link](asked, settings.beta, settings.number(term.smoothing)),
        "accuracy": (margin > 0).float(),
        "margin": margin,
        "chosen": added,
        "rejected": taken,
    }


def kls_of(cell: Cell, scope: Scope, scored: ScoredTokens, rows: int) -> tuple[Tensor, Tensor]:
    """KL(ref || pi) and KL(pi || ref), each summed over a cell's tokens in a scope: [B] and [B]."""
    mine = scored.cell[scored.kl] == cell
    if scope == "phrase":
        mine = mine & scored.in_phrase[scored.kl]
    row = scored.row[scored.kl]
    forward_kl, reverse_kl = (
        sum_by(row, torch.where(mine, values, 0.0), rows) for values in (scored.forward_kl, scored.reverse_kl)
    )
    return forward_kl, reverse_kl


def mixed_kl(term: KLTerm, settings: Settings, scored: ScoredTokens, has_noised: Tensor) -> Quantities:
    """(4) and its two halves, for each row."""
    forward_kl, reverse_kl = kls_of(term.cell, settings.kl_scope, scored, len(has_noised))
    share = settings.kl_share
    return {"loss": share * forward_kl + (1 - share) * reverse_kl, "forward": forward_kl, "reverse": reverse_kl}


def chosen_nll(term: NLLTerm, settings: Settings, scored: ScoredTokens, has_noised: Tensor) -> Quantities:
    """The mean negative log-likelihood of a cell's whole response, for each row."""
    mine = scored.cell == term.cell
    total = sum_by(scored.row, torch.where(mine, -scored.policy_logps, 0.0), len(has_noised))
    count = sum_by(scored.row, mine.to(total.dtype), len(has_noised))
    return {"loss": total / count.clamp(min=1)}


def consistency(term: ConsistencyTerm, settings: Settings, scored: ScoredTokens, has_noised: Tensor) -> Quantities:
    """(15) (m_1 - m_2)^2 of two margins of log-ratios, for each row: SymMPO, arXiv 2506.11712."""
    first, second = (preference(each, settings, scored, has_noised)["margin"] for each in (term.first, term.second))
    return {"loss": ((first - second) / settings.beta).square()}


QUANTITIES: dict[type[Term], Callable[[Any, Settings, ScoredTokens, Tensor], Quantities]] = {
    PreferenceTerm: preference,
    KLTerm: mixed_kl,
    NLLTerm: chosen_nll,
    ConsistencyTerm: consistency,
}


def objective_loss(
    settings: Settings, scored: ScoredTokens, has_noised: Tensor, weight: Tensor
) -> tuple[Tensor, dict[str, RowTerm]]:
    """(5), generalised to every objective of the table.

    Args:
        settings: The objective and its numbers.
        scored: The scored tokens of the batch.
        has_noised: [B] bool, rows with a noised image.
        weight: [B] each row's share in the loss.

    Returns:
        The weighted loss of each row [B], as far as the scored tokens make it up; summed over the passes of a
        batch, its mean is the loss of the batch. And each row's detached, unscaled values by the names of
        `settings.metrics_of`.
    """
    losses = scored.policy_logps.new_zeros(len(has_noised))
    found = [QUANTITIES[type(term)](term, settings, scored, has_noised) for term in settings.terms]
    for term, quantities, applies in zip(settings.terms, found, scored.terms, strict=True):
        losses = losses + settings.weight_of(term) * quantities["loss"] * applies
    report = {
        name: RowTerm(found[metric.term][metric.quantity].detach(), scored.terms[metric.term])
        for name, metric in metrics_of(settings).items()
    }
    return weight * losses, report


def add_reports(reports: list[dict[str, RowTerm]]) -> dict[str, RowTerm]:
    """The report of a batch from those of its passes: every quantity of a row is summed where it applies."""
    total: dict[str, RowTerm] = {}
    for name in reports[0]:
        parts = [report[name] for report in reports]
        values = torch.stack([torch.where(part.applies, part.values, 0.0) for part in parts]).sum(0)
        total[name] = RowTerm(values, torch.stack([part.applies for part in parts]).any(0))
    return total
