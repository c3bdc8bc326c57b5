"""Recomputes a table's accuracies from the stored answers with code of its own, and says where the two disagree.

    python recount.py FOLDER TABLE

FOLDER is that of run.py, TABLE one of its folder `evaluation`: objectives or ablations. Answers are read here by the
phantom's few words, not by the product's judge, and intervals and p values are drawn with the standard library alone.
Broken sentences that the judge leaves unread may still be read here, so these figures can differ from the table's; the
table's own are recomputed over the answers that the judge read, and the run ends with status 1 where a mean is off by
more than TOLERANCE. Also gives what the table does not: right answers where habit is right and where it is wrong, and
of all answers, unread ones counting as wrong. Writes recount.md beside the table.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

TOLERANCE = 0.1
"""Percentage points between a mean here and in the table."""
DRAWS = 2000
OPTIONS = {"side": ("left", "right"), "zone": ("upper", "lower"), "size": ("small", "large")}
ASKED = {"side": ("side",), "zone": ("zone",), "size": ("size",), "which": ("side",), "where": ("side", "zone")}


@dataclass(frozen=True)
class Verdict:
    """One answer.

    Attributes:
        right: By the words; None where they do not tell.
        judged: By the product's judge; None where it could not decide.
        closed: Whether the question is.
        usual: Whether an answer from habit is right.
    """

    right: bool | None
    judged: bool | None
    closed: bool
    usual: bool


Answers = dict[str, Verdict]
"""By the record's id."""


def read(text: str, row: dict[str, Any]) -> bool | None:
    """Whether an answer to a record of the phantom is right; None where its words do not tell."""
    words = re.findall(r"[a-z]+", text.lower())
    if row["asks"] in ("presence", "is_side"):
        said = {word for word in words if word in ("yes", "no")}
        return said == {row["answer"]} if len(said) == 1 else None
    for attribute in ASKED[row["asks"]]:
        named = {word for word in words if word in OPTIONS[attribute]}
        if len(named) != 1:
            return None
        if named != {row[attribute]}:
            return False
    return True


def load(folder: Path, wanted: set[str]) -> dict[str, Answers]:
    """The verdicts of these models by name."""
    records = {row["id"]: row for row in _lines(folder / "data" / "test.jsonl")}
    models = {}
    for file in sorted((folder / "evaluation" / "parts").glob("*/answers/*.jsonl")):
        if file.stem not in wanted:
            continue
        items = file.parents[1] / "items" / "accuracy" / file.name
        judged = {item["id"]: item["values"].get("judged") for item in _lines(items) if "values" in item}
        found: Answers = {}
        for given in _lines(file):
            row = records.get(given["id"].partition(":")[2])
            if row is not None:
                verdict = judged[given["id"]]
                found[row["id"]] = Verdict(
                    read(given["answer"], row),
                    None if verdict is None else bool(verdict),
                    row["closed"] == "closed",
                    row["usual"],
                )
        if found.keys() != records.keys():
            sys.exit(f"{file}: {len(found)} answers to {len(records)} questions; run run.py again to complete them")
        models[file.stem] = found
    return models


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


COLUMNS: dict[str, Callable[[Verdict], bool]] = {
    "Closed": lambda verdict: verdict.closed,
    "Open": lambda verdict: not verdict.closed,
    "All": lambda verdict: True,
    "Habit right": lambda verdict: verdict.usual,
    "Habit wrong": lambda verdict: not verdict.usual,
}


def share(answers: Answers, among: Callable[[Verdict], bool]) -> float:
    """Percent of right answers among those that could be read; NaN where none could."""
    scored = [verdict.right for verdict in answers.values() if among(verdict) and verdict.right is not None]
    return 100 * fmean(scored) if scored else nan


def as_judged(answers: Answers, among: Callable[[Verdict], bool]) -> float:
    """Percent of right answers among those that the judge read, by their words where these tell; NaN without any."""
    scored = [one for one in answers.values() if among(one) and one.judged is not None]
    return 100 * fmean(one.judged if one.right is None else one.right for one in scored) if scored else nan


def of_all(answers: Answers) -> float:
    """Percent of right answers among all."""
    return 100 * fmean(verdict.right is True for verdict in answers.values())


def difference(ours: list[Answers], theirs: list[Answers], seed: int = 0) -> tuple[float, float, float, float]:
    """How much more percent of the questions that all could answer readably are right: value, 95 % interval, p.

    Images, each with all of its questions, and, within each side, seeds are drawn with replacement; p is twice the
    smaller share of draws on either side of zero. NaN where no question was answered readably by all.
    """
    ids = [name for name in ours[0] if all(answers[name].right is not None for answers in (*ours, *theirs))]
    if not ids:
        return nan, nan, nan, nan
    sides = [[[float(bool(answers[name].right)) for name in ids] for answers in side] for side in (ours, theirs)]
    value = 100 * (fmean(map(fmean, sides[0])) - fmean(map(fmean, sides[1])))
    images: dict[str, list[int]] = {}
    for place, name in enumerate(ids):
        images.setdefault(name.rpartition("-")[0], []).append(place)
    shown = list(images.values())
    draw = random.Random(seed)
    found = []
    for _ in range(DRAWS):
        places = [place for image in draw.choices(shown, k=len(shown)) for place in image]
        means = [
            fmean(fmean([line[place] for place in places]) for line in draw.choices(side, k=len(side)))
            for side in sides
        ]
        found.append(100 * (means[0] - means[1]))
    found.sort()
    sign = min(sum(one >= 0 for one in found), sum(one <= 0 for one in found))
    return value, found[int(0.025 * DRAWS)], found[int(0.975 * DRAWS) - 1], min(1.0, 2 * (sign + 1) / (DRAWS + 1))


def report(folder: Path, name: str) -> tuple[str, list[str]]:
    """The recount as Markdown, and every figure of the table that it does not confirm."""
    table = json.loads((folder / "evaluation" / name / "tables" / "table.json").read_text(encoding="utf-8"))
    theirs = {(cell["column"], cell["row"]): 100 * cell["mean"]["value"] for cell in table["cells"] if cell["mean"]}
    models = load(folder, {name for names in table["rows"].values() for name in names})
    groups = {row: [models[name] for name in names] for row, names in table["rows"].items()}
    baseline = groups[table["baseline"]]
    shown = [*COLUMNS, "All, unread as wrong", "Unread", f"All, against {table['baseline']}"]
    lines = [f"| | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    wrong = []
    for row, answers in groups.items():
        means = {title: fmean(share(each, among) for each in answers) for title, among in COLUMNS.items()}
        for title in ("Closed", "Open", "All"):
            given, ours = theirs.get((title, row), nan), fmean(as_judged(each, COLUMNS[title]) for each in answers)
            if isnan(given) != isnan(ours) or abs(given - ours) > TOLERANCE:
                wrong.append(f"{row}, {title}: {given:.2f} in the table, {ours:.2f} here")
        unread = fmean(sum(verdict.right is None for verdict in each.values()) for each in answers)
        cells = [*(f"{value:.1f}" for value in means.values()), f"{fmean(map(of_all, answers)):.1f}", f"{unread:.1f}"]
        if answers is not baseline:
            value, low, high, p = difference(answers, baseline)
            cells.append(f"{value:+.1f} [{low:+.1f}, {high:+.1f}], p {p:.3g}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    verdicts = [one for each in models.values() for one in each.values()]
    lines += ["", _agreement(verdicts)]
    return "\n".join(lines) + "\n", wrong


def _agreement(verdicts: list[Verdict]) -> str:
    """How often words and judge say the same."""
    conflicts = sum(None not in (one.right, one.judged) and one.right != one.judged for one in verdicts)
    by_words = sum(one.judged is None and one.right is not None for one in verdicts)
    by_judge = sum(one.right is None and one.judged is not None for one in verdicts)
    return (
        f"{len(verdicts)} answers; words and judge contradict each other on {conflicts}, only the words tell on "
        f"{by_words}, only the judge on {by_judge}."
    )


def confirm(folder: Path, name: str) -> None:
    """Writes the recount beside the table and prints it.

    Raises:
        SystemExit: It does not confirm the table.
    """
    text, wrong = report(folder, name)
    (folder / "evaluation" / name / "tables" / "recount.md").write_text(text, encoding="utf-8")
    print(text)
    if wrong:
        sys.exit("The recount does not confirm:\n" + "\n".join(wrong))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Recomputes the accuracies from the stored answers.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("table")
    arguments = parser.parse_args()
    confirm(arguments.folder, arguments.table)


if __name__ == "__main__":
    main()
