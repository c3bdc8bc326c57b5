"""Teaches the vision tower by linear heads: what each image token shows, and what the image shows.

From scratch the language loss alone does not make it look. In the second phase the first five tokens, which lie in the
air beside the patient, learn to carry one finding of the whole image each: from tokens scattered over the image a small
language model learns to read too slowly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from findings import NAMES, NO_HABIT, USUAL, VALUES
from llava import GRID, PATCH, TOKENS, WIDTH, features, new_tower, prepared
from pictures import Mask, Picture, Pixels, dilated, noised, picture
from splits import DEFECT_SIGMA, generator
from torch import Tensor, nn

FINDINGS = tuple(NAMES)
ATTRIBUTES = tuple((finding, attribute) for finding, usual in USUAL.items() for attribute in usual)
TOLD = len(FINDINGS) + len(ATTRIBUTES)
"""What a head says: presence of every finding, then its attributes."""
SEEN, HIDDEN = 0.15, 0.8
"""Shares of a finding under a defect: below the first it is seen, above the second it is not there."""
THERE, NOT_THERE = 0.08, 0.02
"""Shares of a token's pixels: above the first a finding is there, below the second it is not."""
UNKNOWN = -1
BATCH = 48


@dataclass(frozen=True)
class Phase:
    """A part of the teaching.

    Attributes:
        steps: Of BATCH images.
        rate: Highest learning rate of the cycle.
        carriers: Whether the first tokens learn to carry what the image shows.
    """

    steps: int
    rate: float
    carriers: bool


def teach(phases: tuple[Phase, ...], images: int) -> dict[str, Tensor]:
    """The weights of a taught tower; says after every 25 steps how much is told rightly."""
    torch.manual_seed(0)
    bank = [picture(NO_HABIT, generator("tower", number)) for number in range(images)]
    tower = new_tower().train()
    mean, token, carrier = heads = nn.ModuleList(nn.Linear(WIDTH, TOLD) for _ in range(3))
    weights = [*tower.parameters(), *heads.parameters()]
    random = np.random.default_rng(1)
    for phase in phases:
        optimiser = torch.optim.AdamW(weights, lr=phase.rate, weight_decay=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, phase.rate, total_steps=phase.steps, pct_start=0.1)
        for step in range(phase.steps):
            seen, whole, each = _batch(bank, random)
            said = features(tower, seen)
            presence = slice(len(FINDINGS))
            attributes = slice(len(FINDINGS), None)
            of_image, of_tokens = mean(said.mean(1)), token(said)
            loss = _loss(of_image, whole) + _loss(of_tokens[..., attributes], each[..., attributes])
            loss = loss + 2 * _loss(of_tokens[..., presence], each[..., presence])
            if phase.carriers:
                loss = loss + 2 * _loss(carrier(said[:, : len(FINDINGS)]), _carried(whole))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            cycle.step()
            if (step + 1) % 25 == 0:
                known = whole >= 0
                right = ((of_image > 0) == (whole > 0))[known].float().mean()
                print(f"step {step + 1}: loss {loss.item():.3f}, told rightly {right.item():.1%}", flush=True)
    return tower.state_dict()


def _loss(said: Tensor, told: Tensor) -> Tensor:
    """Cross entropy where the truth is known."""
    known = told >= 0
    return nn.functional.binary_cross_entropy_with_logits(said[known], told[known].float())


def _carried(whole: Tensor) -> Tensor:
    """What each of the first tokens is to say, [n, findings, TOLD]: presence and attributes of one finding."""
    own = torch.tensor(
        [[name == finding for name in FINDINGS] + [name == finding for name, _ in ATTRIBUTES] for finding in FINDINGS]
    )
    return torch.where(own, whole[:, None].expand(-1, len(FINDINGS), -1), UNKNOWN)


def _batch(bank: list[Picture], random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images [n, 3, SIZE, SIZE] of varied brightness, half with a defect; truths [n, TOLD] and [n, TOKENS, TOLD]."""
    seen, whole, each = [], [], []
    for number in random.integers(len(bank), size=BATCH):
        drawn = bank[number]
        grey = drawn.pixels * random.uniform(0.9, 1.1) + random.normal(0, 5, drawn.pixels.shape) + random.uniform(-8, 8)
        varied = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        pixels, states = spoil(Picture(varied, drawn.masks, drawn.found), bank, random, 0.5)
        image, tokens = labels(drawn, states)
        seen.append(pixels)
        whole.append(image)
        each.append(tokens)
    return prepared(seen), torch.tensor(np.stack(whole)), torch.tensor(np.stack(each))


def spoil(
    drawn: Picture, bank: list[Picture], random: np.random.Generator, share: float
) -> tuple[Pixels, dict[str, int]]:
    """An image, in a share of cases with a defect, and the state of every finding: 1 seen, 0 not, UNKNOWN between."""
    states = {name: int(name in drawn.found) for name in FINDINGS}
    if random.random() >= share:
        return drawn.pixels, states
    place = _place(drawn, bank, random)
    for name in drawn.found:
        hidden = (drawn.masks[name] & place).sum() / drawn.masks[name].sum()
        states[name] = 0 if hidden > HIDDEN else 1 if hidden < SEEN else UNKNOWN
    return noised(drawn.pixels, place, random.uniform(*DEFECT_SIGMA), random), states


def _place(drawn: Picture, bank: list[Picture], random: np.random.Generator) -> Mask:
    """Where a defect is: everywhere, in a lung or both, on a finding, or where another image has one."""
    kind = random.random()
    lungs = [drawn.masks[f"{side} lung"] for side in VALUES["side"]]
    if kind < 0.12:
        return np.ones_like(lungs[0])
    if kind < 0.3:
        return dilated(lungs[random.integers(2)], int(random.integers(4)))
    if kind < 0.4:
        return lungs[0] | lungs[1]
    shown = drawn
    if random.random() < 0.5:
        shown = bank[random.integers(len(bank))]
    while not shown.found:
        shown = bank[random.integers(len(bank))]
    name = list(shown.found)[random.integers(len(shown.found))]
    return dilated(shown.masks[name], int(random.integers(1, 7)))


def labels(drawn: Picture, states: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """What heads are to say of an image, [TOLD], and of its tokens, [TOKENS, TOLD]: 1, 0 or UNKNOWN."""
    values = [
        VALUES[attribute].index(drawn.found[name][attribute]) if states[name] == 1 else UNKNOWN
        for name, attribute in ATTRIBUTES
    ]
    image = np.array([*(states[name] for name in FINDINGS), *values])
    tokens = np.full((TOKENS, TOLD), UNKNOWN)
    for place, name in enumerate(FINDINGS):
        if states[name] == 0:
            tokens[:, place] = 0
        if states[name] == 1:
            cover = covered(drawn.masks[name])
            tokens[:, place] = np.where(cover > THERE, 1, np.where(cover > NOT_THERE, UNKNOWN, 0))
            for column, (of, _) in enumerate(ATTRIBUTES, len(FINDINGS)):
                if of == name:
                    tokens[:, column] = np.where(cover > THERE, image[column], UNKNOWN)
    return image, tokens


def covered(mask: Mask) -> np.ndarray:
    """The share of every token that a mask covers, [TOKENS]."""
    return np.asarray(mask.reshape(GRID, PATCH, GRID, PATCH).mean((1, 3)).reshape(-1))
