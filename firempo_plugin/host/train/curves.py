"""A run's curves: the picture that is saved with it, and those that LLaMA-Board shows while it runs."""

import io
import json
import math
from pathlib import Path
from typing import Any

from llamafactory.extras.ploting import smooth
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CURVES_FILE = "training_fire_mpo.png"
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd")
EVAL_COLOUR, WARNING_COLOUR = "#d62728", "#fbeaea"
ACCURACIES, MARGINS = "rewards/accuracies", "rewards/margins"


def plot_metrics(output_dir: str) -> Path | None:
    """Draws every logged metric, loss included, training and evaluation, into one picture.

    Returns:
        The picture's path; None where nothing was logged.
    """
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
        draw(axis, history, name, step="step")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
    axes[0].legend(fontsize=8)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    path = Path(output_dir) / CURVES_FILE
    figure.savefig(path, dpi=110)
    return path


def live_groups(log: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What is drawn of a running stage's log: the loss, each term, the reward accuracies and the margins.

    Args:
        log: Entries of the host's `trainer_log.jsonl`.

    Returns:
        By title the metrics of one picture; none where the log is not of this stage.
    """
    names = list(dict.fromkeys(name for entry in log for name in entry))
    terms = [name for name in names if name.startswith("terms/")]
    if not terms:
        return {}
    groups = {"loss": ["loss"], **{name: [name] for name in terms}}
    groups |= {kind: [name for name in names if name.startswith(kind)] for kind in (ACCURACIES, MARGINS)}
    return {title: group for title, group in groups.items() if group}


def live_picture(log: list[dict[str, Any]], names: list[str], *, warned: bool) -> bytes:
    """One of `live_groups` as PNG, shaded where its verdict warns."""
    figure = Figure(figsize=(5, 1.75), layout="constrained")
    axis = figure.subplots()
    for name, colour in zip(names, COLOURS, strict=False):
        draw(axis, log, name, step="current_steps", colour=colour)
    if len(names) > 1 or names == ["loss"]:
        axis.legend(fontsize=7)
    if warned:
        axis.set_facecolor(WARNING_COLOUR)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=80)
    return picture.getvalue()


def draw(axis: Axes, log: list[dict[str, Any]], name: str, *, step: str, colour: str = COLOURS[0]) -> None:
    """Draws one metric: as logged, smoothed, and in evaluation."""
    steps, values = _curve(log, name, step)
    axis.plot(steps, values, color=colour, alpha=0.35)
    axis.plot(steps, smooth(values), color=colour, label=f"{name}, smoothed")
    evaluated = _curve(log, f"eval_{name}", step)
    if evaluated[0]:
        axis.plot(*evaluated, color=EVAL_COLOUR, marker=".", label=f"{name}, eval")
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)


def _curve(log: list[dict[str, Any]], name: str, step: str) -> tuple[list[int], list[float]]:
    points = [(entry[step], entry[name]) for entry in log if entry.get(name) is not None and math.isfinite(entry[name])]
    return [at for at, _ in points], [value for _, value in points]
