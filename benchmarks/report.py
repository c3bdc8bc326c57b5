"""Measurements -> medians, the ratios that the project promises, and both as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from contestants import CONTESTANTS, DEFAULT, PUBLISHED, PUBLISHED_ONE_IMAGE
from measure import Measurement
from rows import Shape

TOLERANCE = 1e-4
"""Largest relative difference of loss and gradient norm between two float32 ways to compute the same."""


@dataclass
class Line:
    """What is known of a contestant in one workload: its repeats, or why there are none."""

    runs: list[Measurement] = field(default_factory=list)
    error: str = ""

    def typical(self, quantity: str) -> float:
        """The median of a quantity of `Measurement` over the repeats."""
        return median(getattr(run, quantity) for run in self.runs)


@dataclass
class Workload:
    """One shape, with or without gradient checkpointing, and its lines by contestant."""

    shape: Shape
    checkpointing: bool
    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.shape.name + (", gradient checkpointing" if self.checkpointing else "")

    def measured(self, contestant: str) -> Line | None:
        line = self.lines.get(contestant)
        return line if line is not None and line.runs else None

    def difference(self, contestant: str, quantity: str) -> float | None:
        """Relative difference to the contestant that it must agree with; None where one of them is missing."""
        mine, other = self.measured(contestant), self.measured(CONTESTANTS[contestant].same_as)
        if mine is None or other is None:
            return None
        return abs(mine.typical(quantity) / other.typical(quantity) - 1)


@dataclass(frozen=True)
class Figure:
    """A figure to reach in every workload with the given number of image tokens.

    Attributes:
        title: In words.
        quantity: Of `Measurement`.
        of: The contestant whose quantity it is, or is divided by.
        goal: By image tokens.
        over: The contestant whose quantity is divided; empty for an absolute figure, which is to be at most the goal.
        checkpointing: Whether `of` runs with gradient checkpointing.
        over_checkpointing: Whether `over` does.
    """

    title: str
    quantity: str
    of: str
    goal: Mapping[int, float]
    over: str = ""
    checkpointing: bool = False
    over_checkpointing: bool = False


FIGURES: dict[str, tuple[Figure, ...]] = {
    "cpu": (
        Figure("step time, published / ours, one epoch", "seconds", DEFAULT, {256: 6.5, 1024: 5}, PUBLISHED),
        Figure("the same, reference cached", "seconds", "cached", {256: 8, 1024: 6}, PUBLISHED),
        Figure("the same, grouped by image", "seconds", "one_image", {256: 15, 1024: 12}, PUBLISHED_ONE_IMAGE),
        Figure("the same, and the reference cached", "seconds", "one_image_cached", {}, PUBLISHED_ONE_IMAGE),
        Figure("step time, stock `stage: dpo` / ours", "seconds", DEFAULT, {256: 3, 1024: 2.5}, "llamafactory_dpo"),
        Figure("memory above the weights, published / ours", "memory", DEFAULT, {256: 6, 1024: 6}, PUBLISHED),
    ),
    "qwen3_vl_4b": (
        Figure(
            "step time, published / ours, both checkpointed", "seconds", DEFAULT, {1024: 2.5}, PUBLISHED, True, True
        ),
        Figure("the same, ours without checkpointing", "seconds", DEFAULT, {1024: 3}, PUBLISHED, False, True),
        Figure("step time, stock `stage: dpo` / ours", "seconds", DEFAULT, {1024: 1.2}, "llamafactory_dpo"),
        Figure("step time, s", "seconds", DEFAULT, {1024: 1.2}),
        Figure("peak memory, bytes", "peak", DEFAULT, {1024: 40e9}),
        Figure("peak memory with checkpointing, bytes", "peak", DEFAULT, {1024: 24e9}, checkpointing=True),
    ),
    "qwen2_5_vl_7b_qlora": (
        Figure("peak memory with checkpointing, bytes", "peak", DEFAULT, {1024: 24e9}, checkpointing=True),
    ),
}


def reached(figure: Figure, workload: Workload, workloads: Sequence[Workload]) -> float | None:
    """A figure's value in the workloads of one shape; None where a contestant was not measured."""
    same_shape = {each.checkpointing: each for each in workloads if each.shape == workload.shape}
    entries = [(figure.of, figure.checkpointing)]
    if figure.over:
        entries.append((figure.over, figure.over_checkpointing))
    found = [same_shape[flag].measured(name) if flag in same_shape else None for name, flag in entries]
    if any(line is None for line in found):
        return None
    values = [line.typical(figure.quantity) for line in found if line is not None]
    return values[1] / values[0] if figure.over else values[0]


def figures_table(preset: str, workloads: Sequence[Workload]) -> str:
    """The figures to reach, the goal beside each value."""
    shapes = {each.shape: each for each in workloads}
    rows = [["", *(f"{shape.name} (goal)" for shape in shapes)]]
    for figure in FIGURES.get(preset, ()):
        cells = []
        for shape, workload in shapes.items():
            value, goal = reached(figure, workload, workloads), figure.goal.get(shape.image_tokens)
            sign = ">=" if figure.over else "<="
            cells.append(f"{_number(value)} ({sign} {goal:g})" if goal else _number(value))
        rows.append([figure.title, *cells])
    return _markdown(rows)


def workload_table(workload: Workload, throughput: float) -> str:
    """One line for every contestant, and the arithmetic limit of the default.

    Args:
        workload: What was measured.
        throughput: Floating-point operations a second of the machine's large matrix products.
    """
    titles = ["contestant", "runs", "step, s (least to most)", "forward, s", "backward, s", "collate, s", "tokens"]
    rows = [[*titles, "TFLOP", "memory, GB", "loss", "loss, rel. difference", "faster than published"]]
    for name, line in workload.lines.items():
        rows.append([CONTESTANTS[name].title, *(_cells(workload, name, line) if line.runs else ["failed", line.error])])
    default = workload.measured(DEFAULT)
    if default is not None:
        least, tokens = default.typical("flops"), f"{default.typical('tokens'):.0f}"
        limit = f"{least / throughput:.3g}"
        rows.append(["arithmetic limit of the default", "", limit, "", "", "", tokens, f"{least / 1e12:.3g}"])
    return _markdown(rows)


def _cells(workload: Workload, name: str, line: Line) -> list[str]:
    seconds = [run.seconds for run in line.runs]
    contestant = CONTESTANTS[name]
    difference = workload.difference(name, "loss") if contestant.same_as else None
    baseline = workload.measured(PUBLISHED_ONE_IMAGE if contestant.one_image else PUBLISHED)
    faster = baseline.typical("seconds") / line.typical("seconds") if baseline else None
    return [
        str(len(seconds)),
        f"{median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})",
        f"{median(run.seconds - run.backward_seconds for run in line.runs):.3g}",
        f"{line.typical('backward_seconds'):.3g}",
        f"{line.typical('collate_seconds'):.2g}",
        f"{line.typical('tokens'):.0f}",
        f"{line.typical('flops') / 1e12:.3g}",
        f"{line.typical('memory') / 1e9:.3g}",
        f"{line.typical('loss'):.6f}",
        "" if difference is None else f"{difference:.1e}",
        _number(faster),
    ]


def disagreements(workloads: Sequence[Workload]) -> list[str]:
    """Every contestant that failed to give the loss and the gradient norm that it must give; for float32."""
    problems = []
    for workload in workloads:
        for name, line in workload.lines.items():
            if not CONTESTANTS[name].same_as:
                continue
            if line.error:
                problems.append(f"{workload.name}: {name} failed: {line.error}")
            for quantity in ("loss", "gradient_norm"):
                difference = workload.difference(name, quantity)
                if difference is not None and not difference <= TOLERANCE:
                    other = CONTESTANTS[name].same_as
                    problems.append(f"{workload.name}: {quantity} of {name} and {other} differ by {difference:.1e}")
    return problems


def as_data(preset: str, machine: Mapping[str, Any], workloads: Sequence[Workload]) -> dict[str, Any]:
    """Everything measured, for JSON; times in seconds, sizes in bytes."""
    return {
        "preset": preset,
        "machine": dict(machine),
        "figures": [
            {
                "title": figure.title,
                **asdict(each.shape),
                "value": reached(figure, each, workloads),
                "goal": figure.goal.get(each.shape.image_tokens),
            }
            for figure in FIGURES.get(preset, ())
            for each in {each.shape: each for each in workloads}.values()
        ],
        "workloads": [asdict(each) for each in workloads],
    }


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    width = max(len(row) for row in rows)
    lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])
