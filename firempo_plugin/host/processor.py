"""`processor_name_or_path`: a processor for checkpoints that ship none, in training, chat, API and export."""

from typing import Any


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


def shrunk_first(processor: Any) -> str | None:
    """What to say where the host scales images down to fewer pixels than the model takes; None where it does not.

    Args:
        processor: The host's, with its `image_max_pixels`; None for a model without.
    """
    if processor is None or processor.image_processor is None:
        return None
    size = dict(processor.image_processor.size)
    height, width = size.get("height"), size.get("width")
    if height is None or width is None or height * width <= processor.image_max_pixels:
        return None
    return (
        f"The model takes images of {width} x {height} = {width * height} pixels, and LLaMA-Factory scales larger ones "
        f"down to image_max_pixels: {processor.image_max_pixels} before: detail is lost. "
        "Write a larger image_max_pixels, for example `image_max_pixels: 16777216`."
    )


def load_processor(model_args: Any) -> Any:
    """Loads the processor that `processor_name_or_path` names.

    Raises:
        ValueError: There is no processor there.
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
        raise ValueError(f"processor_name_or_path: no processor could be loaded from {place}: {error}") from error
    if not isinstance(processor, ProcessorMixin):
        raise ValueError(
            f"processor_name_or_path: {place} holds a {type(processor).__name__}, not a processor of a "
            "vision-language model. Name a checkpoint that ships a processor, for example "
            "`processor_name_or_path: Qwen/Qwen2.5-VL-7B-Instruct`."
        )
    return processor
