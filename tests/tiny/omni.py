"""Models that also hear: Qwen2.5-Omni and Qwen3-Omni, of which the host trains the thinker."""

from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    WhisperFeatureExtractor,
)

from .common import TEXT, new_tokenizer, token_ids

HEARING = {
    "num_mel_bins": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "d_model": 32,
    "output_dim": 64,
    "max_source_positions": 100,
    "n_window": 25,
}
SIGHT = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 64,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
ROPE = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}


def _tokens(folder: Path, names: dict[str, str]):
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [*names.values()]})
    tokenizer.save_pretrained(folder / "source")
    return AutoTokenizer.from_pretrained(folder / "source", extra_special_tokens=names)


def _read(folder: Path, processor, tokenizer, patch: int) -> None:
    size = {"shortest_edge": (2 * patch) ** 2, "longest_edge": (8 * patch) ** 2}
    processor(
        image_processor=Qwen2VLImageProcessor(size=dict(size), patch_size=patch, merge_size=2),
        video_processor=Qwen2VLVideoProcessor(size=dict(size), patch_size=patch, merge_size=2),
        feature_extractor=WhisperFeatureExtractor(feature_size=16, chunk_length=1),
        tokenizer=tokenizer,
    ).save_pretrained(folder)


def qwen2_5_omni(folder: Path) -> None:
    names = {
        "image_token": "<|IMAGE|>",
        "audio_token": "<|AUDIO|>",
        "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokenizer = _tokens(folder, names)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = Qwen2_5OmniConfig(
        enable_audio_output=False,
        thinker_config={
            "text_config": {
                **TEXT,
                **token_ids(tokenizer),
                "vocab_size": len(tokenizer),
                "rope_parameters": ROPE,
            },
            "vision_config": {**SIGHT, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]},
            "audio_config": HEARING,
            "image_token_index": ids["image_token"],
            "audio_token_index": ids["audio_token"],
            "video_token_index": ids["video_token"],
            "audio_start_token_id": ids["audio_bos_token"],
            "audio_end_token_id": ids["audio_eos_token"],
            "vision_start_token_id": ids["vision_bos_token"],
            "vision_end_token_id": ids["vision_eos_token"],
            "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        },
    )
    Qwen2_5OmniForConditionalGeneration(config).save_pretrained(folder)
    torch.save({}, folder / "spk_dict.pt")  # the voices, without which it is not loaded
    _read(folder, Qwen2_5OmniProcessor, tokenizer, 14)


def qwen3_omni(folder: Path) -> None:
    names = {
        "image_token": "<|image_pad|>",
        "audio_token": "<|audio_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
    }
    tokenizer = _tokens(folder, names)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = Qwen3OmniMoeConfig(
        enable_audio_output=False,
        thinker_config={
            "text_config": {
                **TEXT,
                **token_ids(tokenizer),
                "head_dim": 16,
                "vocab_size": len(tokenizer),
                "rope_parameters": {**ROPE, "mrope_interleaved": True},
                "moe_intermediate_size": 32,
                "num_experts": 4,
                "num_experts_per_tok": 2,
            },
            "vision_config": {
                **SIGHT,
                "patch_size": 16,
                "num_position_embeddings": 256,
                "deepstack_visual_indexes": [0],
            },
            "audio_config": {**HEARING, "n_window_infer": 50, "downsample_hidden_size": 8},
            "image_token_id": ids["image_token"],
            "audio_token_id": ids["audio_token"],
            "video_token_id": ids["video_token"],
            "audio_start_token_id": ids["audio_bos_token"],
            "audio_end_token_id": ids["audio_eos_token"],
            "vision_start_token_id": ids["vision_bos_token"],
            "vision_end_token_id": ids["vision_eos_token"],
        },
    )
    Qwen3OmniMoeForConditionalGeneration(config).save_pretrained(folder)
    _read(folder, Qwen3OmniMoeProcessor, tokenizer, 16)
