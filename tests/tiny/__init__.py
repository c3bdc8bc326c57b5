"""Tiny, randomly initialised models of the true architectures, saved as checkpoints that the host loads.

Qwen3-VL comes from the package's own demo; the others share its tokeniser. Those whose layers attend within a window
have one that is shorter than any prompt.
"""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForTextToWaveform,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
    Ministral3Config,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
)

from firempo_plugin.demo import tiny_model

from .common import ONE_OF_EACH, WINDOW
from .gemma import GEMMA_4_LARGE, GEMMA_4_SMALL, HEARING, gemma3, gemma4, paligemma
from .grids import EXPERTS, LAYERED, glm4v, qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_vl_moe
from .omni import qwen2_5_omni, qwen3_omni
from .others import lfm2_vl, llama4
from .pixtral import mistral3, pixtral
from .released import RELEASED, converted
from .tiles import granite, internvl, llava, llava_next, llava_onevision, mllama, yi_projector
from .videos import llava_next_video, video_llava

TEMPLATES = {
    "qwen3_vl": "qwen3_vl_nothink",
    **dict.fromkeys(("qwen2_5_vl", "qwen2_5_vl_windows"), "qwen2_vl"),
    **dict.fromkeys(("llava", "llava_mistral", "llava_phi3", "llava_gemma3"), "llava"),
    **{family: family for family in RELEASED},
    "mllama": "mllama",
    "llava_onevision": "llava_next_qwen",
    "llava_next": "llava_next",
    "gemma3": "gemma3",
    "glm4v": "glm4v",
    "glm4v_moe": "glm4_5v",
    "internvl": "intern_vl",
    **dict.fromkeys(("gemma4", "gemma4_small"), "gemma4"),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), "qwen3_5_nothink"),
    "qwen2_vl": "qwen2_vl",
    "qwen3_vl_moe": "qwen3_vl_nothink",
    "yi_vl": "yi_vl",
    "granite": "granite3_vision",
    "pixtral": "pixtral",
    "mistral3": "mistral_small",
    "ministral3": "ministral3",
    "llava_next_video": "llava_next_video",
    "video_llava": "video_llava",
    **dict.fromkeys(("paligemma", "paligemma2"), "paligemma"),
    "lfm2_vl": "lfm2_vl",
    "llama4": "llama4",
    "glm_ocr": "glm_ocr",
    "qwen2_5_omni": "qwen2_omni",
    "qwen3_omni": "qwen3_omni_nothink",
    "gemma4n": "gemma4n",
}
WITH_TREES = (
    *("qwen3_vl", "qwen2_5_vl", "llava", "llava_next", "llava_onevision", "gemma3"),
    *("glm4v", "glm4v_moe", "internvl", "gemma4", "gemma4_small"),
)
"""One of each family that is run as trees, with image features that are shared."""
SHARING = (*WITH_TREES, "qwen3_5", "pixtral", "mistral3", "granite", "llava_next_video", "glm_ocr", "gemma4n")
"""Those, and others whose image features are shared."""

PreTrainedConfig.__repr__ = object.__repr__  # which every load writes, even into a log that is off: 1/10 of a small run


def build(family: str, folder: Path) -> Path:
    """Writes a checkpoint of the family into the folder and returns it."""
    builders = {
        "qwen3_vl": tiny_model.build,
        "qwen2_5_vl": qwen2_5_vl,
        "qwen2_5_vl_windows": partial(qwen2_5_vl, **LAYERED),
        "llava": llava,
        **dict.fromkeys(RELEASED, partial(converted, family)),
        "mllama": mllama,
        "llava_onevision": llava_onevision,
        "llava_next": llava_next,
        "gemma3": gemma3,
        "qwen3_5": qwen3_5,
        "qwen3_5_moe": partial(
            qwen3_5,
            config=Qwen3_5MoeConfig,
            model=Qwen3_5MoeForConditionalGeneration,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
            num_experts=4,
            num_experts_per_tok=2,
        ),
        "internvl": internvl,
        "gemma4": partial(gemma4, num_hidden_layers=3, layer_types=["full_attention", *ONE_OF_EACH], **GEMMA_4_LARGE),
        "gemma4_small": partial(
            gemma4, num_hidden_layers=3, layer_types=[*ONE_OF_EACH, "full_attention"], **GEMMA_4_SMALL
        ),
        "qwen2_vl": qwen2_vl,
        "qwen3_vl_moe": qwen3_vl_moe,
        "yi_vl": partial(llava, yi=True),
        "granite": granite,
        "pixtral": pixtral,
        "mistral3": mistral3,
        "ministral3": partial(mistral3, text=Ministral3Config),
        "llava_next_video": llava_next_video,
        "video_llava": video_llava,
        "paligemma": paligemma,
        "paligemma2": partial(paligemma, text=Gemma2Config, sliding_window=WINDOW, layer_types=ONE_OF_EACH),
        "lfm2_vl": lfm2_vl,
        "llama4": llama4,
        "glm_ocr": partial(glm4v, config=GlmOcrConfig, model=GlmOcrForConditionalGeneration),
        "qwen2_5_omni": qwen2_5_omni,
        "qwen3_omni": qwen3_omni,
        "gemma4n": partial(
            gemma4,
            hearing=HEARING,
            num_hidden_layers=3,
            layer_types=[*ONE_OF_EACH, "full_attention"],
            **GEMMA_4_SMALL,
        ),
        "glm4v": glm4v,
        "glm4v_moe": partial(glm4v, config=Glm4vMoeConfig, model=Glm4vMoeForConditionalGeneration, **EXPERTS),
        "llava_mistral": partial(llava, text=MistralConfig, sliding_window=WINDOW),
        "llava_phi3": partial(llava, text=Phi3Config, sliding_window=WINDOW),
        "llava_gemma3": partial(
            llava, text=Gemma3TextConfig, sliding_window=WINDOW, layer_types=ONE_OF_EACH, head_dim=16
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        builders[family](folder)
    return folder


def load(checkpoint: Path):
    """The model that the host trains of a checkpoint."""
    config = AutoConfig.from_pretrained(checkpoint)
    if config.model_type in ("qwen2_5_omni", "qwen3_omni_moe"):
        return AutoModelForTextToWaveform.from_pretrained(checkpoint).thinker
    with yi_projector() if config.to_dict().get("is_yi_vl_derived_model") else nullcontext():
        return AutoModelForImageTextToText.from_pretrained(checkpoint)


def build_adapter(checkpoint: Path, folder: Path) -> Path:
    """Writes a LoRA adapter of the checkpoint's language model whose B is not zero, and returns its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = load(checkpoint)
        targets = r"(.*language_model|model\.layers).*\.(q|k|v|o|gate|up|down)_proj"
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    return folder
