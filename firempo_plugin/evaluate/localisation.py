"""Reward localisation: whether what training raised are the phrases, and not whatever else an answer holds.

The reward of a token is log pi - log ref, of the model against its reference.
"""

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

from ..settings import config_key
from .measure import Column, Measure

if TYPE_CHECKING:  # the table of measures is read where no torch is wanted
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Over whose responses, and against which reference; `divergence` takes the same."""

    dataset: str = config_key(MISSING, "pairwise set, as for training")
    dataset_dir: str = config_key("data", "its folder")
    reference: str | None = config_key(
        None,
        "what to compare a model with that was trained as a whole, as a model_name_or_path; null: the model without "
        "its adapter",
    )


def phrase_rank(rewards: "Tensor", in_phrase: "Tensor") -> float | None:
    """Where the phrase tokens of a response rank among all its tokens, the highest reward on top.

    The share of pairs of a phrase token and another token of the response in which the phrase token has the higher
    reward, a tie counting half: the area under the ROC curve, or the phrase tokens' mean rank, scaled so that 1 is
    all phrase tokens on top, 0 all at the bottom, and 0.5 what chance gives.

    Args:
        rewards: [T] log pi - log ref of the response's tokens.
        in_phrase: [T] bool.

    Returns:
        None where the response has no phrase token, or no other one: there is nothing to rank.
    """
    inside, outside = rewards[in_phrase].double(), rewards[~in_phrase].double()
    if not len(inside) or not len(outside):
        return None
    difference = inside[:, None] - outside[None, :]
    wins = (difference > 0).double() + (difference == 0).double() / 2
    return float(wins.mean())


def mean_rewards(rewards: "Tensor", in_phrase: "Tensor") -> dict[str, float | None]:
    """Mean reward of the phrase tokens and of the others; None where there are none."""
    parts = {"phrase": rewards[in_phrase], "other": rewards[~in_phrase]}
    return {name: float(part.double().mean()) if len(part) else None for name, part in parts.items()}


LOCALISATION = Measure(
    "localisation",
    2,  # the version: raised also when other values come of where the model is run
    (Column("Localisation", "phrase_rank"),),
    options=Options,
    choices={
        "reward": "log pi - log ref of each token of the chosen response, end of turn included, clean image",
        "phrase_rank": "share of pairs of a phrase token and another token in which the phrase token has the "
        "higher reward, a tie counting half",
    },
)
