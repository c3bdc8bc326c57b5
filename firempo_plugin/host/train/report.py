"""What a run shows: its effective settings, its metrics in the host's log, its warnings."""

import json
import math
from collections import deque
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llamafactory.extras import logging
from llamafactory.train.callbacks import LogCallback
from transformers import TrainerCallback

from ... import __version__
from ...objectives.settings import Settings
from ..arguments import HOST_OPTIONS, OPTIONS
from ..data.admission import RowCount
from .signs import RunWatch

logger = logging.get_logger(f"llamafactory.{__name__}")

SETTINGS_FILE = "fire_mpo.json"


def effective_settings(settings: Settings, counts: dict[str, RowCount], model: Any) -> dict[str, Any]:
    """Everything that the loss of a run depends on, as plain data."""
    return {
        "fire_objective": settings.objective.name,
        "source": settings.objective.source,
        "formula": settings.objective.formula,
        "terms": [
            {
                "name": term.name,
                "cells": [str(cell) for cell in term.cells(has_noised=True)],
                "tokens": settings.scope_of(term),
                "weight": settings.weight_of(term),
            }
            for term in settings.terms
        ],
        **{option.key: vars(settings)[option.setting] for option in HOST_OPTIONS},
        **{o.key: vars(settings)[o.setting] if o.setting in settings.objective.reads else None for o in OPTIONS},
        "fire_lambda": settings.kl_share if settings.objective.kl else None,
        "rows": {name: asdict(count) for name, count in counts.items()},
        "model_type": model.config.model_type,
        "versions": {
            "firempo-plugin": __version__,
            **{name: version(name) for name in ("llamafactory", "torch", "transformers", "peft", "trl")},
        },
    }


def announce(effective: dict[str, Any], output_dir: str | None) -> None:
    """Logs the effective settings once and saves them with the run (main process: `output_dir` given)."""
    if output_dir is None:
        return
    text = json.dumps(effective, indent=2, ensure_ascii=False)
    logger.info(f"FiRe-MPO runs with these effective settings:\n{text}")
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


class MetricsLogCallback(LogCallback):
    """The host's log callback, whose `trainer_log.jsonl` also carries the stage's metrics."""

    @classmethod
    def take_over(cls, callbacks: list[Any]) -> None:
        """Turns the host's own callback into this one; its signal handler stays bound to the instance."""
        for callback in callbacks:
            if type(callback) is LogCallback:
                callback.__class__ = cls
                callback._metrics = deque()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Queues the newest entry's metrics for the host's writer, one thread that takes its entries in order."""
        if args.should_save and self.thread_pool is not None:
            entry = state.log_history[-1]
            metrics = {name: value for name, value in entry.items() if "/" in name or name.endswith("noised_share")}
            self._metrics.append({name: value if math.isfinite(value) else None for name, value in metrics.items()})
        super().on_log(args, state, control, **kwargs)

    def _write_log(self, output_dir: str, logs: dict[str, Any]) -> None:
        super()._write_log(output_dir, {**logs, **self._metrics.popleft()})


SAID = {
    "shortcut": ""
    "Reward accuracy reached 1.0 at epoch {epoch:.2f} and the margin is now {margin:.1f}: the model probably "
    "tells chosen from rejected by a shortcut (length, style), not by the finding. Look at the pairs: are the "
    "responses the model's own, and do they differ in the phrases only? Then lower learning_rate, or raise "
    "fire_alpha.",
    "noise_tells": ""
    "terms/visual has risen from {start:.2f} to {now:.2f} at epoch {epoch:.2f} while terms/rank fell: the "
    "preference is learnt whatever the image. Either the noised images still tell the answer, or the model "
    "answers from the text. `firempo check-noise` on this training file says which, how many rows are noised "
    "all over for want of a target, and what other noise would turn; then raise noise.sigma or widen the masks "
    "and export again, leave out rows without a target, or raise fire_gamma.",
}
"""What the log says of each sign."""


class SignWarning(TrainerCallback):
    """Warns once of each sign of a run that learns something else than it should."""

    def __init__(self) -> None:
        self._watch = RunWatch()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks at what a resumed run has logged before, so that its start is the run's; of that it has warned."""
        for entry in state.log_history:
            self._watch.see(entry)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks at the newest entry."""
        for sign in self._watch.see(state.log_history[-1]):
            logger.warning_rank0(SAID[sign.name].format(**sign.values))
