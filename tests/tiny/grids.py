"""Models whose image tokens follow a grid of patches: Qwen2-VL to Qwen3.5, and GLM-4V and its kin."""

from pathlib import Path

from transformers import (
    AutoTokenizer,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from firempo_plugin.demo import tiny_model

from .common import ONE_OF_EACH, TEXT, WINDOW, new_tokenizer, token_ids

EXPERTS = {
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "head_dim": 16,
}
LAYERED = {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": ONE_OF_EACH}


def qwen2_5_vl(folder: Path, **attention) -> None:
    sight = {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64}
    sight |= {"window_size": 56, "fullatt_block_indexes": [1]}
    _qwen2(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor, sight, **attention)


def qwen2_vl(folder: Path) -> None:
    sight = {"embed_dim": 32, "hidden_size": 64}
    _qwen2(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor, sight)


def _qwen2(folder: Path, config, model, processor, sight: dict, **attention) -> None:
    tokenizer = new_tokenizer(folder)
    ids = token_ids(tokenizer)
    config = config(
        text_config={
            **TEXT,
            **attention,
            **ids,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            **sight,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        **ids,
    )
    model(config).save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}
    images = Qwen2VLImageProcessor(size=dict(size), patch_size=14, merge_size=2)
    videos = Qwen2VLVideoProcessor(size=dict(size), patch_size=14, merge_size=2)
    processor(image_processor=images, tokenizer=tokenizer, video_processor=videos).save_pretrained(folder)


def qwen3_vl_moe(folder: Path) -> None:
    tiny_model.build(folder)  # whose processor is the same
    dense = Qwen3VLConfig.from_pretrained(folder)
    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen3VLMoeConfig(
        text_config={**dense.text_config.to_dict(), **experts, "model_type": "qwen3_vl_moe_text"},
        vision_config={**dense.vision_config.to_dict(), "model_type": "qwen3_vl_moe"},
        tie_word_embeddings=True,
        **{name: dense.to_dict()[name] for name in names},
    )
    Qwen3VLMoeForConditionalGeneration(config).save_pretrained(folder)


def qwen3_5(folder: Path, config=Qwen3_5Config, model=Qwen3_5ForConditionalGeneration, **experts) -> None:
    tiny_model.build(folder)  # whose processor is the same
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    config = config(
        text_config={
            **{key: value for key, value in TEXT.items() if not (experts and key == "intermediate_size")},
            **token_ids(tokenizer),
            **experts,
            "vocab_size": len(tokenizer),
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 256,
        },
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()},
    )
    model(config).save_pretrained(folder)


def glm4v(folder: Path, config=Glm4vConfig, model=Glm4vForConditionalGeneration, **experts) -> None:
    tokenizer = new_tokenizer(folder)
    names = {f"{which}_{kind}": f"<|{which}_of_{kind}|>" for which in ("begin", "end") for kind in ("image", "video")}
    turns = ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "</answer>"]
    kinds = ["<|image|>", "<|video|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*turns, *kinds, *names.values()]})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = config(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            **experts,
            "vocab_size": len(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 1, 1],
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        image_start_token_id=ids["begin_image"],
        image_end_token_id=ids["end_image"],
        video_start_token_id=ids["begin_video"],
        video_end_token_id=ids["end_video"],
    )
    model(config).save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 2 * 112 * 112}  # of two frames, which an image is
    Glm4vProcessor(
        image_processor=Glm4vImageProcessor(size=dict(size)),
        tokenizer=tokenizer,
        video_processor=Glm4vVideoProcessor(size=dict(size)),
    ).save_pretrained(folder)
