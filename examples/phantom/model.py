"""Builds the model that is to become the base model: a small true Qwen3-VL whose vision tower knows what a nodule is.

    python model.py FOLDER [--steps 350] [--seed 0]

Architecture, file layout, tokeniser class and processor are those of the released models. From scratch, the language
loss alone does not make so small a model look at the image, so its vision tower is first taught presence, side, zone
and size of nodules, and that a defect of the detector is no nodule, by linear heads, which are thrown away afterwards.
The language model stays random.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import ATTRIBUTES, SIZE, Mask, Nodule, Phantom, draw, patch, spoil
from numpy.typing import NDArray
from questions import corpus
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from firempo_plugin.demo.tiny_model import CHAT_TEMPLATE, END, PADDING, SPECIAL, learn_tokenizer

PATCH, MERGE = 8, 2
"""Pixels of a patch, and patches of an image token, along a side: 36 tokens for an image."""
SIDE = SIZE // (PATCH * MERGE)
"""Image tokens along a side."""
COVERED = 0.1
"""Share of an image token that a nodule must cover to count as being there."""
SPOILT = 0.5
"""Share of the pictures with a defect of the detector, on the nodule or elsewhere."""
VOCABULARY = 400
BATCH = 48
RATE = 2e-3
HEADS = ("present", *ATTRIBUTES)


def tokenizer() -> Any:
    """A byte-pair tokeniser that has learnt its words from the phantom's texts."""
    return learn_tokenizer([*corpus(), "user\n", "assistant\n"] * 4, VOCABULARY, 1024)


def processor(words: Any) -> Any:
    """The processor of the released models, at the phantom's size."""
    sight = {"patch_size": PATCH, "merge_size": MERGE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    pixels = {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": SIZE * SIZE}
    images = Qwen2VLImageProcessor(size=dict(pixels), **sight)
    videos = Qwen3VLVideoProcessor(size=dict(pixels), **sight)
    return Qwen3VLProcessor(images, words, videos, chat_template=CHAT_TEMPLATE)


def model(words: Any) -> Any:
    """A random model of about a million parameters."""
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    text = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
        "eos_token_id": ids[END],
        "pad_token_id": ids[PADDING],
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
    }
    vision = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": 144,
        "deepstack_visual_indexes": [1],
        "initializer_range": 0.05,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
    made = Qwen3VLForConditionalGeneration(config)
    made.generation_config = GenerationConfig(eos_token_id=[ids[END], ids[PADDING]], pad_token_id=ids[PADDING])
    return made


@dataclass(frozen=True)
class Lesson:
    """A batch of new images without any habit.

    Attributes:
        pictures: [SIZE, SIZE, 3] each.
        image: [BATCH, heads], the class of the image; -1 where there is nothing to tell.
        tokens: [BATCH, image tokens, heads], of every image token: whether the nodule covers some of it, and what the
            nodule is like where it does; else -1.
    """

    pictures: list[NDArray[np.uint8]]
    image: Tensor
    tokens: Tensor


def lesson(random: np.random.Generator) -> Lesson:
    """Draws one."""
    pictures, classes, covered = [], [], []
    for _ in range(BATCH):
        values = [int(random.integers(2)) for _ in ATTRIBUTES]
        present = random.random() < 0.8
        nodule = Nodule(*(names[value] for names, value in zip(ATTRIBUTES.values(), values, strict=True)))
        phantom = draw(nodule if present else None, random)
        if random.random() < SPOILT:
            phantom = spoil(phantom, _place(phantom, random), random)
            present = phantom.nodule is not None
        pictures.append(np.repeat(phantom.pixels[..., None], 3, axis=-1))
        classes.append([int(present), *(values if present else [-1] * len(values))])
        mask = phantom.masks.get("nodule", np.zeros((SIZE, SIZE), dtype=np.bool_))
        grid = mask.reshape(SIDE, PATCH * MERGE, SIDE, PATCH * MERGE).mean((1, 3)) > COVERED
        covered.append(grid.reshape(-1))
    image = torch.tensor(classes)
    here = torch.from_numpy(np.stack(covered))[..., None]
    tokens = torch.where(here, image[:, None], -1)
    tokens[..., 0] = here[..., 0].long()
    return Lesson(pictures, image, tokens)


def _place(phantom: Phantom, random: np.random.Generator) -> Mask:
    """Where a defect goes: anywhere in the lungs, on the nodule, or on a whole lung."""
    places = [patch(random), *phantom.masks.values()]
    return places[random.integers(len(places))]


def teach(pupil: Any, processing: Any, steps: int, seed: int) -> dict[str, float]:
    """Teaches the vision tower what linear heads can tell of a nodule, on each image token and on their mean.

    Returns:
        The accuracy of each head over the last tenth of the steps, on images that were not seen before.
    """
    tower = pupil.model.visual
    heads = nn.ModuleList(nn.Linear(pupil.config.text_config.hidden_size, 2 * len(HEADS)) for _ in range(2))
    weights = [*tower.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    random = np.random.default_rng(seed)
    right: list[Tensor] = []
    part = max(1, steps // 10)
    begin = time.monotonic()
    for step in range(steps):
        today = lesson(random)
        pixels = processing.image_processor(today.pictures, return_tensors="pt")
        seen = tower(pixels["pixel_values"], grid_thw=pixels["image_grid_thw"])
        losses = []
        for features in (*seen.deepstack_features, seen.pooler_output):
            tokens = features.view(BATCH, SIDE * SIDE, -1)
            told = heads[0](tokens.mean(1)).view(BATCH, -1, 2)
            losses.append(_loss(told, today.image))
            losses.append(_loss(heads[1](tokens).view(BATCH, SIDE * SIDE, -1, 2), today.tokens))
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        right.append(torch.where(today.image < 0, torch.nan, (told.argmax(-1) == today.image).float()))
        if (step + 1) % part == 0:
            so_far = ", ".join(f"{name} {value:.0%}" for name, value in _accuracy(right[-part:]).items())
            print(f"vision tower, step {step + 1}/{steps}, {time.monotonic() - begin:.0f} s: {so_far}", flush=True)
    return _accuracy(right[-part:])


def _loss(told: Tensor, classes: Tensor) -> Tensor:
    return nn.functional.cross_entropy(told.reshape(-1, 2), classes.reshape(-1), ignore_index=-1)


def _accuracy(right: list[Tensor]) -> dict[str, float]:
    return dict(zip(HEADS, torch.cat(right).nanmean(0).tolist(), strict=True))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds the phantom model and teaches its vision tower.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    words = tokenizer()
    processing, pupil = processor(words), model(words)
    print(f"{sum(weight.numel() for weight in pupil.parameters()):,} parameters, {len(words)} words")
    teach(pupil, processing, arguments.steps, arguments.seed)
    pupil.save_pretrained(arguments.folder)
    processing.save_pretrained(arguments.folder)


if __name__ == "__main__":
    main()
