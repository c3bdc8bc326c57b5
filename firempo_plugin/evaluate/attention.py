"""What the last prompt position attends to, layer by layer, and where in the image each of its tokens lies.

Of every layer only the one row that is wanted is computed, from the layer's own queries and keys; the layer's output
comes from torch's fused attention. No [T, T] matrix is ever held, and the model need not be loaded as eager.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..errors import UserError
from ..forward.families import FAMILIES, SharedImageFeatures
from .grounding import WHOLE, Window

NAME = "firempo_last_row"
"""The attention implementation that a model has while rows are taken."""


@dataclass(frozen=True)
class TokenGrid:
    """How the image tokens of a prompt lie on their image.

    Attributes:
        rows, columns: Of the grid; the tokens follow row by row.
        window: The part of the image that the grid covers.
        size: Width and height in pixels of what the vision tower sees.
    """

    rows: int
    columns: int
    window: Window
    size: tuple[int, int]


def last_row_attention(model: Any, inputs: dict[str, Any], features: SharedImageFeatures | None = None) -> Tensor:
    """Attention of the last prompt position to the image tokens, mean over heads.

    Args:
        model: Of a family in `GRIDS`, in evaluation mode, with or without a PEFT adapter.
        inputs: Keyword arguments of its forward for one prompt, without padding; on the model's device.
        features: Of the prompt's one image, shared with other prompts on it; None: the vision tower is run.

    Returns:
        [layers, image tokens] float32 on the CPU, decoder layers from the first.

    Raises:
        UserError: The prompt has no image token.
        TypeError: The model's attention cannot be reached.
    """
    base = _base(model)
    core = base.base_model
    places = image_places(base.config, inputs["input_ids"]).cpu()
    if not len(places):
        raise UserError("the prompt has no image token")
    decoder = core.language_model
    rows: dict[int, Tensor] = {}

    def keep(layer: int, row: Tensor) -> None:
        rows[layer] = row.mean(0).cpu()[places]

    shared = nullcontext() if features is None else features.on(core, [0])
    with torch.no_grad(), shared, _each_layer(decoder.config, keep):
        core(**inputs, use_cache=False, return_dict=True)
    layers = range(decoder.config.num_hidden_layers)
    if set(rows) != set(layers):
        raise UserError(
            f"{type(base).__name__} has {len(layers)} decoder layers, of which {len(rows)} use the library's attention "
            "interface: this model class is not supported"
        )
    return torch.stack([rows[layer] for layer in layers])


def image_places(config: Any, input_ids: Tensor) -> Tensor:
    """Positions of the image tokens in a prompt [1, T]: [tokens].

    Raises:
        UserError: The model's family is not supported.
    """
    if config.model_type not in GRIDS:
        raise UserError(f"attention to the image is known for {', '.join(GRIDS)}; the model is {config.model_type}")
    token = config.to_dict()[FAMILIES[config.model_type].image_token]
    return (input_ids[0] == token).nonzero()[:, 0]


def _base(model: Any) -> Any:
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model


@contextmanager
def _each_layer(config: Any, keep: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Hands over the last row of each attention layer, [heads, T] float32, while the decoder of a config runs."""

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        keep(module.layer_idx, last_row(query, key, attention_mask, kwargs["scaling"]))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    before = config._attn_implementation
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def last_row(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """softmax(q k^T) of the last query of the first sequence.

    Args:
        query: [N, heads, T, D].
        key: [N, groups, T, D]; each group serves heads / groups successive heads.
        mask: [N, 1, T, T], boolean or added to the scores; None: the last position sees all.
        scaling: Of the scores.

    Returns:
        [heads, T] float32.
    """
    groups = key.shape[1]
    last = query[0, :, -1].float().view(groups, -1, query.shape[-1])
    scores = (last @ key[0].float().transpose(-1, -2) * scaling).flatten(0, 1)
    if mask is not None:
        seen = mask[0, 0, -1, : scores.shape[-1]]
        scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    return scores.softmax(-1)


def token_grid(config: Any, inputs: dict[str, Any], image_processor: Any, size: tuple[int, int]) -> TokenGrid:
    """The grid of a prompt's one image.

    Args:
        config: The model's.
        inputs: As for `last_row_attention`.
        image_processor: What made the pixels.
        size: Width and height of the image as it was given to the image processor.

    Raises:
        UserError: The prompt has not exactly one image, or its tokens do not form a grid.
    """
    tokens = len(image_places(config, inputs["input_ids"]))
    grid = GRIDS[config.model_type](config, inputs, image_processor, size)
    if grid.rows * grid.columns != tokens:
        raise UserError(
            f"the prompt has {tokens} image tokens, which do not form a {grid.rows} x {grid.columns} grid of one image"
        )
    return grid


def _merged_patches(config: Any, inputs: dict[str, Any], image_processor: Any, size: tuple[int, int]) -> TokenGrid:
    """Qwen: the whole image, resized to whole tokens, of merge x merge patches each."""
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    patch, merge = config.vision_config.patch_size, config.vision_config.spatial_merge_size
    return TokenGrid(rows // merge, columns // merge, WHOLE, (columns * patch, rows * patch))


def _cropped_patches(config: Any, inputs: dict[str, Any], image_processor: Any, size: tuple[int, int]) -> TokenGrid:
    """LLaVA: a patch a token, of what the image processor cuts out of the middle of the image."""
    height, width = inputs["pixel_values"].shape[-2:]
    patch = config.vision_config.patch_size
    window = _middle(image_processor, size) if image_processor.do_center_crop else WHOLE
    return TokenGrid(height // patch, width // patch, window, (width, height))


def _middle(image_processor: Any, size: tuple[int, int]) -> Window:
    """What is left of an image that is resized and then cropped; beyond 0 or 1 where it is padded instead."""
    resized = _resized(image_processor.size, size) if image_processor.do_resize else size
    cropped = (image_processor.crop_size["width"], image_processor.crop_size["height"])
    starts = [(whole - part) // 2 for whole, part in zip(resized, cropped, strict=True)]
    left, top = (start / whole for start, whole in zip(starts, resized, strict=True))
    right, bottom = ((start + part) / whole for start, part, whole in zip(starts, cropped, resized, strict=True))
    return left, top, right, bottom


def _resized(target: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height after resizing: to given ones, or to a given shorter edge."""
    target = dict(target)
    if target.get("shortest_edge") is None:
        return target["width"], target["height"]
    width, height = size
    short, edge = min(size), target["shortest_edge"]
    return (edge, int(edge * height / short)) if width <= height else (int(edge * width / short), edge)


GRIDS: dict[str, Callable[[Any, dict[str, Any], Any, tuple[int, int]], TokenGrid]] = {
    "qwen2_vl": _merged_patches,
    "qwen2_5_vl": _merged_patches,
    "qwen3_vl": _merged_patches,
    "qwen3_vl_moe": _merged_patches,
    "llava": _cropped_patches,
}
"""How image tokens lie on the image, by the model's type."""
