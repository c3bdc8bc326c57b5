"""What the search of learning rates found on the validation split."""

import json
from pathlib import Path

from bench import Bench

Shares = tuple[float, int, float]
"""As `shares` gives them."""


def table(bench: Bench) -> str:
    """A line for every objective and rate, and the best rates named."""
    lines = ["| row | learning rate | right of read | unread | right of all |", "|---|---|---|---|---|"]
    best = []
    for name in bench.rates():
        found = tries(bench, name)
        top = best_rate(found)
        best.append(f"{name} {top:.1e}")
        for rate, (read, unread, whole) in found.items():
            shown = f"**{whole:.1%}**" if rate == top else f"{whole:.1%}"
            lines.append(f"| {bench.table[name].label} | {rate:.1e} | {read:.1%} | {unread} | {shown} |")
    return "\n".join([*lines, "", f"Best of all: {', '.join(best)}", ""])


def tries(bench: Bench, name: str) -> dict[float, Shares]:
    """What every rate of a row came to."""
    return {rate: shares(bench.tried(name, rate) / "answers.jsonl") for rate in bench.rates()[name]}


def best_rate(found: dict[float, Shares]) -> float:
    """The rate with most right answers among all, the lowest of several."""
    return max(found, key=lambda rate: found[rate][2])


def shares(file: Path) -> Shares:
    """Right answers among those that the judge could read; those that it could not; right ones among all."""
    answers = [json.loads(line)["right"] for line in file.read_text(encoding="utf-8").splitlines()]
    unread = answers.count(None)
    right = answers.count(True)
    return right / max(1, len(answers) - unread), unread, right / len(answers)
