"""`processor_name_or_path`: a processor for checkpoints that ship none, in training, chat, API and export."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...errors import UserError

IMAGE_MAX_PIXELS = 768 * 768
"""The host's `image_max_pixels` where a configuration writes none."""

HELD_BY = (("processor_config.json", "image_processor"), ("preprocessor_config.json", None))
"""The files of a model's folder that say how it takes images, and the key of the file that holds it."""


def extend_loader(module: Any) -> None:
    """Makes the host's `load_tokenizer` take the processor from where the key says."""
    load_tokenizer = module.load_tokenizer

    def load_tokenizer_and_processor(model_args: Any) -> Any:
        tokenizer_module = load_tokenizer(model_args)
        if model_args.processor_name_or_path is not None:
            processor = load_processor(model_args)
            module.patch_processor(processor, tokenizer_module["tokenizer"], model_args)
            tokenizer_module["processor"] = processor
        return tokenizer_module

    module.load_tokenizer = load_tokenizer_and_processor


def image_settings(template: Any, processor: Any) -> dict[str, Any]:
    """All that decides which pixels and places a model gets of an image, but for the image: JSON that can be compared.

    Args:
        template: The host's, whose plug-in prepares images.
        processor: The host's; None for a model without.
    """
    plugin = template.mm_plugin
    return {
        "host": version("llamafactory"),
        "plugin": [type(plugin).__name__, plain_values(vars(plugin))],
        "processor": processor_settings(processor),
    }


def processor_settings(processor: Any) -> list[Any]:
    """The settings of a processor and its image processor, with the image limits that the host adds; JSON."""
    if processor is None:
        return []
    images = processor.image_processor
    return [type(processor).__name__, plain_values(vars(processor)), images and images.to_dict()]


def plain_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are no objects."""
    return {key: value for key, value in settings.items() if value is None or isinstance(value, str | int | float)}


def shrunk_first(processor: Any) -> str | None:
    """What to say where the host scales images down to fewer pixels than the model takes; None where it does not.

    Args:
        processor: The host's, with its `image_max_pixels`; None for a model without.
    """
    if processor is None or processor.image_processor is None:
        return None
    return _shrunk_below(dict(processor.image_processor.size or {}), processor.image_max_pixels)


def shrunk_first_in(config: Mapping[str, Any]) -> str | None:
    """The same of a training configuration whose model is a folder; None also where the folder does not say.

    Raises:
        UserError: A file of the folder is no JSON.
    """
    folder = Path(config.get("processor_name_or_path") or config.get("model_name_or_path") or "")
    for name, key in HELD_BY:
        try:
            held = json.loads((folder / name).read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError as error:
            raise UserError(f"{folder / name} is not readable JSON: {error}") from error
        settings = held.get(key) if key and isinstance(held, dict) else held
        if isinstance(settings, dict) and isinstance(settings.get("size"), dict):
            return _shrunk_below(settings["size"], int(config.get("image_max_pixels", IMAGE_MAX_PIXELS)))
    return None


def _shrunk_below(size: Mapping[str, Any], image_max_pixels: int) -> str | None:
    height, width = size.get("height"), size.get("width")
    if height is None or width is None or height * width <= image_max_pixels:
        return None
    return (
        f"The model takes images of {width} x {height} = {width * height} pixels, and LLaMA-Factory scales larger ones "
        f"down to image_max_pixels: {image_max_pixels} before: detail is lost. "
        "Write a larger image_max_pixels, for example `image_max_pixels: 16777216`."
    )


def load_processor(model_args: Any) -> Any:
    """Loads the processor that `processor_name_or_path` names.

    Raises:
        UserError: There is no processor there.
    """
    from transformers import AutoProcessor, ProcessorMixin

    place = model_args.processor_name_or_path
    try:
        processor = AutoProcessor.from_pretrained(
            place,
            use_fast=model_args.use_fast_tokenizer,
            trust_remote_code=model_args.trust_remote_code,
            cache_dir=model_args.cache_dir,
            token=model_args.hf_hub_token,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"processor_name_or_path: no processor could be loaded from {place}: {error}") from error
    if not isinstance(processor, ProcessorMixin):
        raise UserError(
            f"processor_name_or_path: {place} holds a {type(processor).__name__}, not a processor of a "
            "vision-language model. Name a checkpoint that ships a processor, for example "
            "`processor_name_or_path: Qwen/Qwen2.5-VL-7B-Instruct`."
        )
    return processor
