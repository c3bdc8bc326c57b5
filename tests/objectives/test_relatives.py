"""Every relative of FiRe-MPO against its published formula (tests/relatives.py), loss and gradients, in float64."""

import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from cells import CELLS, gradients, scored
from relatives import DEFAULTS, PUBLISHED, Cell, Numbers
from torch.testing import assert_close

from firempo_plugin.objectives.links import LINKS
from firempo_plugin.objectives.losses import objective_loss
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import KLTerm

ELSEWHERE = {"fire_mpo", "fire_mpo_v1", "fire_mpo_v2", "rrpo", "mask_dpo", "dpo", "copo", "mdpo", "mmedpo"}
"""By hand in test_losses.py."""


def rows(scale=3.0):
    """Rows of random log-probabilities and KLs, with and without a noised image, two with weights of their own."""
    generator = torch.Generator().manual_seed(7)

    def logps(length):
        return -scale * torch.rand(length, dtype=torch.float64, generator=generator)

    found = []
    for lengths, noised in (((5, 9), True), ((7, 2), True), ((1, 4), False)):
        names = CELLS if noised else CELLS[:2]
        phrases = [torch.rand(length, generator=generator) < 0.5 for length in lengths]
        found.append(
            {
                name: Cell(
                    logps(lengths[i % 2]).requires_grad_(),
                    logps(lengths[i % 2]),
                    phrases[i % 2],
                    *((-logps(lengths[i % 2])).requires_grad_() for _ in range(2)),
                    torch.ones(lengths[i % 2], dtype=torch.float64) if len(found) == 1 else -logps(lengths[i % 2]),
                )
                for i, name in enumerate(names)
            }
        )
    return found


NUMBERS = {
    "usual": Numbers(),
    "odd": Numbers(
        beta=0.7,
        k=0.3,
        margin=1.3,
        length=0.2,
        smoothing=0.3,
        nll=0.4,
        sequence_kl=1.7,
        floor=0.8,
        consistency=0.3,
        gamma=0.6,
        alpha=0.2,
        lam=0.3,
    ),
}


def settings_of(name, numbers):
    return Settings(
        OBJECTIVES[name],
        beta=numbers.beta,
        alpha=numbers.alpha,
        gamma=numbers.gamma,
        kl_lambda=numbers.lam,
        kl_scope="phrase",
        nll_weight=numbers.nll,
        label_smoothing=numbers.smoothing,
        phrase_weight=numbers.k,
        target_margin=numbers.margin,
        length_weight=numbers.length,
        sequence_kl_weight=numbers.sequence_kl,
        floor_weight=numbers.floor,
        consistency_weight=numbers.consistency,
    )


@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_the_published_loss(name, numbers):
    settings = settings_of(name, numbers)
    ours, plain = rows(), rows()
    has_noised = torch.tensor(["nc" in cells for cells in ours])
    weight = torch.tensor([1.0, 2.5, 0.5], dtype=torch.float64)
    losses, report = objective_loss(settings, scored(ours, settings), has_noised, weight)
    losses.mean().backward()
    total = torch.zeros((), dtype=torch.float64)
    for row, cells in enumerate(plain):
        parts = PUBLISHED[name](cells, numbers)
        if numbers.nll:
            parts["nll"] = (numbers.nll, -cells["cc"].policy.mean())
        total = total + weight[row] / 3 * sum(share * value for share, value in parts.values())
        for part, (_, value) in parts.items():
            assert report[f"terms/{part}"].applies[row]
            assert_close(report[f"terms/{part}"].values[row], value.detach(), rtol=1e-9, atol=1e-9)
        missing = {term.name for term in settings.terms if not isinstance(term, KLTerm)} - set(parts)
        assert not any(report[f"terms/{part}"].applies[row] for part in missing)
    total.backward()
    assert_close(losses.mean(), total, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(ours), gradients(plain), strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_every_relative_is_held_to_a_published_formula():
    assert set(OBJECTIVES) == set(PUBLISHED) | ELSEWHERE


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_defaults_are_those_of_its_paper(name):
    fields = {
        "beta": "beta",
        "nll": "nll_weight",
        "k": "phrase_weight",
        "sequence_kl": "sequence_kl_weight",
        "floor": "floor_weight",
    }
    assert OBJECTIVES[name].defaults == {fields[key]: value for key, value in DEFAULTS.get(name, {}).items()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_formula_says_what_the_terms_are(name):
    """The formula is computed as it is written, of a row with all four cells."""
    numbers, formula = NUMBERS["odd"], OBJECTIVES[name].formula
    settings = settings_of(name, numbers if "NLL" in formula else replace(numbers, nll=0.0))
    found = rows()[:1]
    (loss,), _ = objective_loss(settings, scored(found, settings), torch.tensor([True]), torch.ones(1))
    cell = found[0]["cc"]
    forward_kl, reverse_kl = cell.kls[cell.phrase].sum(), cell.reverse_kls[cell.phrase].sum()
    links = {"L": "logistic", "L_e": "smoothed", "R_e": "robust", "H": "hinge", "S": "square"}
    symbols = {
        **{sign: partial(LINKS[link], beta=0.7, smoothing=0.3) for sign, link in links.items()},
        **found[0],
        "r": lambda cell: 0.7 * cell.ratio,
        "r_P": lambda cell: 0.7 * cell.ratios[cell.phrase].sum(),
        "r_k": lambda cell: 0.7 * cell.weighed(0.3),
        "L_h": partial(LINKS["smoothed"], beta=0.7, smoothing=0.5),
        "mr": lambda cell: 0.7 * cell.mean_ratio(),
        "mr_k": lambda cell: 0.7 * cell.mean_ratio(0.3),
        "D": lambda cell: 0.7 * cell.kls.sum(),
        "sg": lambda value: value.detach(),
        "neg": lambda reward: torch.clamp(-reward, min=0.0),
        "d": 1.7,
        "f": 0.8,
        "q": 0.3,
        "mp": lambda cell: 0.7 * cell.mean_policy,
        "len": lambda cell: len(cell.policy),
        "o": lambda cell: torch.logit(cell.mean_policy.exp()),
        "lse": lambda *rewards: torch.stack(rewards).logsumexp(0),
        "KL": forward_kl if "lambda = 1" in formula else 0.3 * forward_kl + 0.7 * reverse_kl,
        "NLL": -found[0]["cc"].policy.mean(),
        "nll_weight": 0.4,
        "alpha": 0.2,
        "margin": 1.3,
        "a": 0.2,
        "beta": 0.7,
        "gamma": 0.6,
    }
    text = formula.split(", or ")[0].removesuffix(" with lambda = 1")
    lengths = re.sub(r"\|(..)\|", r"len(\1)", text).replace("^", "**")
    written = eval(re.sub(r"\b(alpha|beta|gamma|nll_weight|[adfq]|[0-9.]+) (?=[\w(])", r"\1 * ", lengths), symbols)
    assert_close(loss, written, rtol=1e-9, atol=1e-9)
    assert set(re.findall(r"\b[cnb][cr]\b", text)) == {CELLS[cell] for cell in settings.cells(has_noised=True)}
