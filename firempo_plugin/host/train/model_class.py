"""Which classes of models the stage refuses, told from a checkpoint's `config.json` before any code of it is run."""

from typing import Any

from ...errors import UserError

REFUSED = {
    "ernie4_5_vl_moe": (
        "has experts of its own for the tokens of images, and LLaMA-Factory does not tell it which tokens these are: "
        "images would go through the experts of text"
    ),
    "gemma3n": (
        "hands keys and values to its last layers through the cache of generation, which training switches off: it "
        "would train with other numbers than those with which it answers"
    ),
    "lfm2_vl": (
        "reads an image between two tokens of its own, in tiles where it is large; LLaMA-Factory writes neither those "
        "tokens nor more than one tile"
    ),
    "qwen2_audio": "hears, and does not see",
}
"""Model types of transformers that cannot be trained rightly here, and why."""

OTHER = "Train another model: docs/models.md lists those that were checked."


def refuse_class(model_args: Any, data_args: Any) -> None:
    """Refuses a model whose numbers are known to be wrong, or that nobody has compared with plain forwards.

    Raises:
        UserError: Says why, and what to write.
    """
    from llamafactory.data.template import TEMPLATES
    from llamafactory.extras.misc import try_download_model_from_other_hub
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers import __version__ as release

    name = model_args.model_name_or_path = try_download_model_from_other_hub(model_args)
    hub = {"cache_dir": model_args.cache_dir, "revision": model_args.model_revision, "token": model_args.hf_hub_token}
    facts, _ = PreTrainedConfig.get_config_dict(name, **hub)
    model_type = facts.get("model_type")
    if model_type in REFUSED:
        raise UserError(f"{name}: {model_type} {REFUSED[model_type]}. {OTHER}")
    template = TEMPLATES.get(data_args.template)
    if template is None or (template.mm_plugin.image_token is None and template.mm_plugin.audio_token is None):
        return
    known = model_type in CONFIG_MAPPING
    if "AutoConfig" in facts.get("auto_map", {}) and (model_args.trust_remote_code or not known):
        remedy = f"Remove trust_remote_code: transformers has {model_type} itself." if known else OTHER
        raise UserError(
            f"{name} runs model code of its own (`auto_map` in its config.json), which was never compared with plain "
            f"forwards here: its numbers could be wrong without a word. {remedy}"
        )
    if not known:
        raise UserError(f"{name}: transformers {release} has no model of type {model_type}. {OTHER}")
