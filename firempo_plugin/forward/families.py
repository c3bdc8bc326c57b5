"""The few facts in which vision-language model classes differ.

A family listed here runs its vision tower once per distinct image of a step, and, where the tower is
frozen, once for policy and reference together. Any other model takes the plain path: its images are
encoded once per sequence, as the host's own collator does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Family:
    """What sharing image features needs to know of a model class.

    Attributes:
        vision: Submodules of the core model that make the image features.
        image_token: The configuration's name for the id of the tokens that images take.
        deepstack: Whether the features come with deepstack layers, one [tokens, hidden] tensor each.
    """

    vision: tuple[str, ...]
    image_token: str = "image_token_id"
    deepstack: bool = False


FAMILIES: dict[str, Family] = {
    "qwen2_vl": Family(("visual",)),
    "qwen2_5_vl": Family(("visual",)),
    "qwen3_vl": Family(("visual",), deepstack=True),
    "qwen3_vl_moe": Family(("visual",), deepstack=True),
    "llava": Family(("vision_tower", "multi_modal_projector"), image_token="image_token_index"),
}


def is_frozen(family: Family, core: Any) -> bool:
    """Whether nothing that makes image features is in training; adapters count."""
    parts = [core.get_submodule(name) for name in family.vision]
    return not any(weight.requires_grad for part in parts for weight in part.parameters())


class SharedImageFeatures:
    """Stands in for a core model's `get_image_features` during the passes of one step.

    The model is called with the pixels of the distinct images only.

    Args:
        family: The model's family.
        frozen: Whether the policy's features are constants, which later passes may use again. To be asked
            outside any switch of adapters, under which everything seems frozen.
    """

    def __init__(self, family: Family, frozen: bool) -> None:
        self._family = family
        self._frozen = frozen
        self._known: dict[int, SimpleNamespace] = {}

    @contextmanager
    def on(self, core: Any, image_index: Tensor) -> Iterator[None]:
        """Replaces the method on the instance; features of a frozen tower are kept for the next pass.

        Args:
            core: The model's core.
            image_index: [P] index of the distinct image at each image place of the pass, in order.
        """
        compute = core.get_image_features

        def get_image_features(*args: object, **kwargs: object) -> SimpleNamespace:
            features = self._known.get(id(core))
            if features is None:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
                    features = compute(*args, **kwargs)
                if self._frozen:
                    self._known[id(core)] = features
            return self._places(features, image_index.tolist())

        core.get_image_features = get_image_features
        try:
            yield
        finally:
            del core.get_image_features

    def _places(self, features: SimpleNamespace, image_index: list[int]) -> SimpleNamespace:
        """Spreads the features of the distinct images over the image places."""
        per_image = list(features.pooler_output)
        places = SimpleNamespace(pooler_output=[per_image[i] for i in image_index])
        if self._family.deepstack:
            lengths = [len(image) for image in per_image]
            layers = [layer.split(lengths) for layer in features.deepstack_features]
            places.deepstack_features = [torch.cat([layer[i] for i in image_index]) for layer in layers]
        return places
