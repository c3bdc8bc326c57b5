"""The relatives of FiRe-MPO as they were published: plainly, over the log-probabilities of a row's tokens.

Shares no code with the package. A cell is named as in its formulas: cc, cr, nc, nr, bc, br for {clean,
noised, no} image and {chosen, rejected} response.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Cell:
    """The tokens of a whole response: [n] log pi, log ref, whether it lies in a phrase, both KLs, what it counts."""

    policy: Tensor
    reference: Tensor
    phrase: Tensor
    kls: Tensor
    reverse_kls: Tensor
    weight: Tensor

    @property
    def ratios(self) -> Tensor:
        """[n] of each token, as often as it counts."""
        return self.weight * (self.policy - self.reference)

    @property
    def ratio(self) -> Tensor:
        """R: the log-ratio of the response."""
        return self.ratios.sum()

    def weighed(self, k: float) -> Tensor:
        """The log-ratio with every token of a phrase k times."""
        return k * self.ratios[self.phrase].sum() + self.ratios[~self.phrase].sum()

    def mean_ratio(self, k: float = 1.0) -> Tensor:
        """The same as a mean."""
        return self.weighed(k) / (k * self.weight[self.phrase].sum() + self.weight[~self.phrase].sum())

    @property
    def mean_policy(self) -> Tensor:
        """The mean of log pi."""
        return (self.weight * self.policy).sum() / self.weight.sum()


Cells = dict[str, Cell]
"""Those that a row has."""


@dataclass
class Numbers:
    """The hyperparameters, with the default of each stage argument."""

    beta: float = 0.1
    k: float = 4.0
    margin: float = 0.5
    length: float = 0.05
    smoothing: float = 0.1
    nll: float = 0.0
    sequence_kl: float = 0.5
    floor: float = 50.0
    consistency: float = 1e-4
    gamma: float = 0.1
    alpha: float = 0.01
    lam: float = 0.5


Parts = dict[str, tuple[float, Tensor]]
"""Weight and value of each term of a loss, by name."""


def dpo(margin: Tensor) -> Tensor:
    """-log sigmoid, written out."""
    return torch.log(1 + torch.exp(-margin))


def ipo(c: Cells, n: Numbers) -> Parts:
    return {"rank": (1.0, (c["cc"].ratio - c["cr"].ratio - 1 / (2 * n.beta)) ** 2)}


def ipo_mean(c: Cells, n: Numbers) -> Parts:
    means = [c[name].mean_ratio() for name in ("cc", "cr")]
    return {"rank": (1.0, (means[0] - means[1] - 1 / (2 * n.beta)) ** 2)}


def slic(c: Cells, n: Numbers) -> Parts:
    margin = n.beta * (c["cc"].ratio - c["cr"].ratio)
    return {"rank": (1.0, torch.maximum(torch.zeros_like(margin), 1 - margin))}


def cdpo(c: Cells, n: Numbers) -> Parts:
    margin = n.beta * (c["cc"].ratio - c["cr"].ratio)
    return {"rank": (1.0, (1 - n.smoothing) * dpo(margin) + n.smoothing * dpo(-margin))}


def robust_dpo(c: Cells, n: Numbers) -> Parts:
    margin, e = n.beta * (c["cc"].ratio - c["cr"].ratio), n.smoothing
    return {"rank": (1.0, ((1 - e) * dpo(margin) - e * dpo(-margin)) / (1 - 2 * e))}


def s_dpo(c: Cells, n: Numbers) -> Parts:
    negatives = [torch.exp(n.beta * (c[name].ratio - c["cc"].ratio)) for name in ("cr", "nc", "nr") if name in c]
    return {"rank": (1.0, dpo(-torch.log(sum(negatives))))}


def orpo(c: Cells, n: Numbers) -> Parts:
    """Its lambda is beta, its NLL that of pref_ftx."""
    p, q = (torch.exp(c[name].mean_policy) for name in ("cc", "cr"))
    return {"rank": (n.beta, dpo(torch.log((p / (1 - p)) / (q / (1 - q)))))}


def ddpo(c: Cells, n: Numbers) -> Parts:
    return {"rank": (1.0, dpo(n.beta * (c["cc"].weighed(n.k) - c["cr"].weighed(n.k))))}


def chip_no_kl(c: Cells, n: Numbers) -> Parts:
    """One sigmoid over the sum of the text and of the image margin."""
    if "nc" not in c:
        return {}
    text, image = (c["cc"].weighed(n.k) - c[name].weighed(n.k) for name in ("cr", "nc"))
    return {"rank": (1.0, dpo(n.beta * (text + image)))}


def simpo(c: Cells, n: Numbers) -> Parts:
    """Its gamma in units of the margin, not of beta."""
    return {"rank": (1.0, dpo(n.beta * c["cc"].mean_policy - n.beta * c["cr"].mean_policy - n.margin))}


def r_dpo_length(c: Cells, n: Numbers) -> Parts:
    longer = len(c["cc"].policy) - len(c["cr"].policy)
    return {"rank": (1.0, dpo(n.beta * (c["cc"].ratio - c["cr"].ratio) + n.length * longer))}


def plain_dpo(c: Cells, n: Numbers) -> Parts:
    return {"rank": (1.0, dpo(n.beta * (c["cc"].ratio - c["cr"].ratio)))}


def re_align(c: Cells, n: Numbers) -> Parts:
    image = {"image": (1.0, dpo(n.beta * (c["cc"].ratio - c["nc"].ratio)))} if "nc" in c else {}
    return plain_dpo(c, n) | image


def mdpo_as_benchmarked(c: Cells, n: Numbers) -> Parts:
    """The "image" term runs the clean image too, and so is the DPO term once more."""
    return {"rank": (2.0, plain_dpo(c, n)["rank"][1]), "anchor": (1.0, dpo(n.beta * c["cc"].ratio))}


def ic_vco_single(c: Cells, n: Numbers) -> Parts:
    """1.75 times the mean of the two preferences, and 1.75 times that of the two anchors, over phrases."""
    r = {name: n.beta * cell.ratios[cell.phrase].sum() for name, cell in c.items()}
    parts = {"rank": (1.75 / 2, dpo(r["cc"] - r["cr"])), "anchor": (1.75 / 2, dpo(r["cc"]))}
    if "nr" in c:
        parts |= {"visual": (1.75 / 2, dpo(r["nr"] - r["nc"])), "anchor_noised": (1.75 / 2, dpo(r["nr"]))}
    return parts


def symmpo_4(c: Cells, n: Numbers) -> Parts:
    """DPO + 1/2 [first pair + second pair] + two anchors, the first pair being DPO's own here."""
    r = {name: n.beta * cell.ratio for name, cell in c.items()}
    parts = {"rank": (1 + 1 / 2, dpo(r["cc"] - r["cr"])), "anchor": (1.0, dpo(r["cc"]))}
    if "nr" in c:
        parts |= {"visual": (1 / 2, dpo(r["nr"] - r["nc"])), "anchor_noised": (1.0, dpo(r["nr"]))}
    return parts


def symmpo(c: Cells, n: Numbers) -> Parts:
    """The same, and the squared difference of the two margins of log-ratios."""
    parts = symmpo_4(c, n)
    if "nr" in c:
        first, second = c["cc"].ratio - c["cr"].ratio, c["nr"].ratio - c["nc"].ratio
        parts["consistency"] = (n.consistency, (first - second) ** 2)
    return parts


def s_vco(c: Cells, n: Numbers) -> Parts:
    """Each response is likelier with its own image than with none, and with none than with the other's."""
    if "nc" not in c:
        return {}
    r = {name: n.beta * cell.ratio for name, cell in c.items()}
    return {
        "image": (1.0, dpo(r["cc"] - r["bc"])),
        "no_image": (1.0, dpo(r["bc"] - r["nc"])),
        "image_noised": (1.0, dpo(r["nr"] - r["br"])),
        "no_image_clean": (1.0, dpo(r["br"] - r["cr"])),
    }


def tdpo1(c: Cells, n: Numbers) -> Parts:
    """The margin of the sequential KLs is taken off that of the log-ratios."""
    ratios, kls = c["cc"].ratio - c["cr"].ratio, c["cr"].kls.sum() - c["cc"].kls.sum()
    return {"rank": (1.0, dpo(n.beta * (ratios - n.sequence_kl * kls)))}


def tdpo2(c: Cells, n: Numbers) -> Parts:
    """Without a gradient through the chosen response's."""
    ratios, kls = c["cc"].ratio - c["cr"].ratio, c["cr"].kls.sum() - c["cc"].kls.sum().detach()
    return {"rank": (1.0, dpo(n.beta * (ratios - n.sequence_kl * kls)))}


def chip(c: Cells, n: Numbers) -> Parts:
    """Text margin, image margin and sequential KLs in one sigmoid."""
    if "nc" not in c:
        return {}
    text, image = (c["cc"].weighed(n.k) - c[name].weighed(n.k) for name in ("cr", "nc"))
    kls = c["cr"].kls.sum() - c["cc"].kls.sum().detach()
    return {"rank": (1.0, dpo(n.beta * (text + image - n.sequence_kl * kls)))}


def dpop(c: Cells, n: Numbers) -> Parts:
    fallen = torch.maximum(torch.zeros_like(c["cc"].ratio), -c["cc"].ratio)
    return {"rank": (1.0, dpo(n.beta * (c["cc"].ratio - c["cr"].ratio - n.floor * fallen)))}


def rrg_dpo(c: Cells, n: Numbers) -> Parts:
    """Means over the tokens, those of phrases weighed."""
    chosen, rejected = c["cc"].mean_ratio(n.k), c["cr"].mean_ratio(n.k)
    fallen = torch.maximum(torch.zeros_like(chosen), -chosen)
    return {"rank": (1.0, dpo(n.beta * (chosen - rejected - n.floor * fallen)))}


def _fire_mpo(c: Cells, n: Numbers) -> tuple[Parts, dict[str, Tensor]]:
    """FiRe-MPO without its visual term, and its rewards."""
    r = {name: n.beta * cell.ratios[cell.phrase].sum() for name, cell in c.items()}
    parts = {
        "rank": (1.0, dpo(r["cc"] - r["cr"])),
        "kl_forward": (n.alpha * n.lam, c["cc"].kls[c["cc"].phrase].sum()),
        "kl_reverse": (n.alpha * (1 - n.lam), c["cc"].reverse_kls[c["cc"].phrase].sum()),
    }
    return parts, r


def fire_mpo_difference(c: Cells, n: Numbers) -> Parts:
    """By how much the clean image prefers chosen is to be more than by how much the noised one does."""
    parts, r = _fire_mpo(c, n)
    if "nr" in c:
        parts["visual"] = (n.gamma, dpo((r["cc"] - r["cr"]) - (r["nc"] - r["nr"])))
    return parts


def fire_mpo_indifferent(c: Cells, n: Numbers) -> Parts:
    """On the noised image neither response is to be preferred."""
    parts, r = _fire_mpo(c, n)
    if "nr" in c:
        parts["visual"] = (n.gamma, (dpo(r["nr"] - r["nc"]) + dpo(r["nc"] - r["nr"])) / 2)
    return parts


ALONE = (ipo, ipo_mean, slic, cdpo, robust_dpo, s_dpo, orpo, ddpo, chip_no_kl, simpo, r_dpo_length)
TOGETHER = (re_align, mdpo_as_benchmarked, ic_vco_single, symmpo_4, symmpo, s_vco)
IN_THE_MARGIN = (tdpo1, tdpo2, chip, dpop, rrg_dpo)
OWN = (fire_mpo_difference, fire_mpo_indifferent)
PUBLISHED: dict[str, Callable[[Cells, Numbers], Parts]] = {
    **{function.__name__: function for function in (*ALONE, *TOGETHER, *IN_THE_MARGIN, *OWN)},
    **dict.fromkeys(("dpo_nll", "mia_dpo", "stllava_med", "povid_stage1", "tgdpo"), plain_dpo),
}
DEFAULTS = {
    "s_dpo": {"beta": 1.0},
    "orpo": {"nll": 1.0},
    "dpo_nll": {"nll": 1.0},
    "simpo": {"beta": 2.0},
    "tdpo1": {"sequence_kl": 1.0},
    "chip": {"sequence_kl": 0.1},
    "dpop": {"beta": 0.3},
    "rrg_dpo": {"k": 5.0, "floor": 0.1},
}
"""Hyperparameters of the papers that are not the usual ones."""
