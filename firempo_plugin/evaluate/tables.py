"""The table of a run, from the stored items alone: rows are methods, columns are metrics, seeds are pooled."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .answers import cut_and_unscored
from .compare import Cell, Interval, Numbers, column
from .config import EvaluateConfig
from .measure import Column, Measure
from .registry import MEASURES
from .store import ItemFile, Measured, Stored, read_clusters


@dataclass
class Counts:
    """What there is of one row under one measure, over its seeds.

    Attributes:
        items: All.
        unscored: Answers, of several samples each, that nobody could judge or that are missing, by reason.
        skipped: Items without any value, by reason.
        cut: Items with an answer that ended at the limit; they are measured as they are.
    """

    items: int = 0
    cut: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class Table:
    """The table of a run.

    Attributes:
        rows: Names of models by row.
        baseline: The row that the others are compared with.
        columns: In their order.
        cells: By title of the column, then by row.
        seeds: Means of the single models, by title of the column, then by model.
        counts: By measure, then by row.
        layers: Means over items and models, by metric, row and decoder layer, of measures that have them.
        incomplete: What is not measured yet, in words.
        protocol: Choices behind the numbers, by measure.
    """

    rows: dict[str, list[str]]
    baseline: str | None
    columns: list[Column] = field(default_factory=list)
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    seeds: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, Counts]] = field(default_factory=dict)
    layers: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)


def make(config: EvaluateConfig) -> Table:
    """Reads the stored items and makes the table.

    Raises:
        UserError: A stored file is broken.
    """
    table, clusters = Table(config.rows, config.baseline), read_clusters(Path(config.workspace))
    for measure in (MEASURES.load(name) for name in MEASURES if name in config.measures):
        stored = {name: ItemFile(Path(config.workspace), measure.name, name).read() for name in config.models}
        table.incomplete += [line for name, found in stored.items() for line in _missing(measure.name, name, found)]
        _protocol(table, measure.name, stored)
        table.counts[measure.name] = {
            row: _counted([stored[name] for name in names], measure) for row, names in table.rows.items()
        }
        for one in _columns(measure, stored):
            _fill(table, one, stored, config, clusters)
        if measure.by_layer:
            for row, names in table.rows.items():
                for metric, curve in by_layer([item for name in names for item in stored[name].items]).items():
                    table.layers.setdefault(metric, {})[row] = curve
    return table


def by_layer(items: Iterable[Measured]) -> dict[str, dict[int, float]]:
    """The mean of every metric over items, layer by layer, from the items' `detail`; skipped items do not count."""
    found: dict[str, dict[int, list[float]]] = {}
    for item in items:
        if item.skipped:
            continue
        detail = json.loads(item.detail)
        for metric in item.values:
            for layer, value in zip(detail["layers"], detail[metric], strict=True):
                found.setdefault(metric, {}).setdefault(layer, []).append(value)
    return {
        metric: {layer: sum(values) / len(values) for layer, values in sorted(layers.items())}
        for metric, layers in found.items()
    }


def _missing(measure: str, model: str, stored: Stored) -> list[str]:
    """What of a model is not measured yet, and why."""
    if stored.complete:
        return []
    reasons = list(stored.missing.values()) or [f"{len(stored.items)} items are there, and not all"]
    return [f"{measure} of {model}: {reason}" for reason in reasons]


def _protocol(table: Table, measure: str, stored: Mapping[str, Stored]) -> None:
    """Keeps the choices that all models share, and those of single models where they differ."""
    given = {name: found.protocol for name, found in stored.items() if found.key}
    first = next(iter(given.values()), {})
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in given.values())}
    own = {
        name: rest
        for name, protocol in given.items()
        if (rest := {key: value for key, value in protocol.items() if key not in shared})
    }
    table.protocol[measure] = shared | ({"models": own} if own else {})


def _counted(files: list[Stored], measure: Measure) -> Counts:
    counts = Counts()
    for stored in files:
        counts.items += len(stored.items)
        counts.skipped.update(item.skipped for item in stored.items if item.skipped)
        if measure.of_answers:
            cut, unscored = cut_and_unscored(stored.items)
            counts.cut += cut
            counts.unscored.update(unscored)
    return counts


def _columns(measure: Measure, stored: Mapping[str, Stored]) -> list[Column]:
    """The columns for which any model has a value, the known ones first."""
    there = {(metric, item.kind) for found in stored.values() for item in found.items for metric in item.values}
    metrics = list(dict.fromkeys(m for found in stored.values() for item in found.items for m in item.values))
    columns = [
        one for one in measure.columns if one.metric in metrics and (not one.kind or (one.metric, one.kind) in there)
    ]
    known = {one.metric for one in columns}
    columns += [measure.other(metric, False) for metric in metrics if metric not in known]
    corpus = dict.fromkeys(metric for found in stored.values() for metric in found.corpus)
    columns += [measure.other(metric, True) for metric in corpus]
    return [replace(one, measure=measure.name) for one in columns]


def _fill(
    table: Table, one: Column, stored: Mapping[str, Stored], config: EvaluateConfig, clusters: Mapping[str, str]
) -> None:
    table.columns.append(one)
    if one.corpus:
        figures = {name: found.corpus[one.metric] for name, found in stored.items() if one.metric in found.corpus}
        table.seeds[one.title] = figures
        table.cells[one.title] = {row: _corpus_cell(names, figures, stored) for row, names in table.rows.items()}
        return
    ids, values = _values(one, table.rows, stored)
    own = {item.id: item.of for found in stored.values() for item in found.items if item.of}
    together = [clusters.get(item) or own.get(item) or f"alone: {item}" for item in ids]
    if not 1 < len({*together}) < len(ids):  # each alone; or all are of one, of which nothing can be drawn
        together = []
    compare = config.compare
    table.cells[one.title] = column(
        values,
        table.baseline,
        draws=compare.draws,
        confidence=compare.confidence,
        seed=compare.seed,
        clusters=together,
    )
    table.seeds[one.title] = {
        name: float(np.nanmean(line))
        for row, names in table.rows.items()
        for name, line in zip(names, values[row], strict=True)
        if not np.isnan(line).all()
    }


def _values(
    one: Column, rows: Mapping[str, list[str]], stored: Mapping[str, Stored]
) -> tuple[list[str], dict[str, Numbers]]:
    """The items, and by row, seeds x items; NaN where there is no value."""
    ids = dict.fromkeys(
        item.id
        for found in stored.values()
        for item in found.items
        if one.metric in item.values and one.kind in ("", item.kind)
    )
    places = {name: place for place, name in enumerate(ids)}
    lines = {}
    for name, found in stored.items():
        lines[name] = np.full(len(ids), np.nan)
        for item in found.items:
            if item.id in places and one.metric in item.values:
                lines[name][places[item.id]] = item.values[one.metric]
    return list(ids), {row: np.stack([lines[name] for name in names]) for row, names in rows.items()}


def _corpus_cell(names: list[str], figures: Mapping[str, float], stored: Mapping[str, Stored]) -> Cell:
    if any(name not in figures for name in names):
        return Cell(None)
    n = max(sum(not item.skipped for item in stored[name].items) for name in names)
    return Cell(Interval(sum(figures[name] for name in names) / len(names), np.nan, np.nan, n))
