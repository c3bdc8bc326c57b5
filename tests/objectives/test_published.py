"""Every objective against what a public function gave (published/README.md), loss and gradients, in float64.

The numbers were computed by code that shares nothing with this package, nor with the formulas of tests/relatives.py.
"""

import json
from pathlib import Path

import pytest
import torch
from cells import CELLS, gradients, scored
from relatives import Cell
from torch.testing import assert_close

from firempo_plugin.objectives.losses import objective_loss
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

FOLDER = Path(__file__).parent / "published"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
INPUTS = json.loads(FILES.pop("inputs").read_text(encoding="utf-8"))["rows"]
WITHOUT = ("symmpo_4", "fire_mpo_difference", "fire_mpo_indifferent")
"""Held to their formula alone: SymMPO's code cannot leave its consistency out, and the others are this package's."""


def rows(fixture):
    """The rows of the inputs, with a noised image or without, as the fixture's function saw them."""

    def cell(number, name):
        tokens = INPUTS[number][name]
        policy, reference, kls, reverse_kls = (
            torch.tensor(tokens[key], dtype=torch.float64)
            for key in ("policy", "reference", "forward_kl", "reverse_kl")
        )
        weight = torch.ones_like(policy)
        if "token_weights" in fixture:
            side = "chosen" if name[1] == "c" else "rejected"
            weight = torch.tensor(fixture["token_weights"][number][side], dtype=torch.float64)
        for leaf in (policy, kls, reverse_kls):
            leaf.requires_grad_()
        return Cell(policy, reference, torch.tensor(tokens["phrase"]).bool(), kls, reverse_kls, weight)

    return [
        {name: cell(number, name) for name in (CELLS if noised else CELLS[:2])}
        for number, noised in enumerate(fixture["noised"])
    ]


def published_gradients(fixture, found):
    """As `gradients`; what the fixture does not name is 0."""
    return [
        torch.tensor(gradient.get(name, {}).get(key, [0.0] * len(cell.policy)), dtype=torch.float64)
        for cells, gradient in zip(found, fixture["gradients"], strict=True)
        for name, cell in cells.items()
        for key in ("policy", "forward_kl", "reverse_kl")
    ]


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_the_public_function_gave(name):
    fixture = json.loads(FILES[name].read_text(encoding="utf-8"))
    numbers = {"alpha": 0.0, "gamma": 0.0, "kl_lambda": 0.5, "kl_scope": "phrase", "nll_weight": 0.0}
    settings = Settings(OBJECTIVES[name], **(numbers | fixture["settings"]))
    found = rows(fixture)
    weight = torch.tensor(fixture.get("weight", [1.0] * len(found)), dtype=torch.float64)
    losses, _ = objective_loss(settings, scored(found, settings), torch.tensor(fixture["noised"]), weight)
    losses.mean().backward()
    if "losses" in fixture:
        assert_close(losses, torch.tensor(fixture["losses"], dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert_close(losses.mean().item(), fixture["loss"], rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(gradients(found), published_gradients(fixture, found), strict=True):
        assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_every_objective_is_held_to_a_public_function_or_named():
    assert set(OBJECTIVES) == set(FILES) | set(WITHOUT)
    assert not set(FILES) & set(WITHOUT)


@pytest.mark.parametrize("name", FILES)
def test_a_fixture_names_its_origin_and_every_number_of_its_objective(name):
    fixture = json.loads(FILES[name].read_text(encoding="utf-8"))
    assert all(fixture[key] for key in ("source", "called", "date"))
    assert fixture["source"].split(" (")[0] in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert OBJECTIVES[name].reads <= set(fixture["settings"])
