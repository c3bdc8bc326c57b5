"""What `firempo audit` shows: the style-gap table, warnings, and histograms."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from ...errors import UserError
from .style import Report, length_accuracy

FEW_PAIRS = 20
"""With fewer, length may tell pairs apart by chance."""

CROWDED = 0.5
"""Share of yes/no pairs from which on there is a warning."""
SHORTCUT = 0.75
"""Share of pairs told apart by length alone from which on there is a warning."""

PUBLISHED = (
    "Published for SLAKE (arXiv 2606.12590): minimal edits of the model's own responses 13.1 / 13.5 words, difference "
    "1.3, 88.1% within two words, edit distance 0.21; ground truth as chosen 1.7 / 13.5, 11.8, 1.0%, 0.98, and length "
    "alone tells 99% of the pairs apart."
)


def table(*reports: Report) -> str:
    """The style-gap table, one column for each report, with warnings below."""
    cells = [["", *(report.name for report in reports)]]
    cells += [[label, *(show(report) for report in reports)] for label, show in _ROWS]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for cell, *figures in cells:
        padded = (figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True))
        lines.append("  ".join((cell.ljust(widths[0]), *padded)).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    lines += ["", fill(PUBLISHED, 100)]
    lines += [fill(f"WARNING {report.name}: {text}", 100) for report in reports for text in warnings(report)]
    return "\n".join(lines)


def warnings(report: Report) -> list[str]:
    """Sentences about what should not be trained on as it is."""
    return [sentence for sentence in (rule(report) for rule in _WARNINGS) if sentence]


def plot(path: Path, *reports: Report) -> None:
    """Draws the lengths of both sides and their difference, one row of axes for each report.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        UserError: The file's ending is that of no picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6 * len(reports)), layout="constrained")
    endings = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix[1:].lower() not in endings:
        raise UserError(f"{path}: nothing is drawn there; write a file that ends in .{', .'.join(sorted(endings))}")
    axes = figure.subplots(len(reports), 2, squeeze=False)
    for report, (left, right) in zip(reports, axes, strict=True):
        _plot_lengths(left, report)
        _plot_differences(right, report)
    figure.savefig(path, dpi=120)


def _plot_lengths(axes: Any, report: Report) -> None:
    chosen, rejected = zip(*report.lengths, strict=True)
    longest = _percentile_99((*chosen, *rejected))
    step = max(1, longest // 60)
    bins = list(range(0, longest + 1 + step, step))
    for lengths, color, side in ((chosen, "#2a7f62", "chosen"), (rejected, "#b5483a", "rejected")):
        axes.hist(lengths, bins=bins, alpha=0.55, color=color, label=f"{side}, mean {_mean(lengths):.1f}")
    title = report.name.replace("$", r"\$")
    axes.set(title=title, xlabel="words in the response (up to the 99th percentile)", ylabel="pairs")
    axes.legend()


def _plot_differences(axes: Any, report: Report) -> None:
    widest = _percentile_99([abs(difference) for difference in report.differences])
    step = max(1, widest // 30)
    edges = [edge - 0.5 for edge in range(-widest, widest + 1 + step, step)]
    axes.hist(report.differences, bins=edges, color="#4a6fa5")
    axes.axvline(0, color="black", linewidth=0.8)
    title = f"length alone tells {length_accuracy(report.differences):.1%} of the pairs apart"
    axes.set(title=title, xlabel="words of chosen - words of rejected", ylabel="pairs")


def _percentile_99(values: Sequence[int]) -> int:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def _mean(values: Iterable[float]) -> float:
    total = list(values)
    return sum(total) / len(total) if total else 0.0


def _both(pairs: Sequence[tuple[int, int]]) -> str:
    chosen, rejected = (_mean(pair[side] for pair in pairs) for side in (0, 1))
    return f"{chosen:.1f} / {rejected:.1f}"


def _within_two(report: Report) -> str:
    return f"{_mean(abs(difference) <= 2 for difference in report.differences):.1%}"


def _one_sided(report: Report) -> str:
    return f"{sum(not chosen or not rejected for chosen, rejected in report.phrases):,}"


_ROWS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("pairs", lambda report: f"{len(report.lengths):,}"),
    ("words, chosen / rejected", lambda report: _both(report.lengths)),
    ("mean |difference| in words", lambda report: f"{_mean(map(abs, report.differences)):.1f}"),
    ("pairs within two words", _within_two),
    ("word edit distance", lambda report: f"{_mean(report.edit_distances):.2f}"),
    ("told apart by length alone", lambda report: f"{length_accuracy(report.differences):.1%}"),
    ("yes/no pairs", lambda report: f"{report.polar / len(report.lengths):.1%}"),
    ("phrases, chosen / rejected", lambda report: _both(report.phrases)),
    ("characters in phrases", lambda report: f"{report.phrase_share:.1%}"),
    ("pairs with phrases on one side only", _one_sided),
    ("pairs that differ outside phrases", lambda report: f"{len(report.inexact):,}"),
    ("equal pairs", lambda report: f"{report.equal:,}"),
    ("duplicates", lambda report: f"{report.duplicates:,}"),
    ("other unusable pairs", lambda report: f"{sum(map(len, report.unusable.values())):,}"),
)


def _length_warning(report: Report) -> str | None:
    accuracy = length_accuracy(report.differences)
    if len(report.lengths) < FEW_PAIRS or accuracy < SHORTCUT:
        return None
    longer = "rejected" if _mean(report.differences) < 0 else "chosen"
    return (
        f"length alone separates {accuracy:.1%} of the pairs ({longer} is longer on average). Training can reach full "
        "reward accuracy by length and learn nothing about the images. Use minimal edits of the model's own responses."
    )


def _polar_warning(report: Report) -> str | None:
    share = report.polar / len(report.lengths)
    if len(report.lengths) < FEW_PAIRS or share < CROWDED:
        return None
    return (
        f"{share:.1%} of the pairs turn yes into no, or no into yes. One word at the start is learnt first, and crowds "
        "out the rest. `firempo build` bounds them with label.by: rules and export.share: {presence: 0.3}."
    )


def _inexact_warning(report: Report) -> str | None:
    if not report.inexact:
        return None
    return (
        f"in {len(report.inexact):,} pairs the sides differ outside their phrases, which the phrase terms do not see; "
        f"{_first(report.inexact)}. Leave the spans out to have them taken from the word-level diff."
    )


def _equal_warning(report: Report) -> str | None:
    return f"{report.equal:,} pairs have equal responses; the trainer refuses them." if report.equal else None


def _unusable_warning(report: Report) -> str | None:
    if not report.unusable:
        return None
    reason, rows = max(report.unusable.items(), key=lambda item: len(item[1]))
    return f"the trainer refuses {sum(map(len, report.unusable.values())):,} pairs; {_first(rows)}: {reason}."


def _first(rows: Sequence[int]) -> str:
    return f"the first is row {rows[0]}, counting from 0"


_WARNINGS: tuple[Callable[[Report], str | None], ...] = (
    _length_warning,
    _polar_warning,
    _inexact_warning,
    _equal_warning,
    _unusable_warning,
)
