"""What a run may keep on disk between epochs and runs, and when it may."""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ..forward.reference_cache import ReferenceCache, weights_digest
from ..forward.score import Runner
from ..objectives import Settings


def check_folder(key: str, folder: str) -> Path:
    """Makes a cache's folder.

    Raises:
        ValueError: Nothing can be written there.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ValueError(
            f"{key}: nothing can be written to {folder}: {error.strerror}. Name another folder."
        ) from error


def check_reference_cache(training_args: Any, finetuning_args: Any, settings: Settings) -> None:
    """Refuses `fire_reference_cache` where its entries could not be used, before a model is loaded.

    Raises:
        ValueError: Says what stands against it.
    """
    if finetuning_args.fire_reference_cache is None:
        return
    separate = finetuning_args.finetuning_type in ("full", "freeze") or finetuning_args.ref_model is not None
    obstacles = {
        "deepspeed, whose processes must all run the reference or none": bool(training_args.deepspeed),
        "fsdp, whose processes must all run the reference or none": bool(training_args.fsdp),
        "a reference with an output layer of its own (ref_model, or finetuning_type full or freeze), since the KL "
        "needs that layer": separate and settings.has_kl,
    }
    for obstacle, found in obstacles.items():
        if found:
            raise ValueError(f"fire_reference_cache cannot be used with {obstacle}. Remove fire_reference_cache.")
    check_folder("fire_reference_cache", finetuning_args.fire_reference_cache)


def reference_cache(
    finetuning_args: Any, training_args: Any, settings: Settings, model: Any, ref_model: Any, encoding: str
) -> ReferenceCache | None:
    """The run's cache of the reference, if one is wanted.

    Args:
        finetuning_args, training_args: The host's.
        settings: The objective.
        model: The policy, whose frozen weights are the reference unless there is a separate one.
        ref_model: The separate reference, or None.
        encoding: `dataset.encoding_fingerprint` of this run.

    Raises:
        ValueError: The output layer is in training, so that it cannot make the reference's logits.
    """
    if finetuning_args.fire_reference_cache is None:
        return None
    head = Runner.of(model, model).head
    if settings.has_kl and any(weight.requires_grad for weight in head.parameters()):
        raise ValueError(
            "fire_reference_cache cannot be used while the output layer is in training, since the KL needs it as it "
            "was. Remove fire_reference_cache, or train without the output layer."
        )
    reference = model if ref_model is None else ref_model
    trained = (
        {name for name, weight in model.named_parameters() if weight.requires_grad} if ref_model is None else set()
    )
    weights = ((name, weight) for name, weight in reference.state_dict().items() if name not in trained)
    config = {key: value for key, value in reference.config.to_dict().items() if key != "_name_or_path"}
    parts = {
        "weights": weights_digest(weights),
        "config": config,
        "encoding": encoding,
        "precision": [training_args.bf16, training_args.fp16],
        "attention": reference.config.get_text_config()._attn_implementation,
        "versions": [version(name) for name in ("torch", "transformers")],
    }
    digest = hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()
    return ReferenceCache(Path(os.path.abspath(finetuning_args.fire_reference_cache)), digest)
