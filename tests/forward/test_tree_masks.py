"""A place of a tree sees its own sequence, as far as the window of its layer reaches."""

from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoConfig,
    Gemma3TextConfig,
    Gemma4TextConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    Starcoder2Config,
)

from firempo_plugin.forward.masks import TreeMasks, obstacle

LAYERS = ["sliding_attention", "full_attention"]


def configured(kind, attention="sdpa", **facts):
    config = kind(num_hidden_layers=2, **facts)
    config._attn_implementation = attention
    return config


def masks(config, model_type="llava"):
    of_all = SimpleNamespace(get_text_config=lambda: config, model_type=model_type)
    return TreeMasks.of(SimpleNamespace(config=of_all, dtype=torch.float32))


def seen_from(mask, place):
    return mask[0, 0, place].nonzero()[:, 0].tolist()


BRANCHED = torch.tensor([[7, 7, 7, 5, 5, 7, 7, 8]])  # 0-1-2-(3-4 | 5-6), and a place of padding


@pytest.mark.parametrize("kind", [MistralConfig, MixtralConfig, Phi3Config])
def test_a_window_counts_the_tokens_of_the_places_own_sequence(kind):
    mask = masks(configured(kind, sliding_window=3))(BRANCHED)
    assert seen_from(mask, 4) == [2, 3, 4]
    assert seen_from(mask, 5) == [1, 2, 5], "the other branch lies between, and does not count"
    assert seen_from(mask, 6) == [2, 5, 6]
    assert seen_from(mask, 7) == [7]


CHAIN, KINDS = torch.tensor([[5, 5, 5, 5, 5, 6]]), torch.tensor([[1, 1, 0, 1, 0, 0]])


def test_the_tokens_of_an_image_see_each_other_and_nothing_else_that_follows():
    """Places 0 and 1, and 3, are of two images in a chain of 5, of which place 4 is text: as Gemma 3 attends."""
    each = masks(configured(Gemma3TextConfig, sliding_window=1, layer_types=LAYERS), "gemma3")(CHAIN, KINDS)
    assert [seen_from(each["full_attention"], place) for place in range(6)] == [
        [0, 1], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [5],
    ]  # fmt: skip
    assert [seen_from(each["sliding_attention"], place) for place in range(6)] == [[0, 1], [0, 1], [2], [3], [4], [5]]


@pytest.mark.parametrize(("whole", "first"), [("vision", [0, 1]), (None, [0])])
def test_gemma_4_shows_whole_images_to_layers_that_slide_if_any(whole, first):
    config = configured(Gemma4TextConfig, sliding_window=1, layer_types=LAYERS, use_bidirectional_attention=whole)
    assert obstacle(config) == ""
    each = masks(config, "gemma4")(CHAIN, KINDS)
    assert seen_from(each["sliding_attention"], 0) == first
    assert seen_from(each["full_attention"], 0) == [0]
    assert seen_from(each["full_attention"], 4) == [0, 1, 2, 3, 4]


def test_layers_of_both_kinds_get_a_mask_each():
    for config in (
        configured(Gemma3TextConfig, sliding_window=2, layer_types=LAYERS),
        configured(Qwen2Config, use_sliding_window=True, sliding_window=2, layer_types=LAYERS),
    ):
        each = masks(config)(BRANCHED)
        assert seen_from(each["full_attention"], 6) == [0, 1, 2, 5, 6]
        assert seen_from(each["sliding_attention"], 6) == [5, 6]


@pytest.mark.parametrize(
    "config",
    [
        configured(MistralConfig, sliding_window=None),
        configured(Qwen2Config, sliding_window=2),
        configured(Gemma3TextConfig, sliding_window=2, layer_types=["full_attention"] * 2),
    ],
    ids=["no window", "a window not in use", "no layer that slides"],
)
def test_without_a_window_a_place_sees_its_whole_sequence(config):
    assert obstacle(config) == ""
    assert seen_from(masks(config)(BRANCHED), 6) == [0, 1, 2, 5, 6]


def test_eager_attention_adds_its_mask():
    mask = masks(configured(MistralConfig, "eager", sliding_window=2))(BRANCHED)
    assert mask.dtype == torch.float32
    assert (mask[0, 0, 6] == 0).tolist() == [False] * 5 + [True, True, False]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (configured(Qwen2Config, "flash_attention_2"), "flash_attention_2, which takes no tree mask"),
        (configured(Starcoder2Config, sliding_window=8), "sliding window, which is not known of starcoder2"),
        (
            configured(Qwen3MoeConfig, use_sliding_window=True, sliding_window=8, layer_types=["full_attention"] * 2),
            "sliding window, which is not known of qwen3_moe",
        ),
        (configured(Qwen3NextConfig, layer_types=["linear_attention"] * 2), "layers of linear_attention"),
        (configured(Gemma3TextConfig, use_bidirectional_attention=True), "see those that follow"),
        (configured(Gemma4TextConfig, use_bidirectional_attention="all"), "see those that follow"),
    ],
    ids=[
        "flash attention",
        "unknown window",
        "a window whatever its layers say",
        "no attention",
        "both directions",
        "both directions of all",
    ],
)
def test_what_takes_no_mask_of_trees(config, words):
    assert words in obstacle(config)


def test_the_models_of_the_paper_take_one(checkpoint):
    for family in ("qwen3_vl", "llava"):
        config = AutoConfig.from_pretrained(checkpoint(family)).get_text_config()
        config._attn_implementation = "sdpa"
        assert obstacle(config) == ""
