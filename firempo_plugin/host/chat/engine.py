"""Image tokens at their true places when LLaMA-Factory's own engine answers: chat, API, `firempo build`, evaluation.

The host's engine does not say which tokens of a prompt are an image's. transformers then generates as if they were
text, without an error: Qwen-VL models read an image as one long line, and answer worse than they can. Training is not
concerned; it is given the positions themselves.
"""

import inspect
from typing import Any

KIND = "mm_token_type_ids"
GRIDS = ("image_grid_thw", "video_grid_thw")
IMAGE, VIDEO = 1, 2


def extend_engine(module: Any) -> None:
    """Adds the kinds of tokens to what the host's engine generates with."""
    engine = module.HuggingfaceEngine
    process = engine._process_args

    def _process_args(model: Any, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], int]:
        generating, prompt_length = process(model, *args, **kwargs)
        if KIND not in generating and any(name in generating for name in GRIDS) and takes_kinds(model):
            generating[KIND] = token_kinds(generating["inputs"], model.config)
        return generating, prompt_length

    engine._process_args = staticmethod(_process_args)


def takes_kinds(model: Any) -> bool:
    """Whether a model, with or without a PEFT adapter, computes image positions from the kinds of tokens."""
    from peft import PeftModel

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return KIND in inspect.signature(base.forward).parameters


def token_kinds(input_ids: Any, config: Any) -> Any:
    """[N, T]: 0 for text, 1 for an image's tokens, 2 for a video's."""
    images = (input_ids == config.image_token_id).long() * IMAGE
    return images + (input_ids == config.video_token_id).long() * VIDEO
