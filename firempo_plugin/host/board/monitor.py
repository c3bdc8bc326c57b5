"""What the board shows of a run: our curves, and the warnings above the log."""

import json
from pathlib import Path
from typing import Any

from ..train.signs import RunWatch
from .texts import say


def extend_ploting(module: Any) -> None:
    """Draws our stage's log with all its terms, and every other log as before."""
    gen_loss_plot = module.gen_loss_plot

    def gen_plot(trainer_log: list[dict[str, Any]]) -> Any:
        from ..train.curves import live_figure

        return live_figure(trainer_log) or gen_loss_plot(trainer_log)

    module.gen_loss_plot = gen_plot


def extend_control(module: Any) -> None:
    """Puts the warnings above the log of a run."""
    get_trainer_info = module.get_trainer_info

    def get_info(lang: str, output_path: str, do_train: bool) -> tuple[str, Any, dict[str, Any]]:
        log, progress, info = get_trainer_info(lang, output_path, do_train)
        return (warning(lang, Path(output_path, module.TRAINER_LOG)) + log if do_train else log), progress, info

    module.get_trainer_info = get_info


def warning(language: str, trainer_log: Path) -> str:
    """The warnings of a run's log; "" where there is none."""
    watch = RunWatch()
    if trainer_log.is_file():
        with trainer_log.open(encoding="utf-8") as file:
            for line in file:
                watch.see(json.loads(line))
    return "".join(f"⚠️ {say(sign.name, language, **sign.values)}\n\n" for sign in watch.found)
