"""One figure for each measure: the rows' means with their intervals, a panel for each metric; and where it is measured
layer by layer, the curves over the layers."""

from pathlib import Path
from typing import Any

from .compare import Cell
from .measure import Column
from .tables import Table

_PANEL = (3.2, 0.34)
"""Inches: width of a panel, height of a row."""


def write(table: Table, folder: Path) -> list[Path]:
    """Draws every measure that has values, as <measure>.png; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    measures = dict.fromkeys(one.measure for one in table.columns if not one.corpus)
    layered = dict.fromkeys(one.measure for one in table.columns if one.metric in table.layers)
    drawn = [_draw(table, measure, folder / f"{measure}.png") for measure in measures]
    return [*drawn, *(_draw_layers(table, measure, folder / f"{measure}_by_layer.png") for measure in layered)]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_layers(table: Table, measure: str, path: Path) -> Path:
    """The curves of all rows, a panel for each metric."""
    columns = [one for one in table.columns if one.measure == measure and one.metric in table.layers]
    figure = _figure(1.4 + _PANEL[0] * len(columns), 3.0)
    for panel, one in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        for row, curve in table.layers[one.metric].items():
            style = {"color": "black", "linestyle": "--"} if row == table.baseline else {}
            panel.plot(list(curve), list(curve.values()), marker=".", label=row, **style)
        panel.set_title(one.heading, fontsize=10)
        panel.set_xlabel("decoder layer")
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=150)
    return path


def _draw(table: Table, measure: str, path: Path) -> Path:
    columns = [one for one in table.columns if one.measure == measure and not one.corpus]
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    height = 0.9 + _PANEL[1] * len(table.rows)
    figure = _figure(1.4 + _PANEL[0] * across, 0.4 + height * down)
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for place, panel in enumerate(axes.flat):
        if place < len(columns):
            _panel(panel, columns[place], table)
        else:
            panel.set_visible(False)
    figure.suptitle(measure.capitalize())
    figure.savefig(path, dpi=150)
    return path


def _panel(panel: Any, one: Column, table: Table) -> None:
    """The rows from top to bottom: the pooled mean and its interval, the single seeds as small marks behind them."""
    rows = list(table.rows)
    for place, row in enumerate(rows):
        cell: Cell = table.cells[one.title][row]
        colour = "tab:gray" if row == table.baseline else "tab:blue"
        seeds = [table.seeds[one.title][name] * one.scale for name in table.rows[row] if name in table.seeds[one.title]]
        if len(seeds) > 1:
            panel.plot(seeds, [place] * len(seeds), "|", color=colour, alpha=0.6, markersize=7)
        if cell.mean is None:
            continue
        value, low, high = (number * one.scale for number in (cell.mean.value, cell.mean.low, cell.mean.high))
        reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
        panel.errorbar(value, place, xerr=reach, fmt="o", color=colour, capsize=3, markersize=5)
    base = table.cells[one.title][table.baseline].mean if table.baseline is not None else None
    if base is not None:
        panel.axvline(base.value * one.scale, color="tab:gray", linestyle=":", linewidth=1)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_title(f"{one.heading}{' (%)' if one.scale == 100 else ''}", fontsize=10)
    panel.grid(axis="x", alpha=0.3)
