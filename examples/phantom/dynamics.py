"""Draws what training is rewarded for beside what the model answers.

    python dynamics.py FOLDER

FOLDER is that of run.py after `--full`. Writes dynamics/dynamics.png and dynamics/dynamics.csv. Rewards are those of
the logged batches, each the mean over the steps since the last one; answers are those of the checkpoints to the
validation split, as `firempo evaluate` judged them, unread ones counting as wrong.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import DYNAMICS, Bench

from firempo_plugin.evaluate.store import ItemFile

Curve = list[tuple[int, float]]
"""Step and value."""


@dataclass(frozen=True)
class Run:
    """What happened over one training.

    Attributes:
        label: As the figure shows it.
        reward_accuracy: Share of the pairs that the policy ranks as asked.
        margin: Mean difference of rewards.
        answers: Share of the questions answered rightly.
    """

    label: str
    reward_accuracy: Curve
    margin: Curve
    answers: Curve


def read(bench: Bench, name: str) -> Run:
    """Reads a run that was followed."""
    state = json.loads((bench.followed(name) / "trainer_state.json").read_text(encoding="utf-8"))
    logged: list[dict[str, Any]] = [line for line in state["log_history"] if "loss" in line]
    workspace = bench.folder / "dynamics" / name
    files = sorted((workspace / "items" / "accuracy").glob("*.jsonl"))
    answers = sorted((_step(file.stem), _right(workspace, file.stem)) for file in files if "." not in file.stem)
    return Run(
        bench.table[name].label,
        [(line["step"], line["rewards/accuracies"]) for line in logged],
        [(line["step"], line["rewards/margins"]) for line in logged],
        answers,
    )


def _step(model: str) -> int:
    return 0 if model == "base" else int(model.rpartition("-")[2])


def _right(workspace: Path, model: str) -> float:
    items = ItemFile(workspace, "accuracy", model).read().items
    return sum(item.values.get("judged", 0.0) for item in items) / len(items)


def write(runs: list[Run], folder: Path) -> None:
    """Writes the table of all curves and the figure."""
    with (folder / "dynamics.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["row", "curve", "step", "value"])
        for run in runs:
            for curve in ("reward_accuracy", "margin", "answers"):
                table.writerows([run.label, curve, step, f"{value:.4f}"] for step, value in vars(run)[curve])
    _draw(runs, folder / "dynamics.png")


def _draw(runs: list[Run], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(runs), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, run in zip(figure.subplots(1, len(runs), sharey=True), runs, strict=True):
        for curve, label, style in (
            (run.reward_accuracy, "pairs ranked as asked", {"color": "tab:orange"}),
            (run.answers, "questions answered rightly", {"color": "tab:blue", "marker": "o", "markersize": 4}),
        ):
            panel.plot(*zip(*curve, strict=True), label=label, **style)
        panel.set_title(run.label)
        panel.set_xlabel("training step")
        panel.set_ylim(0, 1.02)
        panel.grid(alpha=0.3)
    panel.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draws rewards and answers over training.")
    parser.add_argument("folder", type=Path)
    bench = Bench(parser.parse_args().folder, full=True)
    write([read(bench, name) for name in DYNAMICS], bench.folder / "dynamics")


if __name__ == "__main__":
    main()
