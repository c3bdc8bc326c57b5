"""The model: a LLaVA of SmolLM2 and a small SigLIP tower, 36 image tokens of 16 x 16 pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import SIZE, Pixels
from torch import Tensor
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

IMAGE = "<image>"
PATCH = 16
GRID = SIZE // PATCH
TOKENS = GRID * GRID
WIDTH = 192
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "image_size": SIZE,
    "patch_size": PATCH,
    "vision_use_head": False,
}
BATCH = 64
"""Images that the tower sees at a time."""


def new_tower() -> SiglipVisionModel:
    """A tower with weights of chance."""
    return SiglipVisionModel(SiglipVisionConfig(**VISION))


def join(language: Any, tokenizer: Any) -> LlavaForConditionalGeneration:
    """A LLaVA of a language model, with a tower and a projector that know nothing yet."""
    config = LlavaConfig(
        text_config=language.config,
        vision_config=SiglipVisionConfig(**VISION),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=TOKENS,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.tie_weights()
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def save(model: LlavaForConditionalGeneration, tokenizer: Any, folder: Path) -> None:
    """Writes a checkpoint that the host loads."""
    model.save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    LlavaProcessor(
        image_processor=SiglipImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        image_token=IMAGE,
        num_additional_image_tokens=0,
    ).save_pretrained(folder)


def load(folder: Path, dtype: torch.dtype) -> tuple[LlavaForConditionalGeneration, Any]:
    """A model to answer with, and its tokenizer."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    return model, LlavaProcessor.from_pretrained(folder).tokenizer


def prepared(pictures: list[Pixels]) -> Tensor:
    """Images as the tower takes them: [n, 3, SIZE, SIZE] in [-1, 1]."""
    grey = torch.from_numpy(np.stack(pictures)).float() / 127.5 - 1
    return grey[:, None].expand(-1, 3, -1, -1)


def features(tower: SiglipVisionModel, images: Tensor) -> Tensor:
    """What the tower says of images: [n, TOKENS, WIDTH]."""
    return tower(images, output_hidden_states=True).hidden_states[-1]


@torch.no_grad()
def see(tower: SiglipVisionModel, pictures: list[Pixels]) -> Tensor:
    """The same for many, without gradients, in the tower's own type."""
    dtype = next(tower.parameters()).dtype
    parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    return torch.cat([features(tower, prepared(part).to(dtype)) for part in parts])
