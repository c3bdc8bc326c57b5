"""The host's runner with the stage's fields in its command, its saved arguments and its checks."""

import json
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from ..arguments import STAGE, STAGE_TITLE
from ..sentences import ENDED_FILE
from . import restore
from .failure import Failure, alerted, of_run, target_of
from .fields import FIELDS, HOST_NUMBERS, SWITCHES, arguments, problem
from .monitor import Run
from .refusals import say_refusal
from .texts import say


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
    from llamafactory.extras.constants import TRAINER_LOG

    base: Any = module.Runner

    class Runner(base):
        __doc__ = base.__doc__

        failure: Failure | None = None
        """Why the last run of the stage was not started, or what ended it."""
        run: Run | None = None
        """The last run of the stage."""

        def _initialize(self, data: dict[Any, Any], do_train: bool, from_preview: bool) -> str:
            found: str = super()._initialize(data, do_train, from_preview)
            if not do_train or not is_chosen(self.manager, data):
                return found
            self.failure = refusal(self.manager, data, found, starts=not from_preview)
            return self.failure.text if self.failure else ""

        def _launch(self, data: dict[Any, Any], do_train: bool) -> Iterator[dict[Any, Any]]:
            if do_train and is_chosen(self.manager, data) and not self.running:
                folder = run_folder(self.manager, data)
                (folder / ENDED_FILE).unlink(missing_ok=True)
                self.run = Run.start(folder / TRAINER_LOG)
            yield from super()._launch(data, do_train)

        def monitor(self) -> Iterator[dict[Any, Any]]:
            data, trainer = self.running_data, self.trainer
            if not self.do_train or not is_chosen(self.manager, data):
                yield from super().monitor()
                return
            assert self.run is not None  # whoever takes up a run finds it started by `_launch`
            box = self.manager.get_elem_by_id("train.output_box")
            for update in super().monitor():
                if not self.running and self._has_failed:
                    self.failure = run_failure(self.manager, data, trainer.returncode, update[box])
                    update = update | {box: self.failure.text}
                self.run.text = update[box]
                yield update

        def _finalize(self, lang: str, finish_info: str) -> None:
            ours = self.do_train and is_chosen(self.manager, self.running_data)
            self._has_failed = ours and not self.aborted and self.trainer.returncode != 0
            super()._finalize(lang, say("ended_note", lang) if self._has_failed else finish_info)

        def _parse_train_args(self, data: dict[Any, Any]) -> dict[str, Any]:
            args: dict[str, Any] = super()._parse_train_args(data)
            if args["stage"] != STAGE:
                return args
            return args | image_arguments(self.manager, data) | section_arguments(self.manager, data)

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


def refusal(manager: Any, data: dict[Any, Any], found: str, *, starts: bool) -> Failure | None:
    """Why a run of the stage is refused; None where it is not.

    Args:
        manager, data: Of the board.
        found: What the host refuses it for; "" for nothing.
        starts: Whether it is to be started now, on this machine.
    """
    from llamafactory.webui.locales import ALERTS

    values = by_id(manager, data)
    language, extra, chosen = (values[name] for name in ("top.lang", "train.extra_args", "train.compute_type"))
    if not found and not isinstance(json.loads(extra), dict):
        found = ALERTS["err_json_schema"][language]
    if found:
        return Failure("refused", found, alerted(found, language), found)
    host = {name: values[f"train.{name}"] for name in HOST_NUMBERS}
    target = None
    if error := problem(section_values(manager, data), host, json.loads(extra)):
        wrong, target = say_refusal(error, language), target_of(str(error), values, extra)
    elif starts and shutil.which("llamafactory-cli") is None:
        wrong = say("not_found_cli", language)
    elif starts and lacks_precision(chosen, json.loads(extra)):
        wrong, target = say("no_half_precision", language, chosen=chosen), "train.compute_type"
    else:
        return None
    return Failure("refused", wrong, target, escape(wrong, quote=False))


def lacks_precision(chosen: str, extra: dict[str, Any]) -> bool:
    """Whether the host would refuse a compute type on this machine, or go on until it fails.

    It asks a CUDA device itself, before it loads anything; asked here, that would hold GPU memory while the board runs.
    """
    import torch
    from llamafactory.extras.misc import is_accelerator_available
    from transformers.utils import is_torch_bf16_gpu_available

    on_the_cpu = bool(extra.get("use_cpu"))
    if chosen == "fp32" or (chosen == "bf16" and on_the_cpu):
        return False
    if chosen == "fp16":
        return on_the_cpu or not is_accelerator_available()
    return not torch.cuda.is_available() and not is_torch_bf16_gpu_available()


def run_failure(manager: Any, data: dict[Any, Any], returncode: int, text: str) -> Failure:
    """What ended a run of the stage, of which the host shows a text."""
    values = by_id(manager, data)
    folder = run_folder(manager, data)
    return of_run(folder, returncode, text, values["top.lang"], values, values["train.extra_args"])


def run_folder(manager: Any, data: dict[Any, Any]) -> Path:
    """Where a run writes, as the host names it."""
    from llamafactory.webui.common import get_save_dir

    names = ("top.model_name", "top.finetuning_type", "train.output_dir")
    return Path(get_save_dir(*(data[manager.get_elem_by_id(name)] or "" for name in names)))


def by_id(manager: Any, data: dict[Any, Any]) -> dict[str, Any]:
    """The board's data by the names of its elements."""
    return {manager.get_id_by_elem(element): value for element, value in data.items()}


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


def image_arguments(manager: Any, data: dict[Any, Any]) -> dict[str, Any]:
    """The arguments of the host's section on multimodal models.

    The host writes them for the models of its list alone, and drops them for one of the user's own (`Custom`), whose
    images would then have the sizes of its defaults whatever the board shows. A model of our stage sees images.
    """
    from llamafactory.webui.common import calculate_pixels

    def value(name: str) -> Any:
        return data[manager.get_elem_by_id(f"train.{name}")]

    frozen = ("freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model")
    pixels = (name for name, kind in HOST_NUMBERS.items() if kind == "pixels")
    return {name: value(name) for name in frozen} | {name: calculate_pixels(value(name)) for name in pixels}
