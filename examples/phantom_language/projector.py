"""Teaches the projector to say, at every image token, the words of what is there, in the language model's embeddings.

The tokens that carry a finding of the whole image say it with its attributes, or "no" and its name; others say what
covers them, or "clear".
"""

from typing import Any

import numpy as np
import torch
from findings import NAMES, NO_HABIT
from llava import TOKENS, see
from pictures import Picture, picture
from splits import generator
from torch import Tensor
from tower import FINDINGS, NOT_THERE, THERE, UNKNOWN, covered, spoil

RATE, ROWS = 2e-3, 2048
"""Highest learning rate; tokens of a step."""
DEFECTS = 0.4
WEIGHT = 5.0
"""Of tokens that say more than "clear"."""


def teach(model: Any, tokenizer: Any, images: int, steps: int) -> dict[str, Tensor]:
    """The weights of a taught projector; says every 100 steps what it cannot explain.

    Args:
        model: LlavaForConditionalGeneration whose tower has been taught; its projector is changed.
        tokenizer: Its own.
        images: How many to learn from.
        steps: Of ROWS tokens.
    """
    torch.manual_seed(0)
    said = Words(model.get_input_embeddings().weight.detach(), tokenizer)
    bank = [picture(NO_HABIT, generator("projector", number)) for number in range(images)]
    random = np.random.default_rng(5)
    spoiled = [spoil(drawn, bank, random, DEFECTS) for drawn in bank]
    told = [said.of(drawn, states) for drawn, (_, states) in zip(bank, spoiled, strict=True)]
    wanted = torch.cat([words for words, _ in told])
    weights = torch.cat([weight for _, weight in told])
    seen = see(model.model.vision_tower, [pixels for pixels, _ in spoiled]).flatten(0, 1)
    projector = model.model.multi_modal_projector
    optimiser = torch.optim.AdamW(projector.parameters(), lr=RATE)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    spread = wanted[weights == WEIGHT].var(0).sum()
    for step in range(steps):
        rows = torch.randint(len(seen), (ROWS,))
        off = ((projector(seen[rows]) - wanted[rows]) ** 2).sum(1)
        loss = (weights[rows] * off).sum() / weights[rows].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cycle.step()
        if (step + 1) % 100 == 0:
            unexplained = off[weights[rows] == WEIGHT].mean() / spread
            print(f"step {step + 1}: loss {loss.item():.4f}, unexplained at findings {unexplained:.1%}", flush=True)
    return projector.state_dict()


class Words:
    """What image tokens are to say.

    Args:
        embeddings: [vocabulary, width] of the language model.
        tokenizer: Its own.
    """

    def __init__(self, embeddings: Tensor, tokenizer: Any) -> None:
        self.embeddings, self.tokenizer = embeddings, tokenizer

    def word(self, text: str) -> Tensor:
        """The sum of a word's token embeddings over the root of their number, [width]."""
        ids = self.tokenizer(f" {text}", add_special_tokens=False).input_ids
        return _sum([self.embeddings[number] for number in ids])

    def of(self, drawn: Picture, states: dict[str, int]) -> tuple[Tensor, Tensor]:
        """What the tokens of an image say, [TOKENS, width], and how much each counts, [TOKENS]; 0: nothing is known."""
        said: list[list[Tensor]] = [[] for _ in range(TOKENS)]
        known = torch.ones(TOKENS, dtype=torch.bool)
        for name in drawn.found:
            if states[name] == 0:
                continue
            cover = torch.from_numpy(covered(drawn.masks[name]))
            for token in (cover > THERE).nonzero().flatten().tolist():
                said[token].append(self._finding(drawn, name))
            known &= ~((cover > NOT_THERE) & ((cover <= THERE) | (states[name] == UNKNOWN)))
        for token, name in enumerate(FINDINGS):
            there = name in drawn.found and states[name] != 0
            said[token] = [self._finding(drawn, name) if there else _sum([self.word("no"), self.word(NAMES[name])])]
            known[token] = states[name] != UNKNOWN
        words = torch.stack([_sum(parts) if parts else self.word("clear") for parts in said])
        weight = torch.tensor([WEIGHT if parts else 1.0 for parts in said])
        return words, weight * known

    def _finding(self, drawn: Picture, name: str) -> Tensor:
        return _sum([self.word(NAMES[name]), *map(self.word, drawn.found[name].values())])


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0) / len(parts) ** 0.5
