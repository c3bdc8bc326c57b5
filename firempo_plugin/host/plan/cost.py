"""From what was counted to operations, memory, hours, and the settings that fit a card."""

import math
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...forward.budget import USABLE, Budget, trained_bytes
from ...forward.families import FAMILIES, is_frozen
from ...forward.flops import Operations, Text, operations
from ...objectives.losses import HEAD_ROWS
from ..arguments import settings_of
from ..train.memory import GIGABYTE, shapes_of
from ..validate import Run
from .model import base_of, quantised_bits, weight_bytes
from .rows import Looked

BITS = (None, 8, 4)
"""Of frozen weights, the least change of the model first."""
TRAINED, ADAPTED = 3, 2
"""Forwards that a vision tower in training costs, and one whose adapters are: a frozen weight has no gradient."""


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: memory in GB, dense bf16 TFLOP/s."""

    name: str
    memory: float
    tflops: float


@cache
def cards() -> dict[str, Card]:
    """Those of cards.yaml by name."""
    from yaml import safe_load

    text = Path(__file__).with_name("cards.yaml").read_text(encoding="utf-8")
    return {name: Card(name, *facts) for name, facts in safe_load(text).items()}


def card_named(name: str) -> Card:
    """A card, whose name may be written without spaces, hyphens and capitals; UserError for one that is not known."""
    plain = {_plain(known): card for known, card in cards().items()}
    if _plain(name) not in plain:
        raise UserError(f"--card: {name} is unknown. Write one of: {', '.join(cards())}")
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


@dataclass(frozen=True)
class Choice:
    """Settings of a run that change what it needs, and not what it computes but for quantisation.

    Attributes:
        bits: Of frozen weights; None: not quantised.
        checkpointed: Whether gradient checkpointing is on.
        batch: Rows of a batch on the card.
    """

    bits: int | None
    checkpointed: bool
    batch: int


@dataclass(frozen=True)
class Fit:
    """A choice on a card.

    Attributes:
        choice: See `Choice`.
        pass_tokens: Tokens of a pass, padding included; None where a batch is one pass.
        memory: Bytes at the peak, counted.
        fits: Whether they are within what can be counted on.
        hours: At the higher and at the lower utilisation.
    """

    choice: Choice
    pass_tokens: int | None
    memory: int
    fits: bool
    hours: tuple[float, float]


class Cost:
    """What a training needs.

    Args:
        run: Of the configuration, as `model.without_weights` leaves it.
        model: Of it.
        looked: Its rows.
        pass_tokens: Most tokens of a pass; None where a batch is one pass.
        not_there: Sentences about what is named and was not found.
    """

    def __init__(
        self, run: Run, model: Any, looked: Looked, pass_tokens: int | None, not_there: tuple[str, ...]
    ) -> None:
        self.not_there = not_there
        training_args, self._tuning = run.training_args, run.finetuning_args
        self._model, self._base, self.looked, self._pass_tokens = model, base_of(model), looked, pass_tokens
        self._settings, self._optim = settings_of(self._tuning), training_args.optim
        self.half = bool(training_args.bf16 or training_args.fp16 or self._tuning.pure_bf16)
        self._shapes = shapes_of(model, self.half)
        family = FAMILIES[self._base.config.model_type]
        self.frozen_tower = is_frozen(family, self._base.base_model)
        own = self._tuning.finetuning_type != "lora" or self._tuning.ref_model is not None
        self._separate = own and self._settings.needs_reference
        bits = quantised_bits(model, run.model_args)
        self.written = Choice(bits, self._shapes.checkpointed, training_args.per_device_train_batch_size)
        self._sharded = bool(training_args.deepspeed or training_args.fsdp)
        self.accumulation = training_args.gradient_accumulation_steps
        self.rows = looked.there * looked.rows / (looked.rows + looked.unusable)
        whole = math.floor if training_args.dataloader_drop_last else math.ceil
        steps = -(-whole(self.rows / self.written.batch) // self.accumulation)
        asked = training_args.max_steps
        self.steps = asked if asked > 0 else math.ceil(training_args.num_train_epochs * steps)
        if steps < 1 or self.steps < 1:
            raise UserError(
                f"nothing is trained: {self.rows:g} rows make {steps} steps an epoch, and num_train_epochs is "
                f"{training_args.num_train_epochs:g}"
            )
        self.epochs = self.steps / steps

    @property
    def split(self) -> bool:
        """Whether a batch is cut into passes."""
        return self._pass_tokens is not None

    def operations(self, checkpointed: bool) -> Operations:
        """Of the whole training."""
        return self._operations[checkpointed]

    @cached_property
    def _operations(self) -> dict[bool, Operations]:
        """Without and with checkpointing; every card and quantisation asks for them."""
        again = max(self.epochs - 1, 0.0)
        found = {}
        for checkpointed in (False, True):
            first, later = (self._of_an_epoch(checkpointed, known=known) for known in (False, True))
            found[checkpointed] = first.times(self.epochs - again) + later.times(again)
        return found

    def _of_an_epoch(self, checkpointed: bool, *, known: bool) -> Operations:
        """Of all rows, once; `known`: with what the caches kept of an earlier epoch."""
        work = self.looked.work
        if known and self._tuning.fire_reference_cache is not None:
            work = replace(work, reference=Text(scored=self.looked.in_kl))
        if known and self._tuning.fire_vision_cache is not None:
            work = replace(work, patches=())
        found = operations(self._model, work, checkpointed=checkpointed)
        again = self._settings.needs_reference and (self._separate or not self.frozen_tower)
        trained = TRAINED if self._base is self._model else ADAPTED
        towers = (1 if self.frozen_tower else trained) + again
        return replace(found, vision=found.vision * towers).times(self.rows / self.looked.rows)

    @cached_property
    def _trained(self) -> tuple[int, int]:
        """How many numbers are trained, and the bytes of one."""
        trained = [weight for weight in self._model.parameters() if weight.requires_grad]
        return sum(weight.numel() for weight in trained), trained[0].itemsize

    @cached_property
    def _weights(self) -> dict[int | None, int]:
        """Bytes of all weights by bits of the frozen ones, with the reference's where it is a model of its own."""
        reference = 0
        if self._separate:
            reference = sum(weight.numel() for weight in self._base.parameters()) * self._base.config.dtype.itemsize
        return {bits: weight_bytes(self._model, bits) + reference for bits in {*BITS, self.written.bits}}

    def budget(self, choice: Choice, card: Card | None = None) -> Budget:
        """Memory of a choice, on a card or on one without any."""
        trained, width = self._trained
        largest = self.looked.largest
        if self._pass_tokens is None:
            share = choice.batch / self.written.batch
            scored = math.ceil(largest.scored * share)
            largest = replace(largest, tokens=math.ceil(largest.tokens * share), scored=scored)
        return Budget(
            free=int(card.memory * GIGABYTE) if card else 0,
            weights=self._weights[choice.bits],
            trained=trained,
            optimiser=trained_bytes(self._optim, width, autocast=self.half),
            shapes=replace(self._shapes, checkpointed=choice.checkpointed),
            largest=largest,
            head_rows=HEAD_ROWS,
        )

    def fit(self, choice: Choice, card: Card, utilisation: tuple[float, float]) -> Fit:
        """A choice on a card; passes are as large as training makes them there."""
        budget, tokens = self.budget(choice, card), None
        need = budget.least
        if self._pass_tokens is not None:
            written = self._tuning.fire_pass_tokens
            tokens = budget.pass_tokens(self._pass_tokens) if written is None else max(written, budget.largest.tokens)
            need = budget.needed(max(budget.largest.tokens, min(tokens, self.looked.batch_tokens)))
        seconds = self.operations(choice.checkpointed).total / (card.tflops * 1e12)
        hours = (seconds / max(utilisation) / 3600, seconds / min(utilisation) / 3600)
        return Fit(choice, tokens, need, need <= USABLE * budget.free, hours)

    def fits(self, card: Card, utilisation: tuple[float, float]) -> list[Fit]:
        """Of each quantisation, without and with checkpointing, the largest batch that fits, or the smallest."""
        found = []
        quantisable = self._base is not self._model and self.written.bits is None
        for bits in BITS if quantisable else (self.written.bits,):
            for checkpointed in (False, True):
                tried = [self.fit(Choice(bits, checkpointed, batch), card, utilisation) for batch in self._batches()]
                found.append(next((fit for fit in tried if fit.fits), tried[-1]))
        return found

    def _batches(self) -> list[int]:
        """Those to try: passes make all others equal."""
        if self.split:
            return [self.written.batch]
        halves = [self.written.batch]
        while halves[-1] % 2 == 0:
            halves.append(halves[-1] // 2)
        return halves

    def cache_bytes(self) -> dict[str, int]:
        """What the caches would hold after an epoch, by key, as far as the run may have them."""
        looked, state = self.looked, self._shapes.hidden * self._shapes.width
        found: dict[str, int] = {}
        if self._sharded:
            return found
        if self._settings.needs_reference and not (self._separate and self._settings.needs_kl):
            of_rows = looked.work.policy.scored * 4 + looked.in_kl * state
            found["fire_reference_cache"] = int(of_rows * self.rows / looked.rows)
        if self.frozen_tower and not self._separate and looked.image_places:
            config, family = self._base.config, FAMILIES[self._base.config.model_type]
            layers = len(config.vision_config.deepstack_visual_indexes) if family.deepstack else 0
            of_image = looked.image_tokens / looked.image_places * state * (1 + layers)
            found["fire_vision_cache"] = int(of_image * looked.image_files)
        return found
