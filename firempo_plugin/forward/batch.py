"""A batch of rows as the collator hands it on: the passes of a step, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .families import ImageFeatures
from .masks import TreeMasks
from .reference_cache import Entry, ReferenceScores

Anything = TypeVar("Anything")


@dataclass
class Scoring:
    """The scored tokens of a pass as tensors.

    Attributes:
        tree, position, token, row, cell: [M] int64; see `plan.Pass`.
        in_phrase: [M] bool.
        weight: [M] float32, what each token counts.
        kl: [K] int64, which of the M the KLs are of.
        terms: [terms, B] bool, the rows whose cells of each term are all in the pass.
    """

    tree: Tensor
    position: Tensor
    token: Tensor
    row: Tensor
    cell: Tensor
    in_phrase: Tensor
    weight: Tensor
    kl: Tensor
    terms: Tensor


@dataclass
class Known:
    """What a cache of the reference knows of a pass.

    Attributes:
        entries: Of its cells.
        scores: What the reference says, if all of it is known.
        damaged: How many entries were damaged.
    """

    entries: list[Entry]
    scores: ReferenceScores | None
    damaged: int


@dataclass
class PassInputs:
    """One forward, propagated back before the next.

    Attributes:
        inputs: Of the model, without images: [N, T] each, positions [..., N, T].
        scoring: What is scored.
        has_images: Whether the model gets the batch's images.
        image_index: Which distinct image each image place shows; None where image features are not shared.
        end: [N, T] first place after each token's subtree; None where no trees with branches are run.
        known: None without a cache of the reference.
    """

    inputs: dict[str, Tensor]
    scoring: Scoring
    has_images: bool
    image_index: list[int] | None = None
    end: Tensor | None = None
    known: Known | None = None


@dataclass
class DistinctImages:
    """The images of a batch, each once where their features are shared.

    Attributes:
        inputs: Of the model: pixels and their grids, of those whose features are not known.
        keys: Of their entries in a cache; empty without one.
        features: Those that are known, by index.
        damaged: How many entries were damaged.
        pieces: How many the features of each other image have; None for a family where it is one.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    features: dict[int, ImageFeatures] = field(default_factory=dict)
    damaged: int = 0
    pieces: list[int] | None = None


@dataclass
class Batch:
    """The rows of a micro-batch, B of them. Whatever steers a step is a number on the host, so that nothing waits.

    Attributes:
        passes: In order.
        images: Of all passes.
        has_noised: [B] bool.
        weight: [B] float32, each row's share in the loss.
        chosen_tokens, rejected_tokens: [B] phrase tokens of each side.
        sources: Where each row comes from.
        tokens: Places that the passes hold, padding included.
        own_tokens: Those that are no padding.
    """

    passes: list[PassInputs]
    images: DistinctImages
    has_noised: Tensor
    weight: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    sources: list[str]
    tokens: int
    own_tokens: int

    def __len__(self) -> int:
        return len(self.sources)

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """With all tensors on a device, as a tensor's own `to`."""
        return changed(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """With all tensors in pinned memory; the data loader asks for it."""
        return changed(self, Tensor.pin_memory)

    def inputs_of(self, each: PassInputs, masks: TreeMasks) -> dict[str, Any]:
        """The model's keyword arguments in a pass."""
        images = self.images.inputs if each.has_images else {}
        kinds = each.inputs.get("token_type_ids", each.inputs.get("mm_token_type_ids"))
        trees = {} if each.end is None else {"attention_mask": masks(each.end, kinds)}
        return {**each.inputs, **images, **trees}


def changed(value: Anything, change: Callable[[Tensor], Tensor]) -> Anything:
    """The same value with every tensor in it changed: in dataclasses, dicts and lists."""
    found: Any = value
    if isinstance(value, Tensor):
        found = change(value)
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{name: changed(part, change) for name, part in vars(value).items()})
    elif isinstance(value, dict):
        found = {name: changed(part, change) for name, part in value.items()}
    elif isinstance(value, list):
        found = [changed(part, change) for part in value]
    return found
