"""What the layers of a language model see of token trees."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FULL, SLIDING = "full_attention", "sliding_attention"

WINDOW_IN_EVERY_LAYER = ("ministral3", "mistral", "mixtral", "phi3")
"""Model types whose layers all attend within `sliding_window`, where that is set."""

WINDOW_BY_LAYER = (
    *("gemma2", "gemma3_text", "gemma4_text", "ministral"),
    *("qwen2", "qwen2_5_vl_text", "qwen2_vl_text", "qwen3"),
)
"""Model types whose layers attend as `layer_types` says, and whose forward takes a mask for each kind."""

VISION = "vision"
"""What `use_bidirectional_attention` is where only the tokens of an image see those that follow them."""


def obstacle(text_config: Any) -> str:
    """Why the layers of a language model cannot be given a mask of trees; empty where they can."""
    facts = text_config.to_dict()
    if text_config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention is {text_config._attn_implementation}, which takes no tree mask; `flash_attn: sdpa` does"
    if facts.get("use_bidirectional_attention") not in (None, False, VISION):
        return "its tokens see those that follow them"
    layers = set(facts.get("layer_types") or ())
    if odd := sorted(layers - {FULL, SLIDING}):
        return f"it has layers of {', '.join(odd)}"
    windowed = SLIDING in layers or facts.get("sliding_window") is not None  # many classes do not ask `layer_types`
    if windowed and text_config.model_type not in (*WINDOW_IN_EVERY_LAYER, *WINDOW_BY_LAYER):
        return f"it attends within a sliding window, which is not known of {text_config.model_type}"
    return ""


def same_image(kinds: Tensor) -> Tensor:
    """Which places lie in one run of image tokens: [N, T], 1 where a token is of an image -> [N, T, T]."""
    inside = kinds == 1
    starts = inside & ~torch.nn.functional.pad(inside, (1, 0))[:, :-1]
    run = torch.where(inside, starts.cumsum(-1), 0)
    return (run[:, :, None] == run[:, None, :]) & inside[:, :, None]


def layers_of_whole_images(config: Any) -> tuple[str, ...]:
    """The kinds of layers in which the tokens of an image see each other, of a model's configuration."""
    if config.model_type == "gemma3":
        return (FULL, SLIDING)
    whole = config.get_text_config().to_dict().get("use_bidirectional_attention") == VISION
    return (SLIDING,) if config.model_type == "gemma4" and whole else ()


@dataclass(frozen=True)
class TreeMasks:
    """Makes the attention masks of a model's layers.

    Attributes:
        dtype: Of additive masks, as eager attention needs them; None for boolean ones.
        window: How many tokens of its own sequence a place sees, itself included, in layers that slide; None for all.
        by_layer: Whether only some layers slide, so that the model takes a mask for each kind.
        whole_images: The kinds of layers in which the tokens of an image see each other.
    """

    dtype: torch.dtype | None = None
    window: int | None = None
    by_layer: bool = False
    whole_images: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any) -> "TreeMasks":
        """The masks of a loaded model without `obstacle`."""
        text = model.config.get_text_config()
        facts = text.to_dict()
        by_layer = text.model_type in WINDOW_BY_LAYER and SLIDING in (facts.get("layer_types") or ())
        slides = by_layer or text.model_type in WINDOW_IN_EVERY_LAYER
        return cls(
            dtype=model.dtype if text._attn_implementation == "eager" else None,
            window=facts.get("sliding_window") if slides else None,
            by_layer=by_layer,
            whole_images=layers_of_whole_images(model.config),
        )

    def __call__(self, end: Tensor, kinds: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Every place sees the places whose subtree it lies in, as far as the window reaches, and all of its image.

        Args:
            end: [N, T] first place after each token's subtree; of padding, the next place.
            kinds: [N, T] 1 where a token is of an image; None where the model does not ask for it.

        Returns:
            [N, 1, T, T], or one of them for each kind of layer.
        """
        places = torch.arange(end.shape[1], device=end.device)
        seen = (places[None, :] <= places[:, None]) & (places[:, None] < end[:, None, :])
        everywhere = self._as_given(self._with_images(seen, kinds, FULL))
        if self.window is None:
            return everywhere
        depth = seen.sum(-1)  # one more than the place in the token's own sequence
        near = seen & (depth[:, :, None] - depth[:, None, :] < self.window)
        near = self._as_given(self._with_images(near, kinds, SLIDING))
        return {FULL: everywhere, SLIDING: near} if self.by_layer else near

    def _with_images(self, seen: Tensor, kinds: Tensor | None, layers: str) -> Tensor:
        return seen if kinds is None or layers not in self.whole_images else seen | same_image(kinds)

    def _as_given(self, seen: Tensor) -> Tensor:
        if self.dtype is None:
            return seen[:, None]
        return torch.zeros_like(seen, dtype=self.dtype).masked_fill(~seen, torch.finfo(self.dtype).min)[:, None]
