"""The models that are measured, as data, and a checkpoint folder of each without weights.

Weights are random: speed and memory depend on shapes only. Every embedding has the real number of rows, while
the tokeniser is the small one of the package's demo, so that nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from firempo_plugin.demo import tiny_model

LARGEST_IMAGE_TOKENS = 4096


@dataclass(frozen=True)
class Family:
    """The classes of a model family."""

    config: Callable[..., Any]
    processor: Callable[..., Any]
    videos: Callable[..., Any]
    architecture: str


FAMILIES = {
    "qwen3_vl": Family(Qwen3VLConfig, Qwen3VLProcessor, Qwen3VLVideoProcessor, "Qwen3VLForConditionalGeneration"),
    "qwen2_5_vl": Family(
        Qwen2_5_VLConfig, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, "Qwen2_5_VLForConditionalGeneration"
    ),
}
TEMPLATES = {"qwen3_vl": "qwen3_vl_nothink", "qwen2_5_vl": "qwen2_vl", "llava": "llava"}
"""LLaMA-Factory's template of each family."""


@dataclass(frozen=True)
class Preset:
    """A model and how it is trained.

    Attributes:
        name: As on the command line.
        family: Key of `TEMPLATES`, and of `FAMILIES` where its files are written here.
        device: "cpu" or "cuda".
        dtype: Of the frozen weights and of the computation.
        text, vision: Shapes, by the names of the family's configuration.
        tied: Whether the head shares the embedding's weights.
        lora_rank: Of the adapter on the language model's linear layers.
        adapter_std: Standard deviation of the adapter's B, which starts at 0 in training.
        batch: Pairs of a micro-batch.
        accumulation: Micro-batches of a step.
        checkpointing: Whether gradient checkpointing is on, one run each.
        plain_tokens: Most image tokens of a micro-batch that the machine's memory holds for the contestants with
            full logits; they run a larger one in parts, to the same loss. None for no limit.
        quantization_bit: Of the frozen weights, by bitsandbytes; None where they are not quantised.
    """

    name: str
    family: str
    device: str
    dtype: str
    text: dict[str, Any] = field(hash=False)
    vision: dict[str, Any] = field(hash=False)
    tied: bool
    lora_rank: int
    adapter_std: float
    batch: int = 4
    accumulation: int = 1
    checkpointing: tuple[bool, ...] = (False,)
    plain_tokens: int | None = None
    quantization_bit: int | None = None

    @property
    def pixels_per_token(self) -> int:
        """The side of the square of pixels that one image token stands for."""
        return int(self.vision["patch_size"] * self.vision["spatial_merge_size"])


def _rope(theta: float, *sections: int, **more: object) -> dict[str, object]:
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": list(sections), **more}


_GPU: dict[str, Any] = {
    "device": "cuda",
    "dtype": "bfloat16",
    "lora_rank": 128,
    "adapter_std": 0.01,
    "accumulation": 2,
    "checkpointing": (True, False),
}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="cpu",
            family="qwen3_vl",
            device="cpu",
            dtype="float32",
            text={
                "vocab_size": 151936,
                "hidden_size": 256,
                "intermediate_size": 1024,
                "num_hidden_layers": 12,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 32,
                "max_position_embeddings": 8192,
                "rope_parameters": _rope(5e6, 6, 5, 5, mrope_interleaved=True),
            },
            # An image token costs the tower about half of what it costs the language model, as in Qwen3-VL-4B.
            vision={
                "depth": 3,
                "hidden_size": 128,
                "intermediate_size": 512,
                "num_heads": 2,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "out_hidden_size": 256,
                "num_position_embeddings": 2304,
                "deepstack_visual_indexes": [0, 1, 2],
            },
            tied=True,
            lora_rank=16,
            adapter_std=0.1,
            plain_tokens=2048,
        ),
        Preset(
            name="qwen3_vl_4b",
            family="qwen3_vl",
            text={
                "vocab_size": 151936,
                "hidden_size": 2560,
                "intermediate_size": 9728,
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 262144,
                "rope_parameters": _rope(5e6, 24, 20, 20, mrope_interleaved=True),
            },
            vision={
                "depth": 24,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_heads": 16,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "out_hidden_size": 2560,
                "num_position_embeddings": 2304,
                "deepstack_visual_indexes": [5, 11, 17],
            },
            tied=True,
            **_GPU,
        ),
        Preset(
            name="qwen2_5_vl_7b",
            family="qwen2_5_vl",
            text={
                "vocab_size": 152064,
                "hidden_size": 3584,
                "intermediate_size": 18944,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_key_value_heads": 4,
                "max_position_embeddings": 128000,
                "rope_parameters": _rope(1e6, 16, 24, 24),
            },
            vision={
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "out_hidden_size": 3584,
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
            },
            tied=False,
            **_GPU,
        ),
    )
}

SMALL_TEXT = {
    "vocab_size": 2000,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
SMALL_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 64,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
    "fullatt_block_indexes": [1],
}
ROTARY_SECTIONS = [6, 5, 5]


def shrunk(preset: Preset) -> Preset:
    """The preset with shapes that run in a moment on a CPU, and everything else as it is."""
    text = {name: SMALL_TEXT.get(name, value) for name, value in preset.text.items()}
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": ROTARY_SECTIONS}
    vision = {name: SMALL_VISION.get(name, value) for name, value in preset.vision.items()}
    return replace(preset, device="cpu", text=text, vision=vision, lora_rank=4, adapter_std=0.1)


QLORA = replace(
    PRESETS["qwen2_5_vl_7b"], name="qwen2_5_vl_7b_qlora", quantization_bit=4, checkpointing=(True,), accumulation=1
)
PRESETS[QLORA.name] = QLORA


@dataclass(frozen=True)
class Checkpoint:
    """A preset and the folder with its configuration, tokeniser and processor.

    Attributes:
        preset: The model.
        folder: Where its files are.
        checkpointing: Whether gradient checkpointing is on.
        threads: Of torch on the CPU.
        attention: LLaMA-Factory's name of it; "disabled" is the eager one.
        adapter: Folder of a LoRA adapter, for a folder with weights; None where both are drawn at random.
    """

    preset: Preset
    folder: Path
    checkpointing: bool = False
    threads: int = 2
    attention: str = "sdpa"
    adapter: Path | None = None

    def parts(self, rows: list[Any], image_tokens: int) -> list[list[Any]]:
        """A micro-batch as the contestants with full logits run it: whole, or in equal parts that fit."""
        most = self.preset.plain_tokens
        count = 1
        while most is not None and len(rows) * image_tokens > most * count and len(rows) % (2 * count) == 0:
            count *= 2
        size = len(rows) // count
        return [rows[at : at + size] for at in range(0, len(rows), size)]


def write_checkpoint(preset: Preset, folder: Path, *, weights: bool = False) -> None:
    """Writes all files of a checkpoint; random weights if asked for or quantised, else they are drawn at loading."""
    tiny_model.build(folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    family = FAMILIES[preset.family]
    config = _config(preset, family, tokenizer)
    config.save_pretrained(folder)
    if weights or preset.quantization_bit is not None:
        with torch.device(preset.device):
            AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, preset.dtype)).save_pretrained(folder)
    patches = {"patch_size": preset.vision["patch_size"], "merge_size": preset.vision["spatial_merge_size"]}
    token = preset.pixels_per_token**2
    size = {"shortest_edge": token, "longest_edge": LARGEST_IMAGE_TOKENS * token}
    images = Qwen2VLImageProcessor(size=dict(size), **patches)
    videos = family.videos(size=dict(size), **patches)
    processor = family.processor(images, tokenizer, videos, chat_template=tiny_model.CHAT_TEMPLATE)
    processor.save_pretrained(folder)


def _config(preset: Preset, family: Family, tokenizer: Any) -> Any:
    ids = dict(zip(tiny_model.SPECIAL, tokenizer.convert_tokens_to_ids(list(tiny_model.SPECIAL)), strict=True))
    ends = {"eos_token_id": ids[tiny_model.END], "pad_token_id": ids[tiny_model.PADDING]}
    config = family.config(
        text_config={**preset.text, **ends, "bos_token_id": None, "tie_word_embeddings": preset.tied},
        vision_config=dict(preset.vision),
        tie_word_embeddings=preset.tied,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        **ends,
    )
    config.architectures = [family.architecture]
    config.dtype = preset.dtype
    return config
