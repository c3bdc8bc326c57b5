"""Ranks of phrase tokens, worked out by hand."""

import pytest
import torch

from firempo_plugin.evaluate.localisation import mean_rewards, phrase_rank


@pytest.mark.parametrize(
    ("rewards", "phrase", "rank"),
    [
        ([3.0, 2.0, 1.0, 0.0], [0, 1], 1.0),
        ([3.0, 2.0, 1.0, 0.0], [2, 3], 0.0),
        ([3.0, 2.0, 1.0, 0.0], [0, 3], 0.5),
        ([3.0, 2.0, 1.0, 0.0], [1], 2 / 3),
        ([0.0, 0.0, 0.0, 0.0], [1], 0.5),
        ([1.0, 1.0, 0.0], [0], 0.75),
        ([-5.0, -1.0], [1], 1.0),
    ],
)
def test_ranks_by_hand(rewards, phrase, rank):
    in_phrase = torch.zeros(len(rewards), dtype=torch.bool)
    in_phrase[phrase] = True
    assert phrase_rank(torch.tensor(rewards), in_phrase) == pytest.approx(rank)


def test_only_the_order_matters():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(40, generator=generator)
    in_phrase = torch.rand(40, generator=generator) < 0.3
    assert phrase_rank(rewards, in_phrase) == phrase_rank(rewards.exp() * 7 - 2, in_phrase)
    assert phrase_rank(rewards, in_phrase) == pytest.approx(1 - phrase_rank(-rewards, in_phrase))


def test_nothing_to_rank():
    assert phrase_rank(torch.ones(3), torch.zeros(3, dtype=torch.bool)) is None
    assert phrase_rank(torch.ones(3), torch.ones(3, dtype=torch.bool)) is None


def test_means():
    in_phrase = torch.tensor([True, False, False])
    assert mean_rewards(torch.tensor([2.0, 1.0, 0.0]), in_phrase) == {"phrase": 2.0, "other": 0.5}
    assert mean_rewards(torch.tensor([2.0]), torch.tensor([True])) == {"phrase": 2.0, "other": None}
