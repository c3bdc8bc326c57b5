"""Says where a vision tower trains although it is to be frozen: LLaMA-Factory freezes those that it knows by name."""

from typing import Any

from llamafactory.model.model_utils.visual import COMPOSITE_MODELS
from peft import PeftModel


def in_training(model: Any, finetuning_args: Any) -> str:
    """A sentence about the weights of a loaded model's tower that train against `freeze_vision_tower`; else ""."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    tower = base.get_encoder(modality="image")
    if not finetuning_args.freeze_vision_tower or tower is base:
        return ""
    known = COMPOSITE_MODELS.get(base.config.model_type)
    projector = known.projector_keys if known else []
    within, decoder = (set(map(id, part.parameters())) for part in (tower, base.get_decoder()))
    trained = {name: id(weight) for name, weight in model.named_parameters() if weight.requires_grad}
    inside = [n for n, weight in trained.items() if weight in within and not any(key in n for key in projector)]
    if not inside:
        return ""
    others = {_layer(name) for name, weight in trained.items() if weight in decoder} - set(map(_layer, inside))
    remedy = f" To leave it as it is, write `lora_target: {','.join(sorted(others))}`." if others else ""
    return (
        f"freeze_vision_tower is true, and {len(inside)} weights of the vision tower train all the same (the first is "
        f"{inside[0]}): LLaMA-Factory does not know which parts of {base.config.model_type} are its tower.{remedy}"
    )


def _layer(name: str) -> str:
    """What `lora_target` calls the layer that an adapter's weight belongs to."""
    return name.partition(".lora_")[0].rpartition(".")[2]
