"""The arithmetic of a step, counted from the shapes of the model and of what is run.

Counted are matrix products: linear layers, attention, patch embedding. A frozen weight has no gradient, so its
layer costs as much backward as forward; an adapter's two matrices cost twice as much. Recomputation under gradient
checkpointing is not counted, nor is anything that a mask hides: the counts are what a step needs at least.
"""

import re
from dataclasses import dataclass
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import nn

FIRST_PROJECTIONS = re.compile(r"\blayers\.0\.self_attn\.[qkv]_proj$")
"""The layers whose input is the frozen embedding, which needs no gradient."""


@dataclass(frozen=True)
class Text:
    """What the language model computes.

    Attributes:
        tokens: Places, padding included.
        pairs: (Query, key) pairs that attend to each other, summed over sequences.
        scored: Places that get logits.
    """

    tokens: int = 0
    pairs: int = 0
    scored: int = 0

    def __add__(self, other: "Text") -> "Text":
        return Text(self.tokens + other.tokens, self.pairs + other.pairs, self.scored + other.scored)


@dataclass(frozen=True)
class Work:
    """What a step, or a part of one, runs.

    Attributes:
        policy: Forward and backward.
        reference: Forward only.
        patches: Of each image that the vision tower encodes, with repetitions; forward only.
    """

    policy: Text = Text()
    reference: Text = Text()
    patches: tuple[int, ...] = ()

    def __add__(self, other: "Work") -> "Work":
        return Work(self.policy + other.policy, self.reference + other.reference, self.patches + other.patches)

    @property
    def tokens(self) -> int:
        """Places that the language model computes under policy and reference."""
        return self.policy.tokens + self.reference.tokens


def sequences(count: int, length: int, scored: int) -> Text:
    """Plain sequences of equal length, causally masked."""
    return Text(count * length, count * length * (length + 1) // 2, scored)


def flops(model: Any, work: Work) -> float:
    """Floating-point operations of a step; a multiplication with its addition counts as two."""
    core = model.get_base_model().base_model
    config = core.config.get_text_config()
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    base, adapter, first = _text_layers(core.language_model)
    attention = 4 * config.num_attention_heads * head_size * config.num_hidden_layers
    head = 2 * config.hidden_size * config.vocab_size
    forward_and_backward = work.policy.tokens * (2 * base + 3 * adapter - first)
    forward_and_backward += 3 * work.policy.pairs * attention + 2 * work.policy.scored * head
    forward = work.reference.tokens * base + work.reference.pairs * attention + work.reference.scored * head
    return float(forward_and_backward + forward + sum(_vision(core.visual, patches) for patches in work.patches))


def _text_layers(language_model: nn.Module) -> tuple[int, int, int]:
    """Operations a token: of the frozen layers, of the adapters, and what is not needed backward."""
    base = adapter = first = 0
    for name, module in language_model.named_modules():
        if isinstance(module, LoraLayer):
            size = 2 * module.in_features * module.out_features
            rank = sum(module.r.values())
            base += size
            adapter += 2 * rank * (module.in_features + module.out_features)
            if FIRST_PROJECTIONS.search(name):
                first += size + 2 * rank * module.in_features
    return base, adapter, first


def _vision(tower: Any, patches: int) -> int:
    """Operations of encoding one image; a merger's layers run once for each of its squares of patches."""
    config = tower.config
    square = config.spatial_merge_size**2
    total = 0
    for name, module in tower.named_modules():
        if isinstance(module, nn.Linear):
            times = patches // square if "merger" in name else patches
            total += 2 * times * module.in_features * module.out_features
        elif isinstance(module, nn.Conv3d):
            total += 2 * patches * module.weight.numel()
    whole = getattr(config, "fullatt_block_indexes", range(config.depth))
    window = (getattr(config, "window_size", 0) // config.patch_size) ** 2
    keys = len(whole) * patches + (config.depth - len(whole)) * min(window, patches)
    return total + 4 * config.hidden_size * patches * keys
