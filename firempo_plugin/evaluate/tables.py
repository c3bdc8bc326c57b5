"""The table of a run, from the stored items alone: rows are methods, columns are metrics, seeds are pooled."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .accuracy import unscored
from .answers import cut_items
from .compare import Cell, Interval, Numbers, column
from .config import ANSWERED, MEASURES, EvaluateConfig
from .layers import by_layer
from .store import ItemFile, Stored


@dataclass(frozen=True)
class Column:
    """A metric over the items of one kind, or over all.

    Attributes:
        title: As the table shows it.
        measure, metric: Which values.
        kind: Of the items; "" for all.
        scale: What the shown figures are multiplied by: 100 for shares in percent.
        higher_is_better: None where neither is.
        corpus: Whether the figure is one of all items together, without an interval.
    """

    title: str
    measure: str
    metric: str
    kind: str = ""
    scale: float = 1.0
    higher_is_better: bool | None = True
    corpus: bool = False

    @property
    def heading(self) -> str:
        """The title with the direction that is better."""
        return self.title + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]


_ACCURACY = tuple(
    Column(f"{title}{mark}", "accuracy", metric, kind, scale=100)
    for metric, mark in (("judged", ""), ("exact", ", exact"))
    for title, kind in (("Closed", "closed"), ("Open", "open"), ("All", ""))
)
_EVIDENCE = (
    Column("AR", "grounding", "attention_ratio"),
    Column("KL", "grounding", "attention_kl", higher_is_better=False),
    Column("JS", "grounding", "attention_js", higher_is_better=False),
    Column("Localisation", "localisation", "phrase_rank"),
    Column("Sensitivity", "sensitivity", "evidence_gap"),
    Column("Drop, region", "sensitivity", "evidence_drop", higher_is_better=None),
    Column("Drop, elsewhere", "sensitivity", "elsewhere_drop", higher_is_better=None),
)
_REPORT_TITLES = {
    "green": "GREEN",
    "radgraph_simple": "RadGraph F1, simple",
    "radgraph_partial": "RadGraph F1",
    "radgraph_complete": "RadGraph F1, complete",
    "f1chexbert_sample_acc_5": "CheXbert accuracy, 5",
    "f1chexbert_sample_acc_all": "CheXbert accuracy, all",
    "f1chexbert_5_micro_f1": "CheXbert F1, 5 micro",
    "f1chexbert_all_micro_f1": "CheXbert F1, all micro",
    "bleu": "BLEU-4",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bertscore": "BERTScore",
}


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
        layers: Means over items and models, by metric of the grounding measure, row and decoder layer.
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
    table = Table(config.rows, config.baseline)
    for measure in (name for name in MEASURES if name in config.measures):
        stored = {name: ItemFile(Path(config.workspace), measure, name).read() for name in config.models}
        table.incomplete += [line for name, found in stored.items() for line in _missing(measure, name, found)]
        _protocol(table, measure, stored)
        table.counts[measure] = {
            row: _counted([stored[name] for name in names], measure) for row, names in table.rows.items()
        }
        for one in _columns(measure, stored):
            _fill(table, one, stored, config)
        if measure == "grounding":
            for row, names in table.rows.items():
                for metric, curve in by_layer([item for name in names for item in stored[name].items]).items():
                    table.layers.setdefault(metric, {})[row] = curve
    return table


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


def _counted(files: list[Stored], measure: str) -> Counts:
    counts = Counts()
    for stored in files:
        counts.items += len(stored.items)
        counts.skipped.update(item.skipped for item in stored.items if item.skipped)
        if measure in ANSWERED:
            counts.cut += cut_items(stored.items)
        if measure == "accuracy":
            counts.unscored.update(unscored(stored.items))
    return counts


def _columns(measure: str, stored: Mapping[str, Stored]) -> list[Column]:
    """The columns for which any model has a value, the known ones first."""
    there = {(metric, item.kind) for found in stored.values() for item in found.items for metric in item.values}
    metrics = list(dict.fromkeys(m for found in stored.values() for item in found.items for m in item.values))
    columns = [
        one
        for one in (*_ACCURACY, *_EVIDENCE)
        if one.measure == measure and one.metric in metrics and (not one.kind or (one.metric, one.kind) in there)
    ]
    known = {one.metric for one in columns}
    columns += [_other(measure, metric) for metric in metrics if metric not in known]
    corpus = dict.fromkeys(metric for found in stored.values() for metric in found.corpus)
    return columns + [_of_corpus(measure, metric) for metric in corpus]


def _other(measure: str, metric: str) -> Column:
    title = _REPORT_TITLES.get(metric, metric.capitalize() if metric.startswith("pass@") else metric)
    return Column(title, measure, metric, scale=100 if measure in ("accuracy", "reports") else 1)


def _of_corpus(measure: str, metric: str) -> Column:
    return Column(f"{_REPORT_TITLES.get(metric, metric)}, all reports", measure, metric, scale=100, corpus=True)


def _fill(table: Table, one: Column, stored: Mapping[str, Stored], config: EvaluateConfig) -> None:
    table.columns.append(one)
    if one.corpus:
        figures = {name: found.corpus[one.metric] for name, found in stored.items() if one.metric in found.corpus}
        table.seeds[one.title] = figures
        table.cells[one.title] = {row: _corpus_cell(names, figures, stored) for row, names in table.rows.items()}
        return
    values = _values(one, table.rows, stored)
    compare = config.compare
    table.cells[one.title] = column(
        values, table.baseline, draws=compare.draws, confidence=compare.confidence, seed=compare.seed
    )
    table.seeds[one.title] = {
        name: float(np.nanmean(line))
        for row, names in table.rows.items()
        for name, line in zip(names, values[row], strict=True)
        if not np.isnan(line).all()
    }


def _values(one: Column, rows: Mapping[str, list[str]], stored: Mapping[str, Stored]) -> dict[str, Numbers]:
    """By row, seeds x items; NaN where there is no value."""
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
    return {row: np.stack([lines[name] for name in names]) for row, names in rows.items()}


def _corpus_cell(names: list[str], figures: Mapping[str, float], stored: Mapping[str, Stored]) -> Cell:
    if any(name not in figures for name in names):
        return Cell(None)
    n = max(sum(not item.skipped for item in stored[name].items) for name in names)
    return Cell(Interval(sum(figures[name] for name in names) / len(names), np.nan, np.nan, n))
