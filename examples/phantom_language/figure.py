"""Draws what is gained against how much the noise turns: python figure.py RECOUNT.json FIGURE.png."""

import argparse
import json
from pathlib import Path

PANELS = (("gain", "FiRe-MPO over its base, points"), ("over RRPO", "FiRe-MPO over RRPO, points"))
COLOURS = {"shallow": "tab:blue", "middle": "tab:red", "deep": "tab:green"}
MARKS = {"weak": "o", "medium": "s", "strong": "^"}


def draw(recounted: Path, path: Path) -> None:
    """Draws both gains with their intervals; colours are depths of the alignment, shapes strengths of the noise."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = json.loads(recounted.read_text(encoding="utf-8"))["noise"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (key, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for cell in [cell for cell in cells if cell[key]]:
            (turned, *across), (gain, *along) = cell["turned"]["all"], cell[key]["all"]
            panel.errorbar(
                turned,
                gain,
                xerr=[[turned - across[0]], [across[1] - turned]],
                yerr=[[gain - along[0]], [along[1] - gain]],
                fmt=MARKS[cell["noise"]],
                color=COLOURS[cell["depth"]],
                capsize=3,
                label=f"{cell['depth']}, {cell['noise']}",
            )
        panel.axhline(0, color="tab:gray", linestyle=":")
        panel.set_xlabel("right answers that noise turns, %")
        panel.set_title(title, fontsize=10)
        if panel.containers:
            panel.legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draws the gain against what noise turns.")
    parser.add_argument("recounted", type=Path)
    parser.add_argument("figure", type=Path)
    arguments = parser.parse_args()
    draw(arguments.recounted, arguments.figure)


if __name__ == "__main__":
    main()
