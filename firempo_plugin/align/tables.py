"""The rounds side by side: a table for people, one for programs, and a figure."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..evaluate.compare import Interval
from ..evaluate.config import CompareConfig
from ..files import write_text
from .numbers import Numbers, difference, spread
from .verdict import Verdict


@dataclass(frozen=True)
class Line:
    """A round as the tables show it.

    Attributes:
        numbers: What is known of it.
        mean: The metric.
        over_base, over_last: What it has more than the base model, and than the round before.
        corrected: Share of the base model's wrong answers that it has right.
        spoilt: Share of the base model's right answers that it has wrong.
    """

    numbers: Numbers
    mean: Interval
    over_base: Interval | None
    over_last: Interval | None
    corrected: float | None
    spoilt: float | None


def lines_of(history: Sequence[Numbers], compare: CompareConfig) -> list[Line]:
    """All rounds."""
    base = history[0]
    return [
        Line(
            numbers,
            spread(numbers, compare),
            difference(base, numbers, compare) if numbers.number else None,
            difference(history[numbers.number - 1], numbers, compare) if numbers.number else None,
            _turned(base, numbers, 0.0),
            _turned(base, numbers, 1.0),
        )
        for numbers in history
    ]


def _turned(base: Numbers, numbers: Numbers, value: float) -> float | None:
    """Of the items that have this value under the base model, 0 or 1, the share that has the other one now."""
    if not numbers.number or not {*base.values.values(), *numbers.values.values()} <= {0.0, 1.0}:
        return None
    before = [item for item, found in base.values.items() if found == value]
    return sum(numbers.values[item] != value for item in before) / len(before) if before else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _interval(value: Interval | None) -> str:
    return "" if value is None else f"{value.value:+.3f} [{value.low:.3f}, {value.high:.3f}]"


SHOWN: dict[str, Callable[[Line], str]] = {
    "pairs": lambda line: str(line.numbers.built.pairs) if line.numbers.built else "",
    "of wrong answers": lambda line: str(line.numbers.built.from_wrong) if line.numbers.built else "",
    "skipped by training": lambda line: str(line.numbers.skipped or ""),
    "metric": lambda line: f"{line.mean.value:.3f} [{line.mean.low:.3f}, {line.mean.high:.3f}]",
    "over base": lambda line: _interval(line.over_base),
    "over the round before": lambda line: _interval(line.over_last),
    "wrong ones corrected": lambda line: _percent(line.corrected),
    "right ones spoilt": lambda line: _percent(line.spoilt),
    "unread": lambda line: _percent(fmean(line.numbers.unread)),
    "words": lambda line: f"{fmean(line.numbers.answers.words):.1f}" if line.numbers.answers else "",
    "repeating": lambda line: _percent(fmean(line.numbers.answers.repeated)) if line.numbers.answers else "",
    "reward accuracy, first and last quarter": lambda line: (
        f"{line.numbers.training.early:.2f}, {line.numbers.training.late:.2f}" if line.numbers.training else ""
    ),
    "words of chosen over rejected": lambda line: f"{line.numbers.style.words:+.2f}" if line.numbers.style else "",
    "words edited": lambda line: _percent(line.numbers.style.edited) if line.numbers.style else "",
}
"""Rows of the table, but those of `firempo evaluate`."""


def markdown(lines: Sequence[Line], metric: str, verdict: Verdict, compare: CompareConfig, about: str) -> str:
    """The table, a column a round, with what it means."""
    rows = {metric if title == "metric" else title: [show(line) for line in lines] for title, show in SHOWN.items()}
    for title in lines[0].numbers.columns:
        found = [line.numbers.columns[title] for line in lines]
        rows[title] = ["" if value is None else f"{value:.2f}" for value in found]
    table = [["", *(_name(line.numbers.number) for line in lines)], ["---"] * (1 + len(lines))]
    table += [[title, *cells] for title, cells in rows.items() if any(cells)]
    best = lines[verdict.best].numbers
    notes = [
        f"Best: {_name(best.number)}, {best.model}",
        *([f"Stopped: {verdict.stop}"] if verdict.stop else []),
        *(f"Trouble in the last round: {trouble}" for trouble in verdict.troubles),
        f"{metric} is over {lines[0].mean.n} items; {about}.",
        "An item that could be measured and has no value, such as an answer that nobody can read, counts as 0 in "
        f"{metric}; the last rows, those of `firempo evaluate`, leave it out. "
        f"Intervals: {compare.confidence:.0%}, paired bootstrap, {compare.draws} draws, which draws the items of "
        "one study or image together; they say nothing of other seeds. The best round was chosen on these items: "
        "measure it on others before you tell anybody.",
    ]
    shown = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join(["# Rounds", "", *shown, "", *(f"- {note}" for note in notes), ""])


def _name(number: int) -> str:
    return f"round {number}" if number else "base"


def write(
    lines: Sequence[Line], metric: str, verdict: Verdict, compare: CompareConfig, about: str, folder: Path
) -> list[Path]:
    """Writes rounds.md, rounds.csv, rounds.json and rounds.png; says where."""
    files = {
        "rounds.md": markdown(lines, metric, verdict, compare, about),
        "rounds.csv": _csv(lines, metric),
        "rounds.json": json.dumps(_content(lines, metric, verdict), indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in files.items():
        write_text(folder / name, text)
    return [*(folder / name for name in files), draw(lines, metric, folder / "rounds.png")]


def _content(lines: Sequence[Line], metric: str, verdict: Verdict) -> dict[str, Any]:
    return {"metric": metric, "verdict": asdict(verdict), "rounds": [asdict(line) for line in lines]}


def _csv(lines: Sequence[Line], metric: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    measured = list(lines[0].numbers.columns)
    writer.writerow(["round", "model", metric, "low", "high", "corrected", "spoilt", "unread", "words", *measured])
    for line in lines:
        one = line.numbers
        words = fmean(one.answers.words) if one.answers else None
        mean = (line.mean.value, line.mean.low, line.mean.high)
        writer.writerow(
            [one.number, one.model, *mean, line.corrected, line.spoilt, fmean(one.unread), words, *one.columns.values()]
        )
    return file.getvalue()


def draw(lines: Sequence[Line], metric: str, path: Path) -> Path:
    """A panel for the metric, one each for what becomes of answers, and one for every column of the evaluation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, list[float | None]] = {
        "wrong ones corrected": [line.corrected for line in lines],
        "right ones spoilt": [line.spoilt for line in lines],
        "unread": [fmean(line.numbers.unread) for line in lines],
        "words": [fmean(line.numbers.answers.words) if line.numbers.answers else None for line in lines],
        **{title: [line.numbers.columns[title] for line in lines] for title in lines[0].numbers.columns},
    }
    shown = {title: curve for title, curve in curves.items() if any(value is not None for value in curve)}
    across = min(4, 1 + len(shown))
    down = -(-(1 + len(shown)) // across)
    figure = Figure(figsize=(3.2 * across, 2.6 * down), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(down, across, squeeze=False).flat
    x = [line.numbers.number for line in lines]
    means = [line.mean.value for line in lines]
    reach = [[line.mean.value - line.mean.low for line in lines], [line.mean.high - line.mean.value for line in lines]]
    first.errorbar(x, means, yerr=reach, fmt="o-", capsize=3)
    first.set_title(metric, fontsize=10)
    for panel, (title, curve) in zip(others, shown.items(), strict=False):
        panel.plot(x, [float("nan") if value is None else value for value in curve], "o-")
        panel.set_title(title, fontsize=10)
    for panel in others[len(shown) :]:
        panel.set_visible(False)
    for panel in (first, *others):
        panel.set_xticks(x, ["base" if number == 0 else str(number) for number in x])
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    return path
