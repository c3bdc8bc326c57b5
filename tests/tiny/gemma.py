"""Gemma 3 and 4, and PaliGemma."""

from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from .common import ONE_OF_EACH, SIGLIP, TEXT, WINDOW, new_tokenizer, token_ids

GEMMA_4_LARGE = {
    "use_bidirectional_attention": "vision",
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
    "hidden_size_per_layer_input": 0,
    "enable_moe_block": True,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 32,
}
GEMMA_4_SMALL = {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 1}
HEARING = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "subsampling_conv_channels": [128, 4],
    "output_proj_dims": 48,
}


def gemma3(folder: Path) -> None:
    tokenizer = new_tokenizer(folder)
    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    turns = ["<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>", "additional_special_tokens": [*turns, *names.values()]})
    tokenizer.save_pretrained(folder / "source")
    tokenizer = AutoTokenizer.from_pretrained(folder / "source", extra_special_tokens=names)
    config = Gemma3Config(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "head_dim": 16,
            "sliding_window": WINDOW,
            "num_hidden_layers": 3,
            "layer_types": ["full_attention", *ONE_OF_EACH],
            "vocab_size": len(tokenizer),
        },
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids(names["boi_token"]),
        eoi_token_index=tokenizer.convert_tokens_to_ids(names["eoi_token"]),
        image_token_index=tokenizer.convert_tokens_to_ids(names["image_token"]),
    )
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(
        model.model.multi_modal_projector.mm_input_projection_weight, std=0.2
    )  # zero would hide images
    model.save_pretrained(folder)
    images = Gemma3ImageProcessor(size={"height": 56, "width": 56})
    Gemma3Processor(image_processor=images, tokenizer=tokenizer, image_seq_length=4).save_pretrained(folder)


def gemma4(folder: Path, hearing=None, **text) -> None:
    tokenizer = new_tokenizer(folder)
    names = {
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "audio_token": "<|audio|>",
    }
    others = ["<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|video|>"]
    special = [*others, *names.values()]
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>", "additional_special_tokens": special})
    tokenizer.save_pretrained(folder / "source")
    tokenizer = AutoTokenizer.from_pretrained(folder / "source", extra_special_tokens=names)
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    ids["eoa_token_index"] = ids.pop("eoa_token_id")
    config = Gemma4Config(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "head_dim": 16,
            "global_head_dim": 32,
            "sliding_window": WINDOW,
            "final_logit_softcapping": 2.0,  # low, so that logits are bent
            "vocab_size": len(tokenizer),
            "vocab_size_per_layer_input": len(tokenizer),
            **text,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 8,
            "pooling_kernel_size": 2,
            "position_embedding_size": 256,
        },
        audio_config=hearing,
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        tie_word_embeddings=False,
        **ids,
    )
    Gemma4ForConditionalGeneration(config).save_pretrained(folder)
    sight = {"patch_size": 8, "pooling_kernel_size": 2, "max_soft_tokens": 70}
    Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(**sight),
        tokenizer=tokenizer,
        video_processor=Gemma4VideoProcessor(**sight),
        image_seq_length=70,
    ).save_pretrained(folder)


def paligemma(folder: Path, text=GemmaConfig, **attention) -> None:
    tokenizer = new_tokenizer(folder)
    turns = ["<start_of_turn>", "<end_of_turn>", "<image>"]
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>", "additional_special_tokens": turns})
    images = SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer)  # which adds its own tokens
    config = PaliGemmaConfig(
        text_config=text(**TEXT, **attention, **token_ids(tokenizer), head_dim=16, vocab_size=len(tokenizer)),
        vision_config=SiglipVisionConfig(**SIGLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        hidden_size=64,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
