"""Loading saved arguments of the stage, whole.

The host's board sets all fields at once; in reaction to the changes it then empties the data sets (another stage), puts
the model's own template in and takes the checkpoints out (another model). For a short while after arguments of our
stage were loaded, and while a run of it goes on (whose arguments a reloaded page takes up), these reactions answer with
what was loaded.
"""

import time
from typing import Any

from ..arguments import STAGE, STAGE_TITLE

SECONDS = 10.0


class Loaded:
    """The values that were loaded last, by element, while the browser may still report the changes that they made."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._until = 0.0

    def remember(self, values: dict[str, Any], seconds: float = SECONDS) -> None:
        """Takes values of our stage; those of another are forgotten."""
        self._values = values if values.get("train.training_stage") == STAGE_TITLE else {}
        self._until = time.monotonic() + seconds

    def recall(self, element: str, **now: Any) -> Any:
        """The value of an element; None if nothing was loaded just now, or not together with what is set `now`."""
        same = all(self._values.get(f"top.{name}") == value for name, value in now.items())
        return self._values.get(element) if same and time.monotonic() < self._until else None


LOADED = Loaded()


def remember(manager: Any, update: dict[Any, Any], seconds: float = SECONDS) -> dict[Any, Any]:
    """Notes what an update of the board loads, and returns it."""
    LOADED.remember({manager.get_id_by_elem(element): value for element, value in update.items()}, seconds)
    return update


def extend_control(module: Any) -> None:
    """Lets the host's reactions to a change keep what was just loaded."""
    import gradio as gr

    react_to_stage, react_to_model, list_all = module.change_stage, module.get_model_info, module.list_checkpoints

    def change_stage(training_stage: str = next(iter(module.TRAINING_STAGES))) -> tuple[list[str], bool]:
        datasets, packing = react_to_stage(training_stage)
        if module.TRAINING_STAGES[training_stage] == STAGE:
            return LOADED.recall("train.dataset") or datasets, packing
        return datasets, packing

    def get_model_info(model_name: str) -> tuple[str, str]:
        path, template = react_to_model(model_name)
        return path, LOADED.recall("top.template", model_name=model_name) or template

    def list_checkpoints(model_name: str, finetuning_type: str) -> Any:
        listed = list_all(model_name, finetuning_type)
        kept = LOADED.recall("top.checkpoint_path", model_name=model_name, finetuning_type=finetuning_type)
        return gr.Dropdown(**{**listed.constructor_args, "value": kept}) if kept else listed

    module.change_stage = change_stage
    module.get_model_info = get_model_info
    module.list_checkpoints = list_checkpoints
