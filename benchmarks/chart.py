"""One picture of all workloads: step time and memory of every contestant."""

from collections.abc import Sequence
from pathlib import Path

from contestants import CONTESTANTS
from report import Workload

PANELS = (("seconds", 1.0, "step time, s"), ("memory", 1e9, "peak memory above the weights, GB"))


def draw(workloads: Sequence[Workload], file: Path) -> None:
    """Writes horizontal bars, one panel for each quantity and one colour for each workload."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in CONTESTANTS if any(each.measured(name) for each in workloads)]
    thickness = 0.8 / len(workloads)
    figure, axes = pyplot.subplots(
        1, len(PANELS), figsize=(12, (0.3 + 0.2 * len(workloads)) * len(names) + 1.5), sharey=True, layout="constrained"
    )
    for axis, (quantity, unit, title) in zip(axes, PANELS, strict=True):
        for number, workload in enumerate(workloads):
            lines = {place: workload.measured(name) for place, name in enumerate(names)}
            bars = {place: line.typical(quantity) / unit for place, line in lines.items() if line is not None}
            places = [place + (number + 0.5) * thickness - 0.4 for place in bars]
            drawn = axis.barh(places, list(bars.values()), height=thickness, label=workload.name)
            axis.bar_label(drawn, fmt="%.3g", padding=3, fontsize="small")
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel(f"{title} (logarithmic)")
    axes[0].set_yticks(range(len(names)), [CONTESTANTS[name].title for name in names])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
