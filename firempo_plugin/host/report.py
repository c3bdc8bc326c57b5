"""What a run shows: its effective settings, its metrics in the host's log, its curves, its warnings."""

import json
import math
from collections import deque
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llamafactory.extras import logging
from llamafactory.extras.ploting import smooth
from llamafactory.train.callbacks import LogCallback
from transformers import TrainerCallback

from .. import __version__
from ..objectives import Settings
from .admission import RowCount

logger = logging.get_logger(f"llamafactory.{__name__}")

SETTINGS_FILE = "fire_mpo.json"
CURVES_FILE = "training_fire_mpo.png"
SATURATED_MARGIN = 10.0
EARLY_EPOCH = 0.1


def effective_settings(settings: Settings, counts: dict[str, RowCount], model: Any) -> dict[str, Any]:
    """Everything that the loss of a run depends on, as plain data."""
    return {
        "fire_objective": settings.objective.name,
        "source": settings.objective.source,
        "terms": [
            {
                "name": term.name,
                "preferred": str(term.preferred),
                "over": [str(cell) for cell in term.others] or "zero",
                "tokens": term.scope,
                "weight": settings.gamma if term.gamma else 1.0,
            }
            for term in settings.terms
        ],
        "pref_beta": settings.beta,
        "fire_gamma": settings.gamma if settings.objective.has_gamma else None,
        "fire_alpha": settings.alpha if settings.objective.kl else None,
        "fire_lambda": settings.kl_lambda if settings.objective.kl else None,
        "fire_kl_scope": settings.kl_scope if settings.objective.kl else None,
        "pref_ftx": settings.nll_weight,
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


@dataclass
class ShortcutWarning(TrainerCallback):
    """Warns once when a run looks as if it had found a shortcut (arXiv 2606.12590, training dynamics)."""

    saturated_at: float | None = None
    warned: bool = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Early saturation of the reward accuracy, followed by a runaway margin."""
        entry = state.log_history[-1]
        accuracy, margin = entry.get("rewards/accuracies"), entry.get("rewards/margins")
        if accuracy is None or self.warned:
            return
        if accuracy >= 1.0 and self.saturated_at is None and state.epoch <= EARLY_EPOCH:
            self.saturated_at = state.epoch
        if self.saturated_at is not None and accuracy >= 1.0 and margin > SATURATED_MARGIN:
            self.warned = True
            logger.warning_rank0(
                f"Reward accuracy reached 1.0 at epoch {self.saturated_at:.2f} and the margin is now {margin:.1f}: "
                "the model probably tells chosen from rejected by a shortcut (length, style), not by the finding. "
                "Look at the pairs: are the responses the model's own, and do they differ in the phrases only? Then "
                "lower learning_rate, or raise fire_alpha."
            )


def plot_metrics(output_dir: str) -> Path | None:
    """Draws every logged metric, loss included, training and evaluation, into one picture.

    Returns:
        The picture's path; None where nothing was logged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    history = json.loads((Path(output_dir) / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    names = [n for entry in history for n in entry if n == "loss" or "/" in n or n == "noised_share"]
    names = [n for n in dict.fromkeys(names) if not n.startswith("eval_")]
    if not names:
        return None
    columns = 3
    height = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(height, columns, squeeze=False).flatten()
    for axis, name in zip(axes, names, strict=False):
        steps, values = _curve(history, name)
        axis.plot(steps, values, color="#1f77b4", alpha=0.35, label="train")
        axis.plot(steps, smooth(values), color="#1f77b4", label="train, smoothed")
        if any(f"eval_{name}" in entry for entry in history):
            axis.plot(*_curve(history, f"eval_{name}"), color="#d62728", marker=".", label="eval")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=8)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    path = Path(output_dir) / CURVES_FILE
    figure.savefig(path, dpi=110)
    return path


def _curve(history: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    points = [(e["step"], e[name]) for e in history if name in e and math.isfinite(e[name])]
    return [step for step, _ in points], [value for _, value in points]
