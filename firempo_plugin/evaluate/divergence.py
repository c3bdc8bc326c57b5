"""Divergence: how far a model has gone from its reference, over the responses that it was to prefer.

KL(pi || ref) at a token = sum over the vocabulary of pi log (pi / ref), in nats; the mean over a response's tokens
"""

from dataclasses import MISSING, dataclass

from ..settings import config_key
from .measure import Column, Measure


@dataclass(frozen=True)
class Options:
    """Over whose responses, and from which reference."""

    dataset: str = config_key(MISSING, "pairwise set, as for training")
    dataset_dir: str = config_key("data", "its folder")
    reference: str | None = config_key(
        None,
        "what to compare a model with that was trained as a whole, as a model_name_or_path; null: the model without "
        "its adapter",
    )


DIVERGENCE = Measure(
    "divergence",
    1,  # the version: raised also when other values come of where the model is run
    (Column("KL from reference", "kl", higher_is_better=None),),
    options=Options,
    choices={"kl": "mean of KL(pi || ref) over the tokens of the chosen response, end of turn included, clean image"},
)
