"""The base model of the table as the repository ships it: all that teaching changed, LoRA in 8 bits; 15 MB.

That file defines the base: the one who teaches it goes through 8 bits too, so that everybody's base is the same.
"""

import json
from pathlib import Path
from typing import Any

import alignment
import llava
import torch
from alignment import Weights
from safetensors.torch import load_file, save_file

TAUGHT = ("lora_", "vision_tower.", "multi_modal_projector.")
"""Names of what teaching changes; the rest is the language model's own."""
SCALE = ".scale"
WEIGHTS, FOUND = "taught.safetensors", "found.json"
STEPS = 127


def pack(model: Any) -> Weights:
    """What a model has learned since `alignment.adapt`: LoRA in 8 bits, a scale for each rank; the rest in bfloat16."""
    packed: Weights = {}
    for name, weight in model.named_parameters():
        if not any(part in name for part in TAUGHT):
            continue
        if "lora_" not in name:
            packed[name] = weight.detach().to(torch.bfloat16).contiguous()
            continue
        scale = weight.detach().float().abs().amax(int("lora_A" in name), keepdim=True).clamp_min(1e-12) / STEPS
        packed[name] = (weight.detach() / scale).round().to(torch.int8).contiguous()
        packed[name + SCALE] = scale
    return packed


def unpack(packed: Weights) -> Weights:
    """The same as weights of a model."""
    scales = {name.removesuffix(SCALE): weight for name, weight in packed.items() if name.endswith(SCALE)}
    return {
        name: weight.float() * scales[name] if name in scales else weight.float()
        for name, weight in packed.items()
        if not name.endswith(SCALE)
    }


def write(packed: Weights, found: dict[str, float], folder: Path) -> None:
    """Writes both files."""
    save_file(packed, folder / WEIGHTS)
    (folder / FOUND).write_text(json.dumps(found), encoding="utf-8")


def read(folder: Path) -> tuple[Weights, dict[str, float]]:
    """Reads both."""
    return load_file(folder / WEIGHTS), json.loads((folder / FOUND).read_text(encoding="utf-8"))


def build(start: Path, packed: Weights, target: Path) -> None:
    """Writes the merged checkpoint, in bfloat16.

    Args:
        start: The untaught model.
        packed: What it is to have learned.
        target: Gets the checkpoint.
    """
    model, tokenizer = llava.load(start, torch.float32)
    alignment.adapt(model)
    alignment.restore(model, unpack(packed))
    alignment.merge(model)
    llava.save(model.to(torch.bfloat16), tokenizer, target)
