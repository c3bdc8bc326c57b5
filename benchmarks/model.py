"""A checkpoint with random weights, loaded by LLaMA-Factory as for training, on the preset's device."""

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer
from presets import LARGEST_IMAGE_TOKENS, TEMPLATES, Checkpoint
from transformers import Seq2SeqTrainingArguments

SEED = 0
STD = 0.1
"""Of the random weights of small models: with the usual 0.02 the losses of policy and reference hardly differ."""


@dataclass(frozen=True)
class HostArguments:
    """LLaMA-Factory's argument objects of one run."""

    model: Any
    data: Any
    training: Any
    finetuning: Any


@dataclass(frozen=True)
class Loaded:
    """A model ready to be trained, with what a trainer of it needs.

    Attributes:
        checkpoint: Where it comes from.
        model: The model with its adapter, in training mode.
        tokens: The host's tokenizer and processor.
        template: The host's.
        arguments: The host's, for `stage: fire_mpo`.
    """

    checkpoint: Checkpoint
    model: Any
    tokens: dict[str, Any]
    template: Any
    arguments: HostArguments

    @property
    def device(self) -> torch.device:
        return torch.device(self.checkpoint.preset.device)


def host_arguments(
    checkpoint: Checkpoint, *, stage: str = "fire_mpo", dataset_dir: Path | None = None
) -> HostArguments:
    """The arguments of a training run with the checkpoint."""
    preset = checkpoint.preset
    model = ModelArguments(
        model_name_or_path=str(checkpoint.folder),
        adapter_name_or_path=None if checkpoint.adapter is None else str(checkpoint.adapter),
        train_from_scratch=checkpoint.adapter is None and preset.quantization_bit is None,
        quantization_bit=preset.quantization_bit,
        flash_attn=checkpoint.attention,
        disable_gradient_checkpointing=not checkpoint.checkpointing,
        image_max_pixels=LARGEST_IMAGE_TOKENS * preset.pixels_per_token**2,
        cache_dir=str(checkpoint.folder / "cache"),
    )
    model.compute_dtype = getattr(torch, preset.dtype)
    model.device_map = None
    data = DataArguments(
        template=TEMPLATES[preset.family],
        dataset="rows",
        dataset_dir=str(dataset_dir),
        media_dir=str(dataset_dir),
        cutoff_len=2 * LARGEST_IMAGE_TOKENS,
        overwrite_cache=True,
    )
    training = Seq2SeqTrainingArguments(
        output_dir=tempfile.gettempdir(),
        use_cpu=preset.device == "cpu",
        bf16=preset.dtype == "bfloat16",
        report_to=[],
        disable_tqdm=True,
    )
    finetuning = FinetuningArguments(
        stage=stage, lora_target="all", lora_rank=preset.lora_rank, lora_dropout=0.0, freeze_vision_tower=True
    )
    return HostArguments(model, data, training, finetuning)


def host_tokens(arguments: HostArguments) -> tuple[dict[str, Any], Any]:
    """The host's tokenizer module and template."""
    tokens = load_tokenizer(arguments.model)
    return tokens, get_template_and_fix_tokenizer(tokens["tokenizer"], arguments.data)


@lru_cache(maxsize=1)
def load(checkpoint: Checkpoint) -> Loaded:
    """Builds the model; the weights are the same at every call.

    In bf16 its forward runs under autocast and returns float32, as the trainers of the host prepare a model.
    """
    torch.set_num_threads(checkpoint.threads)
    preset = checkpoint.preset
    arguments = host_arguments(checkpoint)
    tokens, template = host_tokens(arguments)
    torch.manual_seed(SEED)
    with torch.device(preset.device):
        model = load_model(tokens["tokenizer"], arguments.model, arguments.finetuning, is_trainable=True)
        if checkpoint.adapter is None:
            _randomise(model, preset.adapter_std, STD if preset.device == "cpu" else None)
    half = preset.dtype == "bfloat16"
    accelerator = Accelerator(cpu=preset.device == "cpu", mixed_precision="bf16" if half else "no")
    return Loaded(checkpoint, accelerator.prepare_model(model), tokens, template, arguments)


def _randomise(model: Any, adapter_std: float, std: float | None) -> None:
    """Draws the adapter's B and, where `std` is given, the frozen matrices."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=adapter_std)
        elif std is not None and not weight.requires_grad and weight.ndim == 2 and weight.is_floating_point():
            torch.nn.init.normal_(weight, std=std)
