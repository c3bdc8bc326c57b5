"""Draws the figure of the report: accuracy and evidence of the objectives side by side.

    python overview.py FOLDER

FOLDER is that of run.py. Reads evaluation/objectives/tables/table.json and writes overview.png beside it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench import OBJECTIVE_ROWS, rows

PANELS = (("All", "right answers, %", 100), ("AR", "attention ratio", 1), ("Sensitivity", "sensitivity, nats", 1))
"""Column of the table, title, and what its figures are multiplied by."""


def draw(table: dict[str, Any], path: Path) -> None:
    """Draws means with their intervals and the single seeds behind them, the base model as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = {(cell["column"], cell["row"]): cell for cell in table["cells"]}
    known = rows()
    labels = [label for label in (known[name].label for name in OBJECTIVE_ROWS) if label in table["rows"]]
    figure = Figure(figsize=(10, 0.9 + 0.34 * len(labels)), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (column, title, scale) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        for place, label in enumerate(labels):
            cell = cells[column, label]
            colour = "tab:red" if label == known["fire_mpo"].label else "tab:blue"
            value, low, high = (scale * cell["mean"][key] for key in ("value", "low", "high"))
            seeds = [scale * seed for seed in cell["seeds"].values()]
            panel.plot(seeds, [place] * len(seeds), "|", color=colour, alpha=0.5)
            panel.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
        panel.axvline(scale * cells[column, "base"]["mean"]["value"], color="tab:gray", linestyle=":")
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.5, -0.5)
        panel.set_title(title, fontsize=10)
        panel.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draws accuracy and evidence of the objectives.")
    parser.add_argument("folder", type=Path)
    tables = parser.parse_args().folder / "evaluation" / "objectives" / "tables"
    draw(json.loads((tables / "table.json").read_text(encoding="utf-8")), tables / "overview.png")


if __name__ == "__main__":
    main()
