"""Models that see an image as it is or in tiles: the LLaVAs, Llama 3.2 Vision and InternVL."""

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import llamafactory.extras.packages  # noqa: F401  (before trl, which asks transformers what is installed)
import torch
from llamafactory.model.model_utils.visual import LlavaMultiModalProjectorForYiVL
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GotOcr2ImageProcessor,
    GraniteConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava import modeling_llava

from .common import SIGLIP, TEXT, new_tokenizer, token_ids

CLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "projection_dim": 32,
}
PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112]]


def yi_projector():
    """While entered, LLaVA's class has the projector of Yi-VL, which the host puts there for good."""
    return patch.object(modeling_llava, "LlavaMultiModalProjector", LlavaMultiModalProjectorForYiVL)


def llava(folder: Path, text=Qwen2Config, yi=False, **attention) -> None:
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", *(["###"] if yi else [])]})
    config = LlavaConfig(
        text_config=text(**TEXT, **attention, **token_ids(tokenizer), vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**CLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        **({"is_yi_vl_derived_model": True} if yi else {}),
    )
    with yi_projector() if yi else nullcontext():
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def mllama(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    turns = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*turns, "<|image|>"]})
    image = tokenizer.convert_tokens_to_ids("<|image|>")  # the input embeddings have rows that the output has not
    config = MllamaConfig(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "num_hidden_layers": 4,
            "cross_attention_layers": [1, 3],
            "vocab_size": image,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
        },
        image_token_index=image,
    )
    model = MllamaForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if name.endswith("gate"):  # closed at first, which would hide the images
            torch.nn.init.constant_(weight, 0.7)
    model.save_pretrained(folder)
    images = MllamaImageProcessor(size={"height": 56, "width": 56}, max_image_tiles=4)
    MllamaProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def llava_onevision(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**TEXT, **token_ids(tokenizer), vocab_size=len(tokenizer)),
        vision_config=SiglipVisionConfig(**SIGLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
    )
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaOnevisionImageProcessor(size={"height": 56, "width": 56}, image_grid_pinpoints=PINPOINTS)
    LlavaOnevisionProcessor(
        image_processor=images,
        video_processor=LlavaOnevisionVideoProcessor(size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    ).save_pretrained(folder)


def llava_next(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = LlavaNextConfig(
        text_config=Qwen2Config(**TEXT, **token_ids(tokenizer), vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**CLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    _next_processor(folder, tokenizer, "default", num_additional_image_tokens=1)


def _next_processor(folder: Path, tokenizer, strategy: str, **more: int) -> None:
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy=strategy,
        image_token="<image>",
        **more,
    ).save_pretrained(folder)


def granite(folder: Path) -> None:
    """Granite Vision: LLaVA-NeXT's class, with features of several layers of its tower, all tokens of each."""
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|system|>", "<image>"]})
    config = LlavaNextConfig(
        text_config=GraniteConfig(
            **TEXT, **token_ids(tokenizer), embedding_multiplier=3.0, logits_scaling=2.0, vocab_size=len(tokenizer)
        ),
        vision_config=SiglipVisionConfig(**SIGLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=[-2, -1],
        vision_feature_select_strategy="full",
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    _next_processor(folder, tokenizer, "full")


def internvl(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer.add_special_tokens({"additional_special_tokens": [*names.values()]})
    tokenizer.save_pretrained(folder / "source")
    tokenizer = AutoTokenizer.from_pretrained(folder / "source", extra_special_tokens=names)
    config = InternVLConfig(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "model_type": "qwen3",
            "head_dim": 16,
            "vocab_size": len(tokenizer),
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    InternVLForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 56, "width": 56}
    InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4),
        video_processor=InternVLVideoProcessor(size=size),
        tokenizer=tokenizer,
        image_seq_length=4,
    ).save_pretrained(folder)
