"""The model of a training without its weights: its shapes, what of it trains, and the bytes that it will take."""

from typing import Any

import torch
from peft import PeftModel
from torch import nn

from ...errors import UserError
from ...forward.families import FAMILIES
from ..sentences import refused_by_the_host
from ..validate import Run

BITS_BYTES = {4: 0.516, 8: 1.0}
"""Bytes of a quantised number by bits, with the scales: of 64 numbers a byte, of 256 of these a float32; of 8 bit left
out."""


def without_weights(run: Run, config: dict[str, Any]) -> Any:
    """The host's model with what it trains, on the meta device; its configuration's quantisation is not applied.

    Args:
        run: Of the configuration; it gets back what training has and a check of rows has not.
        config: The training YAML's content.
    """
    from llamafactory.model import load_config, load_model
    from transformers.modeling_utils import local_torch_dtype

    from ..train.workflow import checkpoint_exactly

    training_args = run.training_args
    training_args.bf16, training_args.fp16 = bool(config.get("bf16")), bool(config.get("fp16"))
    training_args.deepspeed, training_args.fsdp = config.get("deepspeed"), config.get("fsdp") or []
    run.finetuning_args.pure_bf16 = bool(config.get("pure_bf16"))
    run.model_args.train_from_scratch = True
    run.model_args.resize_vocab = False  # it fills new rows from the numbers of the others
    with refused_by_the_host():
        kind = weight_type(load_config(run.model_args))
    with refused_by_the_host(), torch.device("meta"), local_torch_dtype(kind):
        checkpoint_exactly(run.model_args)
        model = load_model(run.tokens["tokenizer"], run.model_args, run.finetuning_args, is_trainable=True)
    model.config.dtype = kind
    text = model.config.get_text_config()
    if run.model_args.flash_attn == "fa2":  # which the host leaves out where it is not installed
        text._attn_implementation = "flash_attention_2"
    return model


def weight_type(config: Any) -> torch.dtype:
    """The type of a checkpoint's weights; float32 where its configuration does not say."""
    return named_type(config) or torch.float32


def named_type(config: Any) -> torch.dtype | None:
    """The type of the weights by a configuration, which may name it for the language model alone, or not at all."""
    kind: torch.dtype | None = config.dtype or config.get_text_config().dtype
    return kind


def base_of(model: Any) -> Any:
    """The model inside an adapter's wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def quantised_bits(model: Any, model_args: Any) -> int | None:
    """Bits of the frozen linear layers, by the YAML or by the checkpoint; None where they are not quantised.

    Raises:
        UserError: The checkpoint is quantised in a way that is not counted.
    """
    written = vars(model.config).get("quantization_config")
    if written is None:
        bits: int | None = model_args.quantization_bit
        return bits
    facts = written if isinstance(written, dict) else written.to_dict()
    found = facts.get("bits") or (4 if facts.get("load_in_4bit") else 8 if facts.get("load_in_8bit") else None)
    if found not in BITS_BYTES:
        raise UserError(
            f"{model_args.model_name_or_path} is quantised by {facts.get('quant_method')}, whose memory is not counted"
        )
    return int(found)


def weight_bytes(model: Any, bits: int | None) -> int:
    """Bytes of a model's weights.

    Args:
        model: Of `without_weights`.
        bits: Of its frozen linear layers, the head left out; None for those of their type.
    """
    head = base_of(model).get_output_embeddings()
    packed = {
        id(module.weight)
        for module in model.modules()
        if bits and isinstance(module, nn.Linear) and module is not head and not module.weight.requires_grad
    }
    plain = sum(weight.nbytes for weight in model.parameters() if id(weight) not in packed)
    return plain + int(
        sum(weight.numel() * BITS_BYTES[bits or 8] for weight in model.parameters() if id(weight) in packed)
    )


def patch_numbers(model: Any) -> int:
    """Numbers of one patch of an image, as the vision tower's first layer takes them."""
    base = base_of(model)
    for name, part in base.base_model.named_children():
        if name in FAMILIES[base.config.model_type].vision:
            for module in part.modules():
                if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
                    return int(module.weight[0].numel())
    raise UserError(f"{base.config.model_type} has no layer that takes patches of images")
