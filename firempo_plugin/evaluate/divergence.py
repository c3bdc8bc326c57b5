"""Divergence: how far a model has gone from its reference, over the responses that it was to prefer.

KL(pi || ref) at a token = sum over the vocabulary of pi log (pi / ref), in nats; the mean over a response's tokens
"""

from .localisation import Options
from .measure import Column, Measure

DIVERGENCE = Measure(
    "divergence",
    2,  # the version: raised also when other values come of where the model is run
    (Column("KL from reference", "kl", higher_is_better=None),),
    options=Options,
    choices={"kl": "mean of KL(pi || ref) over the tokens of the chosen response, end of turn included, clean image"},
)
