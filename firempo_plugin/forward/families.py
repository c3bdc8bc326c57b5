"""The few facts in which vision-language model classes differ.

A family listed here runs its vision tower once per distinct image of a step, and, where the tower is
frozen, once for policy and reference together. Any other model takes the plain path: its images are
encoded once per sequence, as the host's own collator does it.
"""

from collections.abc import Iterator, Sequence
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
        vision: Submodules and parameters of the core model that make the image features.
        image_token: The configuration's name for the id of the tokens that images take.
        deepstack: Whether the features come with deepstack layers, one [tokens, hidden] tensor each.
        stacked: Whether the features of all images are one tensor [pieces, ..., hidden] instead of a list.
        pieces: What the host calls the number of pieces that each image has; None for a family where it is one.
    """

    vision: tuple[str, ...]
    image_token: str = "image_token_id"
    deepstack: bool = False
    stacked: bool = False
    pieces: str | None = None


LLAVA = ("vision_tower", "multi_modal_projector")
FAMILIES: dict[str, Family] = {
    "qwen2_vl": Family(("visual",)),
    "qwen2_5_vl": Family(("visual",)),
    "qwen3_vl": Family(("visual",), deepstack=True),
    "qwen3_vl_moe": Family(("visual",), deepstack=True),
    "qwen3_5": Family(("visual",)),
    "qwen3_5_moe": Family(("visual",)),
    "llava": Family(LLAVA, image_token="image_token_index"),
    "llava_next": Family((*LLAVA, "image_newline"), image_token="image_token_index"),
    "llava_onevision": Family((*LLAVA, "image_newline"), image_token="image_token_index"),
    "llava_next_video": Family((*LLAVA, "image_newline"), image_token="image_token_index"),
    "mistral3": Family(LLAVA, image_token="image_token_index"),
    "glm_ocr": Family(("visual",)),
    "glm4v": Family(("visual",)),
    "glm4v_moe": Family(("visual",)),
    "gemma3": Family(LLAVA, image_token="image_token_index", stacked=True),
    "gemma4": Family(("vision_tower", "embed_vision"), stacked=True, pieces="num_soft_tokens_per_image"),
    "internvl": Family(LLAVA, stacked=True, pieces="image_num_patches"),
}

CROSS_ATTENDING = ("mllama",)
"""Model types whose layers attend to states of images, not to tokens that images take.

There a token that no image of its row reaches, as those before the first, attends to all states alike: to those that
fill the row up to the most images of a batch too.
"""

PREFIXED = ("paligemma",)
"""Model types whose images are a prefix, of which every token sees all others; `token_type_ids` is 1 for all else."""


def shares_states(config: Any) -> bool:
    """Whether layers of a model share states with others: those of images, or keys and values."""
    shared = config.get_text_config().to_dict().get("num_kv_shared_layers") or 0
    return config.model_type in CROSS_ATTENDING or shared > 0


def is_frozen(family: Family, core: Any) -> bool:
    """Whether nothing that makes image features is in training; adapters count."""
    parts = tuple(f"{name}." for name in family.vision)
    return not any(weight.requires_grad for name, weight in core.named_parameters() if f"{name}.".startswith(parts))


@dataclass
class ImageFeatures:
    """What the language model gets of one image.

    Attributes:
        pooled: [tokens, hidden].
        deepstack: The same for every deepstack layer; empty for a family without.
    """

    pooled: Tensor
    deepstack: list[Tensor]


class SharedImageFeatures:
    """Stands in for a core model's `get_image_features` during the passes of one step.

    The model is called with the pixels of distinct images only, and only of those not known.

    Args:
        family: The model's family.
        frozen: Whether the policy's features are constants, which later passes may use again. To be asked
            outside any switch of adapters, under which everything seems frozen.
        known: Features of distinct images by index; the pixels are those of the others, in order.
        pieces: How many each of the others has; None where it is one.
    """

    def __init__(
        self,
        family: Family,
        frozen: bool,
        known: dict[int, ImageFeatures] | None = None,
        pieces: Sequence[int] | None = None,
    ) -> None:
        self._family = family
        self._frozen = frozen
        self._known = known or {}
        self._pieces = pieces
        self._of_core: dict[int, dict[int, ImageFeatures]] = {}

    @contextmanager
    def on(self, core: Any, index: Sequence[int]) -> Iterator[None]:
        """Replaces the method on the instance; features of a frozen tower are kept for the next pass.

        Args:
            core: The model's core.
            index: Of the distinct image at each image place of the pass, in order.
        """
        compute = core.get_image_features

        def get_image_features(*args: object, **kwargs: object) -> SimpleNamespace:
            features = self._of_core.get(id(core), self._known)
            if not features.keys() >= set(index):
                with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
                    features = self._merge(compute(*args, **kwargs))
                if self._frozen:
                    self._of_core[id(core)] = features
            return self._places([features[number] for number in index])

        core.get_image_features = get_image_features
        try:
            yield
        finally:
            del core.get_image_features

    def computed(self, core: Any) -> dict[int, ImageFeatures]:
        """The features of distinct images that a core has computed in this step and that were not known."""
        return {n: image for n, image in self._of_core.get(id(core), {}).items() if n not in self._known}

    def _merge(self, computed: Any) -> dict[int, ImageFeatures]:
        """Known and computed features by index of the distinct image."""
        pooled = list(computed.pooler_output)
        if self._pieces is not None:
            pooled = [image.flatten(0, -2) for image in computed.pooler_output.split(list(self._pieces))]
        layers: list[tuple[Tensor, ...]] = []
        if self._family.deepstack:
            layers = [layer.split([len(image) for image in pooled]) for layer in computed.deepstack_features]
        own = [ImageFeatures(image, [layer[n] for layer in layers]) for n, image in enumerate(pooled)]
        unknown = [n for n in range(len(own) + len(self._known)) if n not in self._known]
        return self._known | dict(zip(unknown, own, strict=True))

    def _places(self, images: list[ImageFeatures]) -> SimpleNamespace:
        """The features of the image places of a pass, as the model's own method returns them."""
        pooled = [image.pooled for image in images]
        places = SimpleNamespace(pooler_output=torch.cat(pooled)[None] if self._family.stacked else pooled)
        if self._family.deepstack:
            layers = zip(*(image.deepstack for image in images), strict=True)
            places.deepstack_features = [torch.cat(layer) for layer in layers]
        return places
