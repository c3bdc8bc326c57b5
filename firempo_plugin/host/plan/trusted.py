"""What a configuration names and a plan only takes on trust: told where it is not there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..train.caches import FOLDERS
from ..validate import Run
from .model import named_type


def not_there(run: Run, model_config: Any) -> Iterator[str]:
    """Sentences about what was not found.

    Args:
        run: Of the configuration, as `model.without_weights` leaves it.
        model_config: The host's `load_config` of it.
    """
    model, tuning, deepspeed = run.model_args.model_name_or_path, run.finetuning_args, run.training_args.deepspeed
    if named_type(model_config) is None:
        yield (
            f"config.json of {model} names no dtype: its weights are counted in float32, twice what bfloat16 takes. "
            'Write "dtype": "bfloat16" there if they are stored so.'
        )
    if tuning.ref_model is not None and not _has_config(tuning.ref_model, run.model_args):
        yield (
            f"ref_model: {tuning.ref_model} is neither a folder with a config.json nor a model that could be asked "
            "for: training would end there. It is counted as a second copy of the model."
        )
    if isinstance(deepspeed, str) and not Path(deepspeed).is_file():
        yield f"deepspeed: {deepspeed} does not exist (looked in {Path().absolute()}): training would end there."
    for key in FOLDERS:
        folder = vars(tuning)[key]
        if folder is not None and not Path(folder).is_dir():
            yield f"{key}: {folder} does not exist: training makes it, and knows nothing at its start."


def _has_config(name: str, model_args: Any) -> bool:
    from transformers.utils import cached_file

    try:
        cached_file(
            name,
            "config.json",
            cache_dir=model_args.cache_dir,
            revision=model_args.model_revision,
            token=model_args.hf_hub_token,
        )
    except OSError:
        return False
    return True
