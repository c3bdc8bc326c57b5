"""A model as it is measured: the host's, in evaluation mode, with its adapter beside its weights, as in training."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...evaluate.store import Measured
from ...records import RejectedError
from ..arguments import STAGE
from ..sentences import refused_by_the_host
from ..validate import quiet_host


@dataclass(frozen=True)
class Start:
    """What model arguments make of themselves, short of the model.

    Attributes:
        model_args, finetuning_args, template: The host's.
        tokens: The host's `tokenizer` and `processor` by these names.
    """

    model_args: Any
    finetuning_args: Any
    template: Any
    tokens: dict[str, Any]


def start(arguments: dict[str, Any]) -> Start:
    """Reads inference arguments and loads their tokeniser and processor."""
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_tokenizer

    with quiet_host(), refused_by_the_host():
        model_args, data_args, finetuning_args, _ = get_infer_args(arguments)
        tokens = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    return Start(model_args, finetuning_args, template, tokens)


def load(started: Start, adapter: str | None) -> Any:
    """The model, frozen; adapters among the arguments are merged into it, `adapter` stays one that can be switched."""
    from llamafactory.model import load_model
    from peft import PeftModel

    with quiet_host():
        model = load_model(started.tokens["tokenizer"], started.model_args, started.finetuning_args)
    return model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()


def measured(identity: str, kind: str, image: str, measure: Callable[[], Measured]) -> Measured:
    """What is measured of a record or row, and of which image; an item with the reason where it cannot be."""
    try:
        found = measure()
    except RejectedError as reason:
        found = Measured(identity, kind, {}, skipped=str(reason))
    return replace(found, of=image)


def known_by(image: str | bytes) -> str:
    """What an image is known by in what is stored, which names no file: the same for the same place or bytes."""
    content = os.path.realpath(image).encode("utf-8", "surrogateescape") if isinstance(image, str) else image
    return hashlib.sha256(content).hexdigest()[:16]


def training_arguments(arguments: dict[str, Any], dataset: str, dataset_dir: str) -> dict[str, Any]:
    """The arguments with which training would read a data set for this model."""
    defaults = {"finetuning_type": "lora"}
    data = {"stage": STAGE, "do_train": True, "dataset": dataset, "dataset_dir": dataset_dir}
    return {**defaults, **arguments, **data}
