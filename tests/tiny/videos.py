"""Models of images and videos with a LLaVA's parts: LLaVA-NeXT-Video and Video-LLaVA."""

from pathlib import Path

from transformers import (
    CLIPVisionConfig,
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    Qwen2Config,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaImageProcessor,
    VideoLlavaProcessor,
    VideoLlavaVideoProcessor,
)

from .common import TEXT, new_tokenizer, token_ids
from .tiles import CLIP, PINPOINTS


def _parts(folder: Path):
    tokenizer = new_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    config = {
        "text_config": Qwen2Config(**TEXT, **token_ids(tokenizer), vocab_size=len(tokenizer)),
        "vision_config": CLIPVisionConfig(**CLIP),
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "video_token_index": tokenizer.convert_tokens_to_ids("<video>"),
    }
    reading = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return config, {"tokenizer": tokenizer, **reading}


def llava_next_video(folder: Path) -> None:
    config, reading = _parts(folder)
    LlavaNextVideoForConditionalGeneration(
        LlavaNextVideoConfig(**config, image_grid_pinpoints=PINPOINTS)
    ).save_pretrained(folder)
    crop = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    LlavaNextVideoProcessor(
        image_processor=LlavaNextImageProcessor(**crop, image_grid_pinpoints=PINPOINTS),
        video_processor=LlavaNextVideoVideoProcessor(**crop),
        **reading,
    ).save_pretrained(folder)


def video_llava(folder: Path) -> None:
    config, reading = _parts(folder)
    VideoLlavaForConditionalGeneration(VideoLlavaConfig(**config)).save_pretrained(folder)
    crop = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    VideoLlavaProcessor(
        image_processor=VideoLlavaImageProcessor(**crop), video_processor=VideoLlavaVideoProcessor(**crop), **reading
    ).save_pretrained(folder)
