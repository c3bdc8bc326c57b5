"""What the search of learning rates found on the validation split."""

import json
from pathlib import Path

from bench import OBJECTIVE_ROWS, RATES, Bench


def table(bench: Bench) -> str:
    """A line for every objective and rate; also written to search.md and the best rates named."""
    lines = ["| row | learning rate | right of read | unread | right of all |", "|---|---|---|---|---|"]
    best = []
    for name in OBJECTIVE_ROWS:
        found = {rate: shares(bench.tried(name, rate) / "answers.jsonl") for rate in RATES}
        top = max(found, key=lambda rate: found[rate][2])
        best.append(f"{name} {top:.1e}")
        for rate, (read, unread, whole) in found.items():
            shown = f"**{whole:.1%}**" if rate == top else f"{whole:.1%}"
            lines.append(f"| {bench.table[name].label} | {rate:.1e} | {read:.1%} | {unread} | {shown} |")
    text = "\n".join([*lines, "", f"Best of all: {', '.join(best)}", ""])
    (bench.folder / "search" / "search.md").write_text(text, encoding="utf-8")
    return text


def shares(file: Path) -> tuple[float, int, float]:
    """Right answers among those that the judge could read; those that it could not; right ones among all."""
    answers = [json.loads(line)["right"] for line in file.read_text(encoding="utf-8").splitlines()]
    unread = answers.count(None)
    right = answers.count(True)
    return right / max(1, len(answers) - unread), unread, right / len(answers)
