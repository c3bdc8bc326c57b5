"""What is printed of the results, and the figures to reach. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDEST = 130
"""Characters of a cell: a failed contestant's error is not to push everything else out of the last hundred lines."""


@dataclass(frozen=True)
class Goal:
    """A figure to reach.

    Attributes:
        title: In words.
        value: The value that is meant, or that is divided.
        goal: The least that it is to be; negative where it is the most.
        by: The value that it is divided by; empty where none.
    """

    title: str
    value: str
    goal: float
    by: str = ""


GOALS = (
    Goal("4B, published / ours, both checkpointed", "step/published/checkpointed", 2.5, "step/passes/checkpointed"),
    Goal("the same, each as it can run", "step/published/best", 3.5, "step/passes/best"),
    Goal("stock `dpo` / ours, each as it can run", "step/llamafactory_dpo/best", 1.3, "step/passes/best"),
    Goal("step without checkpointing, s", "step/passes", -1.0),
    Goal("its peak, GB", "step/passes/peak", -40.0),
    Goal("its share of the measured matrix rate", "step/passes/share", 0.5),
    Goal(
        "caches, grouped 4 an image: published / ours",
        "step/published_one_image/best",
        10.0,
        "step/one_image_all_cached/best",
    ),
    Goal("llamafactory-cli train / the bare step of its rows", "train/step", -1.1, "train/bare"),
    Goal("waiting for the loader, share", "train/waiting", -0.03),
    Goal("bf16 loss against plain float32, relative", "parity/bfloat16/loss", -3e-3),
    Goal("bf16 gradients, the same", "parity/bfloat16/gradient", -3e-2),
    Goal("4B LoRA checkpointed, optimiser included, peak GB", "seven/qwen3_vl_4b/peak", -24.0),
    Goal("7B QLoRA checkpointed, the same", "seven/qwen2_5_vl_7b_qlora/peak", -24.0),
)


def reached(goal: Goal, values: Mapping[str, float]) -> float | None:
    """The figure, or None where a part of it was not measured."""
    if goal.value not in values or (goal.by and goal.by not in values):
        return None
    return values[goal.value] / (values[goal.by] if goal.by else 1.0)


def goals_table(values: Mapping[str, float]) -> str:
    """The figures to reach beside what was reached."""
    rows: list[Sequence[Any]] = []
    for goal in GOALS:
        found = reached(goal, values)
        sign = "<=" if goal.goal < 0 else ">="
        held = (
            "" if found is None else "yes" if (found <= -goal.goal if goal.goal < 0 else found >= goal.goal) else "no"
        )
        rows.append((goal.title, "not run" if found is None else found, f"{sign} {abs(goal.goal):g}", held))
    return markdown(("figure", "found", "goal", "held"), rows)


def stage_text(name: str, title: str, status: str, content: Mapping[str, Any]) -> str:
    """One stage's part of what is printed."""
    parts = [f"## {name}: {title} [{status}]"]
    for table in content.get("tables", ()):
        if table["rows"]:
            heading = [table["title"]] if table["title"] else []
            body = markdown(table["columns"], table["rows"]) if any(table["columns"]) else facts(table["rows"])
            parts += [*heading, body]
    if content.get("left_out"):
        parts.append(f"Not begun for want of time: {', '.join(content['left_out'])}")
    return "\n".join(parts)


def facts(rows: Sequence[Sequence[Any]]) -> str:
    """A table without columns, in one line: names and what is so named."""
    return "; ".join(": ".join(filter(None, map(_text, row))) for row in rows)


def printed(text: str) -> str:
    """Markdown as it is printed: without the lines that part the headings of tables from their rows."""
    return "\n".join(line for line in text.splitlines() if not set(line) <= set("|-") or not line)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; short rows are filled up."""
    full = [[_text(cell) for cell in row] + [""] * (len(columns) - len(row)) for row in rows]
    lines = ["|".join(("", *row, "")) for row in (list(columns), *full)]
    return "\n".join([lines[0], "|" + "-|" * len(columns), *lines[1:]])


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.3g}"
    text = " ".join(str(cell).replace("|", "/").split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
