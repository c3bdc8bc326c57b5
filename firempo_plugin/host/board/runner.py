"""The host's runner with the stage's fields in its command, its saved arguments and its checks."""

import json
import shutil
from typing import Any

from ..arguments import STAGE, STAGE_TITLE
from . import restore
from .fields import FIELDS, SWITCHES, arguments, problem


def extend_common(module: Any) -> None:
    """Keeps our switches in the command where they are off: the host leaves every False out."""
    clean = module._clean_cmd

    def _clean_cmd(args: dict[str, Any]) -> dict[str, Any]:
        kept = clean(args)
        return {key: value for key, value in args.items() if key in kept or key in SWITCHES}

    module._clean_cmd = _clean_cmd


def extend_runner(module: Any) -> None:
    """Puts a runner in the host's place that knows the section; for other stages it does what the host's does."""
    import gradio as gr

    base: Any = module.Runner

    class Runner(base):
        __doc__ = base.__doc__

        def _initialize(self, data: dict[Any, Any], do_train: bool, from_preview: bool) -> str:
            found: str = super()._initialize(data, do_train, from_preview)
            if found or not do_train or not is_chosen(self.manager, data):
                return found
            if not from_preview and shutil.which("llamafactory-cli") is None:
                return "llamafactory-cli is not on PATH. Activate the environment that it is installed in."
            extra = json.loads(data[self.manager.get_elem_by_id("train.extra_args")])
            return problem(section_values(self.manager, data), extra) or ""

        def _parse_train_args(self, data: dict[Any, Any]) -> dict[str, Any]:
            args: dict[str, Any] = super()._parse_train_args(data)
            return args | section_arguments(self.manager, data) if args["stage"] == STAGE else args

        def _build_config_dict(self, data: dict[Any, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super()._build_config_dict(data)
            if config.get("train.training_stage") == STAGE_TITLE:
                return config
            ours = {f"train.{field.name}" for field in FIELDS}
            return {name: value for name, value in config.items() if name not in ours}

        def load_args(self, lang: str, config_path: str, request: gr.Request | None = None) -> dict[Any, Any]:
            return restore.remember(self.manager, restore.tab_of(request), super().load_args(lang, config_path))

        def check_output_dir(
            self, lang: str, model_name: str, finetuning_type: str, output_dir: str, request: gr.Request | None = None
        ) -> dict[Any, Any]:
            update = super().check_output_dir(lang, model_name, finetuning_type, output_dir)
            return restore.remember(self.manager, restore.tab_of(request), update)

    Runner.__module__, Runner.__qualname__ = base.__module__, base.__qualname__
    module.Runner = Runner


def is_chosen(manager: Any, data: dict[Any, Any]) -> bool:
    """Whether the stage chosen on the training tab is ours."""
    return bool(data[manager.get_elem_by_id("train.training_stage")] == STAGE_TITLE)


def section_values(manager: Any, data: dict[Any, Any]) -> dict[str, Any]:
    """What the section's fields hold, by name, of the board's data by element."""
    return {field.name: data[manager.get_elem_by_id(f"train.{field.name}")] for field in FIELDS}


def section_arguments(manager: Any, data: dict[Any, Any]) -> dict[str, Any]:
    """The training arguments that the section writes.

    Raises:
        UserError: A field does not hold a number.
    """
    return arguments(section_values(manager, data))
