"""Which classes of models the stage refuses, told from a checkpoint's `config.json` before any code of it is run."""

from typing import Any

from ...errors import UserError

_CACHED_STATES = (
    "hands keys and values to its last layers through the cache of generation, which training switches off: it "
    "would train with other numbers than those with which it answers"
)
REFUSED = {
    "ernie4_5_vl_moe": (
        "has experts of its own for the tokens of images, and LLaMA-Factory does not tell it which tokens these are: "
        "images would go through the experts of text"
    ),
    "gemma3n": _CACHED_STATES,
    "gemma3n_text": _CACHED_STATES,
    "lfm2_vl": (
        "reads an image between two tokens of its own, in tiles where it is large; LLaMA-Factory writes neither those "
        "tokens nor more than one tile"
    ),
    "qwen2_audio": "hears, and does not see",
}
"""Model types of transformers that cannot be trained rightly here, and why."""

COMPARED = (
    *("gemma3", "gemma4", "glm4v", "glm4v_moe", "glm_ocr", "internvl", "llama4"),
    *("llava", "llava_next", "llava_next_video", "llava_onevision", "mistral3", "mllama", "paligemma"),
    *("qwen2_5_omni", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_5_moe", "qwen3_omni_moe"),
    *("qwen3_vl", "qwen3_vl_moe", "video_llava"),
)
"""Model types that see, and were held to plain forwards; a release of transformers may have others too."""

OTHER = "Train another model: docs/models.md lists those that were checked."
OWN_CODE = ("AutoConfig", "AutoModel")
"""How keys of `auto_map` begin that stand for a model's code; others are for tokenizers and processors."""


def refuse_class(model_args: Any, data_args: Any) -> None:
    """Refuses a model whose numbers are known to be wrong, or that nobody has compared with plain forwards.

    Raises:
        UserError: Says why, and what to write.
    """
    from llamafactory.data.template import TEMPLATES
    from transformers import CONFIG_MAPPING
    from transformers import __version__ as release

    name, facts = _read_config(model_args)
    model_type = facts.get("model_type")
    if model_type in REFUSED:
        raise UserError(f"{name}: {model_type} {REFUSED[model_type]}. {OTHER}")
    template = TEMPLATES.get(data_args.template)
    if template is None or (template.mm_plugin.image_token is None and template.mm_plugin.audio_token is None):
        return
    if model_type is None:
        raise UserError(
            f"model_name_or_path: {name} has no config.json that names a model_type. Write the model itself; of an "
            "adapter write its base model there, and its own folder as adapter_name_or_path"
        )
    known = model_type in CONFIG_MAPPING
    of_its_own = any(key.startswith(OWN_CODE) for key in facts.get("auto_map") or ())
    if of_its_own and (model_args.trust_remote_code or not known):
        remedy = f"Write `trust_remote_code: false`: transformers has {model_type} itself." if known else OTHER
        raise UserError(
            f"{name} runs model code of its own (`auto_map` in its config.json), which was never compared with plain "
            f"forwards here: its numbers could be wrong without a word. {remedy}"
        )
    if model_type not in COMPARED and not _only_reads(model_type):
        lacking = "" if known else f", and transformers {release} does not have it"
        raise UserError(
            f"{name}: {model_type} was never compared with plain forwards here: its numbers could be wrong without a "
            f"word{lacking}. {OTHER}"
        )


def _read_config(model_args: Any) -> tuple[str, dict[str, Any]]:
    """Where a model is, and what its `config.json` says.

    Raises:
        UserError: There is no such model, or it cannot be read.
    """
    from llamafactory.extras.misc import try_download_model_from_other_hub
    from transformers import PreTrainedConfig

    name = model_args.model_name_or_path = try_download_model_from_other_hub(model_args)
    hub = {"cache_dir": model_args.cache_dir, "revision": model_args.model_revision, "token": model_args.hf_hub_token}
    try:
        facts, _ = PreTrainedConfig.get_config_dict(name, **hub)
    except (OSError, ValueError) as error:
        raise UserError(f"model_name_or_path: {name} cannot be read: {error}") from error
    return name, facts


def _only_reads(model_type: str) -> bool:
    """Whether transformers has a model type for text alone, which a template of images does no harm."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (
        model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    )
