"""Loading saved arguments of the stage, whole, and those of a run under way into a page that was opened anew.

The host's board sets all fields at once; in reaction to the changes it then empties the data sets (another stage), puts
the model's own path and template in and takes the checkpoints out (another model). For a short while after a browser
tab loaded arguments of our stage, these reactions answer that tab with what was loaded.
"""

import time
from collections.abc import Iterator
from typing import Any

from ..arguments import STAGE, STAGE_TITLE

SECONDS, OPENED_SECONDS = 10.0, 120.0
"""How long a tab may still report the changes that loading made, and those that opening the page made."""


class Loaded:
    """The values that each tab loaded last, by element, while it may still report the changes that they made."""

    def __init__(self) -> None:
        self._by_tab: dict[str | None, tuple[float, dict[str, Any]]] = {}

    def remember(self, tab: str | None, values: dict[str, Any], seconds: float = SECONDS) -> None:
        """Takes values of our stage; others, and those of long ago, are forgotten."""
        now = time.monotonic()
        self._by_tab = {other: kept for other, kept in self._by_tab.items() if other != tab and kept[0] > now}
        if values.get("train.training_stage") == STAGE_TITLE:
            self._by_tab[tab] = (now + seconds, values)

    def recall(self, tab: str | None, element: str, **now: Any) -> Any:
        """The value of an element; None if the tab loaded nothing just now, or not together with what is set `now`."""
        until, values = self._by_tab.get(tab, (0.0, {}))
        same = all(values.get(f"top.{name}") == value for name, value in now.items())
        return values.get(element) if same and time.monotonic() < until else None

    def forget(self, tab: str | None, element: str) -> None:
        """Lets go of the value of an element, which a person has set to another one since."""
        if tab in self._by_tab:
            self._by_tab[tab][1].pop(element, None)


LOADED = Loaded()


def remember(manager: Any, tab: str | None, update: dict[Any, Any], seconds: float = SECONDS) -> dict[Any, Any]:
    """Notes what an update of the board loads into a tab, and returns it."""
    LOADED.remember(tab, {manager.get_id_by_elem(element): value for element, value in update.items()}, seconds)
    return update


def extend_control(module: Any) -> None:
    """Lets the host's reactions to a change keep what was just loaded."""
    import gradio as gr

    react_to_stage, react_to_model, list_all = module.change_stage, module.get_model_info, module.list_checkpoints

    def change_stage(
        training_stage: str = next(iter(module.TRAINING_STAGES)), request: gr.Request | None = None
    ) -> tuple[list[str], bool]:
        datasets, packing = react_to_stage(training_stage)
        if module.TRAINING_STAGES[training_stage] == STAGE:
            return LOADED.recall(tab_of(request), "train.dataset") or datasets, packing
        LOADED.forget(tab_of(request), "train.dataset")  # or it would come back with our stage
        return datasets, packing

    def get_model_info(model_name: str, request: gr.Request | None = None) -> tuple[str, str]:
        now = react_to_model(model_name)
        kept = (
            LOADED.recall(tab_of(request), f"top.{name}", model_name=model_name) for name in ("model_path", "template")
        )
        path, template = (old or new for old, new in zip(kept, now, strict=True))
        return path, template

    def list_checkpoints(model_name: str, finetuning_type: str, request: gr.Request | None = None) -> Any:
        listed = list_all(model_name, finetuning_type)
        now = {"model_name": model_name, "finetuning_type": finetuning_type}
        kept = LOADED.recall(tab_of(request), "top.checkpoint_path", **now)
        return gr.Dropdown(**{**listed.constructor_args, "value": kept}) if kept else listed

    module.change_stage = change_stage
    module.get_model_info = get_model_info
    module.list_checkpoints = list_checkpoints


def extend_engine(module: Any) -> None:
    """Notes what the host puts into a page that is opened while a run of ours goes on."""
    import gradio as gr

    base: Any = module.Engine

    class Engine(base):
        __doc__ = base.__doc__

        def resume(self, request: gr.Request | None = None) -> Iterator[dict[Any, Any]]:
            if self.runner.running:
                remember(self.manager, tab_of(request), self.runner.running_data, OPENED_SECONDS)
            yield from super().resume()

    Engine.__module__, Engine.__qualname__ = base.__module__, base.__qualname__
    module.Engine = Engine


def tab_of(request: Any) -> str | None:
    """What Gradio calls the session: one browser tab, from its opening to its reload."""
    return None if request is None else request.session_hash
