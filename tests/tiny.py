"""Tiny, randomly initialised models of the true architectures, saved as checkpoints that the host loads.

Qwen3-VL comes from the package's own demo; the others share its tokeniser. Those whose layers attend within a window
have one that is shorter than any prompt.
"""

from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    GotOcr2ImageProcessor,
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
    MistralConfig,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
    Phi3Config,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    SiglipVisionConfig,
)

from firempo_plugin.demo import tiny_model

TEMPLATES = {
    "qwen3_vl": "qwen3_vl_nothink",
    **dict.fromkeys(("qwen2_5_vl", "qwen2_5_vl_windows"), "qwen2_vl"),
    **dict.fromkeys(("llava", "llava_mistral", "llava_phi3", "llava_gemma3"), "llava"),
    "mllama": "mllama",
    "llava_onevision": "llava_next_qwen",
    "llava_next": "llava_next",
    "gemma3": "gemma3",
    "glm4v": "glm4v",
    "glm4v_moe": "glm4_5v",
    "internvl": "intern_vl",
    **dict.fromkeys(("gemma4", "gemma4_small"), "gemma4"),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), "qwen3_5_nothink"),
}
WITH_TREES = (
    *("qwen3_vl", "qwen2_5_vl", "llava", "llava_next", "llava_onevision", "gemma3"),
    *("glm4v", "glm4v_moe", "internvl", "gemma4", "gemma4_small"),
)
"""One of each family that is run as trees, with image features that are shared."""
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
WINDOW = 8
ONE_OF_EACH = ["sliding_attention", "full_attention"]
EXPERTS = {
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "head_dim": 16,
}
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
LAYERED = {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": ONE_OF_EACH}

PreTrainedConfig.__repr__ = object.__repr__  # which every load writes, even into a log that is off: 1/10 of a small run


def build(family: str, folder: Path) -> Path:
    """Writes a checkpoint of the family into the folder and returns it."""
    builders = {
        "qwen3_vl": tiny_model.build,
        "qwen2_5_vl": _qwen2_5_vl,
        "qwen2_5_vl_windows": partial(_qwen2_5_vl, **LAYERED),
        "llava": _llava,
        "mllama": _mllama,
        "llava_onevision": _llava_onevision,
        "llava_next": _llava_next,
        "gemma3": _gemma3,
        "qwen3_5": _qwen3_5,
        "qwen3_5_moe": partial(
            _qwen3_5,
            config=Qwen3_5MoeConfig,
            model=Qwen3_5MoeForConditionalGeneration,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
            num_experts=4,
            num_experts_per_tok=2,
        ),
        "internvl": _internvl,
        "gemma4": partial(_gemma4, num_hidden_layers=3, layer_types=["full_attention", *ONE_OF_EACH], **GEMMA_4_LARGE),
        "gemma4_small": partial(
            _gemma4, num_hidden_layers=3, layer_types=[*ONE_OF_EACH, "full_attention"], **GEMMA_4_SMALL
        ),
        "glm4v": _glm4v,
        "glm4v_moe": partial(_glm4v, config=Glm4vMoeConfig, model=Glm4vMoeForConditionalGeneration, **EXPERTS),
        "llava_mistral": partial(_llava, text=MistralConfig, sliding_window=WINDOW),
        "llava_phi3": partial(_llava, text=Phi3Config, sliding_window=WINDOW),
        "llava_gemma3": partial(
            _llava, text=Gemma3TextConfig, sliding_window=WINDOW, layer_types=ONE_OF_EACH, head_dim=16
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        builders[family](folder)
    return folder


def build_adapter(checkpoint: Path, folder: Path) -> Path:
    """Writes a LoRA adapter of the checkpoint's language model whose B is not zero, and returns its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForImageTextToText.from_pretrained(checkpoint)
        targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path):
    tiny_model.build(folder / "source")
    return AutoTokenizer.from_pretrained(folder / "source")


def _token_ids(tokenizer) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }


def _qwen2_5_vl(folder: Path, **attention) -> None:
    tokenizer = _tokenizer(folder)
    ids = _token_ids(tokenizer)
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            **attention,
            **ids,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        **ids,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}
    images = Qwen2VLImageProcessor(size=dict(size), patch_size=14, merge_size=2)
    videos = Qwen2VLVideoProcessor(size=dict(size), patch_size=14, merge_size=2)
    Qwen2_5_VLProcessor(image_processor=images, tokenizer=tokenizer, video_processor=videos).save_pretrained(folder)


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


def _llava(folder: Path, text=Qwen2Config, **attention) -> None:
    tokenizer = _tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = LlavaConfig(
        text_config=text(**TEXT, **attention, **_token_ids(tokenizer), vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**CLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
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


def _mllama(folder: Path) -> None:
    tokenizer = _tokenizer(folder)
    turns = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*turns, "<|image|>"]})
    image = tokenizer.convert_tokens_to_ids("<|image|>")  # the input embeddings have rows that the output has not
    config = MllamaConfig(
        text_config={
            **TEXT,
            **_token_ids(tokenizer),
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


SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "vision_use_head": False,
}


def _llava_onevision(folder: Path) -> None:
    tokenizer = _tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**TEXT, **_token_ids(tokenizer), vocab_size=len(tokenizer)),
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


def _llava_next(folder: Path) -> None:
    tokenizer = _tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = LlavaNextConfig(
        text_config=Qwen2Config(**TEXT, **_token_ids(tokenizer), vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**CLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, image_grid_pinpoints=PINPOINTS
    )
    LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def _gemma3(folder: Path) -> None:
    tokenizer = _tokenizer(folder)
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
            **_token_ids(tokenizer),
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


def _glm4v(folder: Path, config=Glm4vConfig, model=Glm4vForConditionalGeneration, **experts) -> None:
    tokenizer = _tokenizer(folder)
    names = {f"{which}_{kind}": f"<|{which}_of_{kind}|>" for which in ("begin", "end") for kind in ("image", "video")}
    turns = ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "</answer>"]
    kinds = ["<|image|>", "<|video|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*turns, *kinds, *names.values()]})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = config(
        text_config={
            **TEXT,
            **_token_ids(tokenizer),
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


def _internvl(folder: Path) -> None:
    tokenizer = _tokenizer(folder)
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
            **_token_ids(tokenizer),
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


def _qwen3_5(folder: Path, config=Qwen3_5Config, model=Qwen3_5ForConditionalGeneration, **experts) -> None:
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
            **_token_ids(tokenizer),
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


def _gemma4(folder: Path, **text) -> None:
    tokenizer = _tokenizer(folder)
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
            **_token_ids(tokenizer),
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
