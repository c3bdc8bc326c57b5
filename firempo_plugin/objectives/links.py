"""What turns a margin into a loss, elementwise over tensors; imports torch only.

Symbols: m a margin of rewards r, which contain beta; e how often a preference is taken to be the wrong way round.

    (6)  logistic = -log sigmoid(m)                                       DPO, arXiv 2305.18290
    (7)  smoothed = (1 - e) * logistic(m) + e * logistic(-m)              cDPO, conservative DPO
    (8)  robust   = [(1 - e) * logistic(m) - e * logistic(-m)] / (1 - 2e) arXiv 2403.00409
    (9)  hinge    = max(0, 1 - m)                                         SLiC, arXiv 2305.10425
    (10) square   = (m / beta - 1 / (2 beta))^2                           IPO, arXiv 2310.12036
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from .terms import Link


def logistic(margin: Tensor, beta: float, smoothing: float) -> Tensor:
    """(6)."""
    return -F.logsigmoid(margin)


def smoothed(margin: Tensor, beta: float, smoothing: float) -> Tensor:
    """(7): the expected (6) of a preference that is the wrong way round with probability e."""
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def robust(margin: Tensor, beta: float, smoothing: float) -> Tensor:
    """(8): of preferences that are flipped with probability e, its expectation is (6) of the true ones; it has no
    lower bound."""
    return (smoothing * F.logsigmoid(-margin) - (1 - smoothing) * F.logsigmoid(margin)) / (1 - 2 * smoothing)


def hinge(margin: Tensor, beta: float, smoothing: float) -> Tensor:
    """(9)."""
    return F.relu(1 - margin)


def square(margin: Tensor, beta: float, smoothing: float) -> Tensor:
    """(10): m / beta is the margin of log-ratios; 1 / (4 beta^2) at m = 0."""
    return ((margin - 0.5) / beta).square()


LINKS: dict[Link, Callable[[Tensor, float, float], Tensor]] = {
    "logistic": logistic,
    "smoothed": smoothed,
    "robust": robust,
    "hinge": hinge,
    "square": square,
}
