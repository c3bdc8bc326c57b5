"""The arithmetic of a step, counted from the shapes of the model and of what is run.

Counted are matrix products: linear layers, attention, patch embedding. A frozen weight has no gradient, so its
layer costs as much backward as forward; a weight in training costs twice as much. What comes before the first layer
with anything in training is not propagated back. Nothing that a mask hides is counted unless it is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from peft import PeftModel
from torch import nn

from .families import FAMILIES
from .plan import Pass

LAYER = re.compile(r"\blayers\.(\d+)\.")
ON_THE_INPUT = re.compile(r"\.self_attn\.[qkv]+_proj(\.base_layer|\.lora_A\.\w+)?$")
"""Products with a layer's input, which needs no gradient in the first layer with anything in training, unless that is
checkpointed: LLaMA-Factory then asks for it."""


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


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a step; a multiplication with its addition counts as two.

    Attributes:
        forward, backward: Of the policy's language model.
        again: The forward that gradient checkpointing repeats.
        reference: Of the reference's language model.
        vision: Of the vision tower, under both.
    """

    forward: float = 0.0
    backward: float = 0.0
    again: float = 0.0
    reference: float = 0.0
    vision: float = 0.0

    @property
    def total(self) -> float:
        return sum(vars(self).values())

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(*(vars(self)[part.name] + vars(other)[part.name] for part in fields(self)))

    def times(self, factor: float) -> "Operations":
        return Operations(*(factor * count for count in vars(self).values()))


def pass_text(each: Pass, multiple: int = 1, *, masked: bool = False) -> Text:
    """What a language model computes of a pass.

    Args:
        each: The pass.
        multiple: Its sequences are padded to a multiple of so many tokens.
        masked: Whether pairs that the mask hides count too, as where attention is computed whole and then masked.
    """
    count, width = len(each.trees), -(-max(map(len, each.trees)) // multiple) * multiple
    seen = sum(end - place for tree in each.trees for place, end in enumerate(tree.end))
    padding = sum(width - len(tree) for tree in each.trees)
    return Text(count * width, count * width**2 if masked else seen + padding, len(each.token))


def flops(model: Any, work: Work) -> float:
    """Floating-point operations of a step without gradient checkpointing."""
    return operations(model, work).total


def operations(model: Any, work: Work, *, checkpointed: bool = False) -> Operations:
    """Floating-point operations of a step.

    Args:
        model: Of `forward.families`, with or without an adapter; its weights may be on any device, meta included.
        work: What the step runs.
        checkpointed: Whether the policy's forward is run again backward, but for the head.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = base.config.get_text_config()
    layers = config.num_hidden_layers
    head_size = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    attention = 4 * config.num_attention_heads * head_size
    head = 2 * config.hidden_size * config.vocab_size
    head_back = 1 + any(weight.requires_grad for weight in base.get_output_embeddings().parameters())
    first = _first_trained(base.base_model, layers)
    frozen, adapters, backward = _linear(base.base_model.language_model, first, checkpointed)
    policy, reference = work.policy, work.reference
    reached = layers - max(first, 0)
    body = float(policy.tokens * (frozen + adapters) + policy.pairs * layers * attention)
    back = policy.tokens * backward + 2 * policy.pairs * reached * attention
    return Operations(
        forward=body + policy.scored * head,
        backward=back + policy.scored * head_back * head,
        again=body * reached / layers if checkpointed else 0.0,
        reference=reference.tokens * frozen + reference.pairs * layers * attention + reference.scored * head,
        vision=_vision(base.base_model, base.config, work.patches),
    )


def _first_trained(core: nn.Module, layers: int) -> int:
    """The first layer that gradients reach: -1 where they go on to what is before the layers."""
    first = layers
    for name, weight in core.named_parameters():
        if weight.requires_grad:
            found = LAYER.search(name)
            behind = name.startswith("language_model.norm.")
            in_layer = found and name.startswith("language_model.")
            first = min(first, int(found[1]) if found and in_layer else layers if behind else -1)
    return first


def _linear(language_model: nn.Module, first: int, checkpointed: bool) -> tuple[int, int, int]:
    """Operations a token: forward of the frozen model and of adapters, and backward of both."""
    frozen = adapters = backward = 0
    for name, module in language_model.named_modules():
        if isinstance(module, nn.Linear):
            size = 2 * module.in_features * module.out_features
            if ".lora_" in name:
                adapters += size
            else:
                frozen += size
            found = LAYER.search(f"{name}.")
            layer = int(found[1]) if found else -1
            reached = layer > first or (layer == first and (checkpointed or not ON_THE_INPUT.search(name)))
            backward += size * (reached + module.weight.requires_grad)
    return frozen, adapters, backward


def _vision(core: nn.Module, config: Any, pieces: Sequence[int]) -> int:
    """Operations of encoding pieces of images of so many patches; a merger's layers run once a square of patches."""
    facts = {**config.to_dict(), **config.vision_config.to_dict()}
    square = (facts.get("spatial_merge_size") or round(1 / facts.get("downsample_ratio", 1))) ** 2
    parts = [(name, part) for name, part in core.named_children() if name in FAMILIES[config.model_type].vision]
    plain = merged = 0
    for name, module in (
        (f"{part}.{inner}", module) for part, whole in parts for inner, module in whole.named_modules()
    ):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            if "merger" in name or "projector" in name:
                merged += _numbers(module)
            else:
                plain += _numbers(module)
    depth = facts.get("depth") or facts["num_hidden_layers"]
    whole = facts.get("fullatt_block_indexes", range(depth))
    window = (facts.get("window_size", 0) // facts["patch_size"]) ** 2
    width, total = facts.get("embed_dim", facts["hidden_size"]), 0
    for patches in pieces:
        keys = len(whole) * patches + (depth - len(whole)) * min(window, patches)
        total += 2 * (patches * plain + patches // square * merged) + 4 * width * patches * keys
    return total


def _numbers(module: nn.Linear | nn.Conv2d | nn.Conv3d) -> int:
    """Numbers of a layer's matrix, which a quantised one packs."""
    return module.in_features * module.out_features if isinstance(module, nn.Linear) else module.weight.numel()
