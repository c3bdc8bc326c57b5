"""The equations against values that can be checked by hand, and against plain autograd."""

import math

import pytest
import torch
from torch.testing import assert_close

from firempo_plugin.objectives import losses as equations
from firempo_plugin.objectives.losses import (
    REWARDS,
    RowTerm,
    ScoredTokens,
    add_reports,
    cell_rewards,
    kls_in_chunks,
    log_odds,
    logps_in_chunks,
    reward_sides,
    token_kls,
    token_logps,
)
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import PHRASES, RESPONSE, Cell, PreferenceTerm, Side, prefer


def settings(name: str, **changes) -> Settings:
    values = {"beta": 0.5, "alpha": 0.01, "gamma": 0.1, "kl_lambda": 0.5, "kl_scope": "phrase", "nll_weight": 0.0}
    return Settings(objective=OBJECTIVES[name], **(values | changes))


def scored(entries, kl=()) -> ScoredTokens:
    """Entries are (row, cell, in_phrase, policy logp, reference logp); kl are (which entry, forward, reverse)."""
    row, cell, in_phrase, policy, reference = zip(*entries, strict=True)
    kl_of, forward_kl, reverse_kl = zip(*kl, strict=True) if kl else ((), (), ())
    return ScoredTokens(
        row=torch.tensor(row),
        cell=torch.tensor([int(c) for c in cell]),
        in_phrase=torch.tensor(in_phrase),
        weight=torch.ones(len(row)),
        policy_logps=torch.tensor(policy),
        reference_logps=torch.tensor(reference),
        kl=torch.tensor(kl_of, dtype=torch.long),
        forward_kl=torch.tensor(forward_kl),
        reverse_kl=torch.tensor(reverse_kl),
        terms=torch.empty(0, dtype=torch.bool),
    )


def objective_loss(settings: Settings, tokens: ScoredTokens, has_noised, weight):
    """Of tokens that are all there."""
    noised = has_noised.tolist()
    tokens.terms = torch.tensor([[len(term.cells(has)) > 0 for has in noised] for term in settings.terms])
    return equations.objective_loss(settings, tokens, has_noised, weight)


CC, CR, NC, NR, BC, BR = Cell
NOISED, PLAIN = torch.tensor([True]), torch.tensor([False])
ONE = torch.ones(1)


def test_token_logps_of_a_fair_and_a_loaded_coin():
    """softmax(0, 0) = (1/2, 1/2); softmax(0, log 3) = (1/4, 3/4)."""
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]], dtype=torch.bfloat16)
    logps = token_logps(logits.float(), torch.tensor([0, 1]))
    assert logps.dtype == torch.float32
    assert_close(logps, torch.tensor([math.log(0.5), math.log(0.75)]), rtol=3e-3, atol=0)


def test_token_kls_of_two_coins():
    """ref = (1/2, 1/2), pi = (1/4, 3/4): KL(ref||pi) = log 2 - log(3)/2, KL(pi||ref) = log 2 - H(pi)."""
    policy, reference = torch.tensor([[0.0, math.log(3.0)]]), torch.zeros(1, 2)
    forward_kl, reverse_kl = token_kls(policy, reference)
    assert_close(forward_kl.item(), 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    assert_close(reverse_kl.item(), 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5))


def test_kl_matches_torch_and_so_does_its_gradient():
    torch.manual_seed(0)
    policy, reference = torch.randn(5, 11, requires_grad=True), torch.randn(5, 11)
    forward_kl, reverse_kl = token_kls(policy, reference)
    pi, ref = (torch.distributions.Categorical(logits=x) for x in (policy, reference))
    plain = (torch.distributions.kl_divergence(ref, pi), torch.distributions.kl_divergence(pi, ref))
    assert_close(forward_kl, plain[0])
    assert_close(reverse_kl, plain[1])
    ours = torch.autograd.grad((2 * forward_kl + reverse_kl).sum(), policy, retain_graph=True)
    theirs = torch.autograd.grad((2 * plain[0] + plain[1]).sum(), policy)
    assert_close(ours, theirs)


def test_rewards_sum_by_row_and_cell_and_by_token_weights():
    tokens = scored(
        [(0, CC, True, -1.0, -2.0), (0, CC, False, -1.0, -4.0), (1, NR, True, -3.0, -1.0), (1, NR, True, -1.0, -1.0)]
    )
    sums = {
        weights: cell_rewards(prefer("rank", CC, CR, tokens=weights), settings("dpo"), tokens, 2)
        for weights in (PHRASES, RESPONSE)
    }
    assert_close(sums[PHRASES], torch.tensor([[0.5, 0, 0, 0, 0, 0], [0, 0, 0, -1.0, 0, 0]]))
    assert_close(sums[RESPONSE], torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 0, 0, -1.0, 0, 0]]))


@pytest.mark.parametrize("reward", REWARDS)
def test_a_cell_without_tokens_has_no_reward_and_no_gradient_that_is_no_number(reward):
    """Row 1 has none, as the rows of another pass; the odds of a mean of 0 would be infinite."""
    tokens = scored([(0, CC, False, -1.0, -3.0), (0, CR, False, -1.0, -2.0)])
    tokens.policy_logps.requires_grad_()
    term = PreferenceTerm("rank", prefer("rank", CC, CR).sides, RESPONSE, reward=reward, reference=reward != "odds")
    rewards = cell_rewards(term, settings("dpo"), tokens, 2)
    assert_close(rewards[1].detach(), torch.zeros(6))
    rewards.sum().backward()
    assert tokens.policy_logps.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_odds_of_a_certain_answer_are_numbers(dtype):
    logps = torch.tensor([0.0, -torch.finfo(dtype).tiny, -1.0], dtype=dtype, requires_grad=True)
    odds = log_odds(logps)
    assert_close(odds[2], torch.log(1 / torch.expm1(torch.ones((), dtype=dtype))))
    assert odds[0] == odds[1] > odds[2]
    odds.sum().backward()
    assert odds.isfinite().all()
    assert logps.grad.isfinite().all()


def test_a_term_that_needs_the_reference_does_not_go_without():
    tokens = scored([(0, CC, False, -1.0, 0.0), (0, CR, False, -1.0, 0.0)])
    tokens.reference_logps = None
    with pytest.raises(ValueError, match="rank needs the reference"):
        objective_loss(settings("dpo"), tokens, PLAIN, ONE)


def test_fire_mpo_by_hand():
    """beta 1/2. r(v,y+) = 1, r(v,y-) = -1, r(v',y+) = 1/2, r(v',y-) = 0, KL parts 0.2 and 0.6.

    rank = -log sigmoid(2); visual = -log sigmoid(0 - 1/2): on the noised image rejected is preferred;
    KL = 0.25 * 0.2 + 0.75 * 0.6 = 0.5; loss = rank + 0.1 * visual + 0.01 * 0.5.
    """
    tokens = scored(
        [
            (0, CC, True, 0.0, -2.0),
            (0, CR, True, -3.0, -1.0),
            (0, NC, True, -1.0, -2.0),
            (0, NR, True, -1.0, -1.0),
        ],
        kl=[(0, 0.1, 0.2), (0, 0.1, 0.4)],
    )
    losses, report = objective_loss(settings("fire_mpo", kl_lambda=0.25), tokens, NOISED, ONE)
    rank, visual = math.log1p(math.exp(-2.0)), math.log1p(math.exp(0.5))
    assert_close(losses.item(), rank + 0.1 * visual + 0.01 * 0.5, rtol=1e-6, atol=0)
    assert_close(report["terms/rank"].values.item(), rank)
    assert_close(report["terms/visual"].values.item(), visual)
    assert_close(report["terms/kl_forward"].values.item(), 0.2)
    assert_close(report["terms/kl_reverse"].values.item(), 0.6)
    assert report["rewards/accuracies"].values.item() == 1.0
    assert report["rewards/accuracies_visual"].values.item() == 0.0
    assert_close(report["rewards/margins"].values.item(), 2.0)
    assert_close(report["rewards/margins_visual"].values.item(), -0.5)


def test_a_row_without_noised_image_has_rank_and_kl_only():
    tokens = scored([(0, CC, True, 0.0, -2.0), (0, CR, True, -3.0, -1.0)], kl=[(0, 0.1, 0.1)])
    losses, report = objective_loss(settings("fire_mpo"), tokens, PLAIN, ONE)
    assert_close(losses.item(), math.log1p(math.exp(-2.0)) + 0.01 * 0.1, rtol=1e-6, atol=0)
    assert not report["terms/visual"].applies.item()


def test_a_row_without_any_token_in_its_scope_is_a_coin_toss():
    """No phrase left on either side: both rewards are 0, rank is log 2, and no gradient flows."""
    tokens = scored([(0, CC, False, -1.0, -3.0), (0, CR, False, -1.0, -2.0), (1, CC, True, -1.0, -1.0)])
    tokens.policy_logps.requires_grad_()
    losses, _ = objective_loss(settings("rrpo"), tokens, torch.tensor([False, False]), torch.ones(2))
    assert_close(losses.detach(), torch.full((2,), math.log(2.0)))
    losses.sum().backward()
    assert_close(tokens.policy_logps.grad, torch.tensor([0.0, 0.0, -0.25]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fire_mpo_v1", [(1, CC, CR), (0.1, CC, NC)]),
        ("fire_mpo_v2", [(1, CC, CR), (0.1, CC, NR)]),
        ("rrpo", [(1, CC, CR)]),
        ("mask_dpo", [(1, CC, CR)]),
        ("dpo", [(1, CC, CR)]),
        ("copo", [(1, CC, NC)]),
        ("mdpo", [(1, CC, CR), (1, CC, NC), (1, CC, None)]),
        ("mmedpo", [(1, CC, NR)]),
    ],
)
def test_the_preference_terms_of_the_relatives(name, expected):
    """One phrase token a cell, so that both scopes agree; r = log pi - log ref times beta 1/2."""
    rewards = {CC: 1.0, CR: -0.5, NC: 0.25, NR: 0.75}
    tokens = scored([(0, cell, True, 2 * r - 5.0, -5.0) for cell, r in rewards.items()])
    losses, _ = objective_loss(settings(name, alpha=0.0), tokens, NOISED, ONE)
    plain = sum(w * math.log1p(math.exp((rewards[b] if b is not None else 0) - rewards[a])) for w, a, b in expected)
    assert_close(losses.item(), plain, rtol=1e-6, atol=0)


def test_mmedpo_falls_back_to_the_clean_image_and_weighs_its_rows():
    tokens = scored([(0, CC, False, -1.0, -1.0), (0, CR, False, -1.0, -2.0)])
    losses, _ = objective_loss(settings("mmedpo"), tokens, PLAIN, torch.tensor([3.0]))
    assert_close(losses.item(), 3.0 * math.log1p(math.exp(0.5)), rtol=1e-6, atol=0)


def test_rrpo_takes_the_forward_kl_only():
    tokens = scored([(0, CC, True, -1.0, -1.0), (0, CR, True, -1.0, -1.0)], kl=[(0, 0.3, 0.9)])
    losses, _ = objective_loss(settings("rrpo", alpha=1.0, kl_lambda=0.25), tokens, PLAIN, ONE)
    assert_close(losses.item(), math.log(2.0) + 0.3, rtol=1e-6, atol=0)


def test_nll_is_normalised_by_the_length_of_the_whole_chosen_response():
    tokens = scored([(0, CC, True, -1.0, 0.0), (0, CC, False, -3.0, 0.0), (1, CR, True, -9.0, 0.0)])
    losses, report = objective_loss(
        settings("mask_dpo", nll_weight=0.5), tokens, torch.tensor([False] * 2), torch.ones(2)
    )
    assert_close(report["terms/nll"].values, torch.tensor([2.0, 0.0]))
    assert_close(losses[0].item(), math.log1p(math.exp(0.5)) + 0.5 * 2.0, rtol=1e-6, atol=0)


SUM = PreferenceTerm("sum", (Side(0.5, (CC,)), Side(2.0, (NR, CC)), Side(-0.25, (CR,)), Side(-1.0, (NC, CR))), RESPONSE)


@pytest.mark.parametrize(
    ("noised", "added", "taken"), [(NOISED, 0.5 * 1 + 2 * 4, 0.25 * 2 + 3), (PLAIN, 0.5 * 1 + 2 * 1, 0.25 * 2 + 2)]
)
def test_a_margin_is_the_signed_sum_of_its_sides(noised, added, taken):
    """Of a row without a noised image each side takes the next cell that is there."""
    found = reward_sides(SUM, torch.tensor([[1.0, 2.0, 3.0, 4.0]]), noised)
    assert [side.item() for side in found] == [added, taken]


@pytest.mark.parametrize(("margin", "accuracy"), [(1e-3, 1.0), (0.0, 0.0), (-1e-3, 0.0)])
def test_a_pair_is_right_as_soon_as_its_margin_is_positive(margin, accuracy):
    tokens = scored([(0, CC, True, margin, 0.0), (0, CR, True, 0.0, 0.0)])
    _, report = objective_loss(settings("dpo"), tokens, PLAIN, ONE)
    assert report["rewards/accuracies"].values.item() == accuracy


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_chunks_are_the_whole(count, dtype, rtol, monkeypatch):
    torch.manual_seed(0)
    head, other = (torch.nn.Linear(8, 50, dtype=dtype).requires_grad_(False) for _ in range(2))
    hidden, reference = (torch.randn(count, 8, dtype=dtype) for _ in range(2))
    tokens, weights = torch.randint(50, (count,)), torch.randn(3, count)

    def scores(by_chunks):
        mine = hidden.clone().requires_grad_()
        if by_chunks:
            found = logps_in_chunks(head, mine, tokens), *kls_in_chunks(head, other, mine, reference)
        else:
            found = token_logps(head(mine), tokens), *token_kls(head(mine), other(reference))
        sum((weight * part).sum() for weight, part in zip(weights, found, strict=True)).backward()
        return (*found, mine.grad)

    whole = scores(by_chunks=False)
    monkeypatch.setattr(equations, "HEAD_ROWS", 3)
    for one, same in zip(scores(by_chunks=True), whole, strict=True):
        assert_close(one, same, rtol=rtol, atol=rtol * same.abs().max().item())
        assert one.dtype == same.dtype


def test_gradient_of_rank_by_hand():
    """d rank / d log pi(y+) = -beta * sigmoid(-margin); the margin is 0 here, so -beta / 2."""
    tokens = scored([(0, CC, True, -1.0, -1.0), (0, CR, True, -1.0, -1.0)])
    tokens.policy_logps.requires_grad_()
    losses, _ = objective_loss(settings("mask_dpo"), tokens, PLAIN, ONE)
    losses.mean().backward()
    assert_close(tokens.policy_logps.grad, torch.tensor([-0.25, 0.25]))


def test_a_report_names_every_quantity_and_the_rows_that_have_it():
    """Row 0 has a noised image and row 1 has none; a tie is not a preference."""
    tokens = scored(
        [(0, cell, True, -1.0, -1.0) for cell in (CC, CR, NC, NR)]
        + [(1, CC, True, 0.0, -2.0), (1, CR, True, -2.0, -1.0)],
        kl=[(0, 0.1, 0.2), (4, 0.3, 0.4)],
    )
    chosen = settings("fire_mpo", nll_weight=0.5)
    _, report = objective_loss(chosen, tokens, torch.tensor([True, False]), torch.ones(2))
    noised = {"terms/visual", "rewards/accuracies_visual", "rewards/margins_visual"}
    everywhere = {"terms/rank", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected"}
    everywhere |= {"terms/kl_forward", "terms/kl_reverse", "terms/nll"}
    rows = {name: entry.applies.tolist() for name, entry in report.items()}
    assert rows == {name: [True, name in everywhere] for name in everywhere | noised}
    assert report["rewards/accuracies"].values.tolist() == [0.0, 1.0]
    assert report["rewards/chosen"].values.tolist() == [0.0, 1.0]
    assert report["rewards/rejected"].values.tolist() == [0.0, -0.5]
    assert report["terms/nll"].values.tolist() == [1.0, 0.0]


def test_a_term_counts_in_the_pass_that_has_its_tokens():
    tokens = scored([(0, CC, True, 0.0, -2.0), (0, CR, True, -3.0, -1.0)])
    tokens.terms = torch.tensor([[False], [True]])
    losses, report = equations.objective_loss(settings("fire_mpo", alpha=0.0), tokens, NOISED, ONE)
    assert_close(losses.item(), 0.1 * math.log(2.0), rtol=1e-6, atol=0)
    assert (report["terms/rank"].applies.item(), report["terms/visual"].applies.item()) == (False, True)


def test_the_report_of_a_batch_sums_what_its_passes_have():
    def part(values, applies):
        return {"terms/rank": RowTerm(torch.tensor(values), torch.tensor(applies))}

    nan = float("nan")
    total = add_reports([part([1.0, nan, nan], [True, False, False]), part([2.0, 4.0, nan], [True, True, False])])
    assert total.keys() == {"terms/rank"}
    assert total["terms/rank"].values.tolist() == [3.0, 4.0, 0.0]
    assert total["terms/rank"].applies.tolist() == [True, True, False]
