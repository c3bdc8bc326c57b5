"""A table as Markdown for people, CSV for spreadsheets and JSON for programs."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import write_text
from ..store.reasons import lines_by_kind
from .compare import Cell, Difference, Interval
from .config import CompareConfig
from .measure import Column
from .tables import Counts, Table


def write(table: Table, folder: Path, compare: CompareConfig) -> list[Path]:
    """Writes table.md, table.csv and table.json into a folder; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"table.md": markdown(table, compare), "table.csv": as_csv(table), "table.json": as_json(table, compare)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def markdown(table: Table, compare: CompareConfig) -> str:
    """The table, the comparison with the baseline, what was counted, and how it was measured."""
    share = f"{compare.confidence:.0%}"
    parts = [
        "# Evaluation",
        "",
        f"Means over items, then over seeds, with {share} bootstrap intervals; answers about one study or image are "
        "drawn together. Accuracies, Pass@k and report metrics are in percent; the best of a column is bold.",
        "",
        *_main(table),
    ]
    if table.baseline is not None:
        parts += [
            "",
            f"## Differences to {table.baseline}",
            "",
            f"Paired, with {share} bootstrap intervals over items and seeds, and p before and (after) Holm's "
            "correction over the rows. M: McNemar's exact test per question, for one seed and where no study or image "
            "has several questions; B: bootstrap.",
            "",
            *_differences(table),
        ]
    parts += ["", "## Counts", "", *_counts(table)]
    if table.incomplete:
        parts += ["", "## Not complete", "", *(f"- {line}" for line in table.incomplete)]
    protocol = json.dumps(table.protocol, ensure_ascii=False, indent=2)
    parts += ["", "## Protocol", "", "```json", protocol, "```", ""]
    return "\n".join(parts)


def _grid(head: list[str], rows: list[list[str]]) -> list[str]:
    cleaned = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in cleaned]
    return [lines[0], f"| --- |{' ---: |' * (len(head) - 1)}", *lines[1:]]


def _main(table: Table) -> list[str]:
    best = {one.title: _best(one, table.cells[one.title]) for one in table.columns}
    rows = [
        [
            f"{row} ({len(names)} seeds)" if len(names) > 1 else row,
            *(_mean(one, table.cells[one.title][row], row in best[one.title]) for one in table.columns),
        ]
        for row, names in table.rows.items()
    ]
    return _grid(["", *(one.heading for one in table.columns)], rows)


def _best(one: Column, cells: dict[str, Cell]) -> set[str]:
    values = {row: cell.mean.value for row, cell in cells.items() if cell.mean is not None}
    if one.higher_is_better is None or len(set(values.values())) < 2:
        return set()
    wanted = (max if one.higher_is_better else min)(values.values())
    return {row for row, value in values.items() if value == wanted}


def _number(value: float, scale: float, sign: str = "") -> str:
    return f"{value * scale:{sign}.{1 if scale == 100 else 3}f}"


def _mean(one: Column, cell: Cell, is_best: bool) -> str:
    if cell.mean is None:
        return "–"
    value = _number(cell.mean.value, one.scale)
    shown = f"**{value}**" if is_best else value
    return shown if math.isnan(cell.mean.low) else f"{shown} {_bounds(cell.mean, one.scale)}"


def _bounds(interval: Interval, scale: float, sign: str = "") -> str:
    return f"[{_number(interval.low, scale, sign)}, {_number(interval.high, scale, sign)}]"


def _differences(table: Table) -> list[str]:
    columns = [one for one in table.columns if not one.corpus]
    rows = [
        [row, *(_difference(one, table.cells[one.title][row].difference) for one in columns)]
        for row in table.rows
        if row != table.baseline
    ]
    return _grid(["", *(one.heading for one in columns)], rows)


def _difference(one: Column, found: Difference | None) -> str:
    if found is None or found.p_holm is None:
        return "–"
    value = _number(found.interval.value, one.scale, "+")
    bounds = _bounds(found.interval, one.scale, "+")
    return f"{value} {bounds} {found.test[0].upper()}: p = {_p(found.p)} ({_p(found.p_holm)})"


def _p(value: float) -> str:
    return f"{value:.2g}" if value < 0.001 else f"{value:.3f}"


def _counts(table: Table) -> list[str]:
    lines = _grid(
        ["measure, row", "items", "cut off", "unscored", "skipped"],
        [
            [f"{measure}, {row}", str(c.items), str(c.cut), str(c.unscored.total()), str(c.skipped.total())]
            for measure, row, c in _all_counts(table)
        ],
    )
    for measure, row, counts in _all_counts(table):
        for what, reasons in (("unscored", counts.unscored), ("skipped", counts.skipped)):
            lines += [f"- {measure}, {row}, {what}: {line.strip()}" for line in lines_by_kind(reasons.elements())]
    last = len(table.rows) * len(table.counts) + 2
    return [*lines[:last], *([""] if lines[last:] else []), *lines[last:]]


def _all_counts(table: Table) -> Iterator[tuple[str, str, Counts]]:
    for measure, by_row in table.counts.items():
        for row, counts in by_row.items():
            yield measure, row, counts


def as_csv(table: Table) -> str:
    """The table with a line a row, and of every column its mean, interval, items, difference and p values; unscaled."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    parts = ("", " low", " high", " n", " difference", " difference low", " difference high", " p", " p Holm", " test")
    writer.writerow(["row", "seeds", *(f"{one.title}{part}" for one in table.columns for part in parts)])
    for row, names in table.rows.items():
        cells = [table.cells[one.title][row] for one in table.columns]
        writer.writerow([row, len(names), *(value for cell in cells for value in _flat(cell))])
    return file.getvalue()


def _flat(cell: Cell) -> list[Any]:
    mean, found = cell.mean, cell.difference
    first = [mean.value, _known(mean.low), _known(mean.high), mean.n] if mean else [None] * 4
    if found is None:
        return [*first, *[None] * 6]
    around = found.interval
    return [*first, around.value, around.low, around.high, found.p, found.p_holm, found.test]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def as_json(table: Table, compare: CompareConfig) -> str:
    """Everything: cells with their seeds and differences, counts with their reasons, and the protocol; unscaled."""
    cells = [
        {
            "row": row,
            "column": one.title,
            "measure": one.measure,
            "metric": one.metric,
            "kind": one.kind,
            "mean": _interval(cell.mean),
            "seeds": {name: table.seeds[one.title].get(name) for name in table.rows[row]},
            "difference": _tested(cell.difference),
        }
        for one in table.columns
        for row, cell in table.cells[one.title].items()
    ]
    content = {
        "rows": table.rows,
        "baseline": table.baseline,
        "compare": asdict(compare),
        "cells": cells,
        "counts": [
            {
                "measure": measure,
                "row": row,
                "items": c.items,
                "cut": c.cut,
                "unscored": _listed(c.unscored),
                "skipped": _listed(c.skipped),
            }
            for measure, row, c in _all_counts(table)
        ],
        "layers": table.layers,
        "incomplete": table.incomplete,
        "protocol": table.protocol,
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _listed(reasons: Counter[str]) -> dict[str, int]:
    return dict(reasons.most_common())


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return asdict(interval) | {"low": _known(interval.low), "high": _known(interval.high)}


def _tested(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
