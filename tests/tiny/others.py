"""Llama 4, LFM2-VL and ERNIE 4.5 VL."""

from pathlib import Path

from transformers import (
    AutoTokenizer,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    Lfm2VlImageProcessor,
    Lfm2VlProcessor,
    Llama4Config,
    Llama4ForConditionalGeneration,
    Llama4ImageProcessor,
    Llama4Processor,
)

from .common import TEXT, new_tokenizer, token_ids

CHUNK = 8


def llama4(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    turns = ["<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"]
    image = ["<|image_start|>", "<|image_end|>", "<|image|>", "<|patch|>"]
    tiles = ["<|tile_x_separator|>", "<|tile_y_separator|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*turns, *image, *tiles]})
    config = Llama4Config(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "head_dim": 16,
            "intermediate_size_mlp": 96,
            "num_local_experts": 4,
            "interleave_moe_layer_step": 2,
            "no_rope_layers": [1, 0],
            "attention_chunk_size": CHUNK,
            "vocab_size": len(tokenizer),
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_output_dim": 48,
            "projector_input_dim": 48,
            "projector_output_dim": 48,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        boi_token_index=tokenizer.convert_tokens_to_ids("<|image_start|>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<|image_end|>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<|patch|>"),
    )
    Llama4ForConditionalGeneration(config).save_pretrained(folder)
    images = Llama4ImageProcessor(size={"height": 56, "width": 56}, max_patches=4)
    Llama4Processor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        image_token="<|patch|>",
        fake_image_token="<|image|>",
    ).save_pretrained(folder)


def lfm2_vl(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    names = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    }
    tokenizer.add_special_tokens({"additional_special_tokens": [*names.values()]})
    tokenizer.save_pretrained(folder / "source")
    tokenizer = AutoTokenizer.from_pretrained(folder / "source", extra_special_tokens=names)
    config = Lfm2VlConfig(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "layer_types": ["conv", "full_attention"],
            "block_auto_adjust_ff_dim": False,
            "vocab_size": len(tokenizer),
        },
        vision_config={
            "model_type": "siglip2_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 16,
            "num_patches": 256,
            "vision_use_head": False,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=48,
        tie_word_embeddings=False,
    )
    Lfm2VlForConditionalGeneration(config).save_pretrained(folder)
    images = Lfm2VlImageProcessor(
        tile_size=64,
        min_image_tokens=1,
        max_image_tokens=16,
        encoder_patch_size=16,
        downsample_factor=2,
        min_tiles=2,
        max_tiles=4,
        max_num_patches=64,
    )
    Lfm2VlProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
