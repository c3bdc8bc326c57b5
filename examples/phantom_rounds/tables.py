"""Makes every figure from the stored questions and answers alone: python tables.py FOLDER.

FOLDER is that of run.py. Answers are read and intervals drawn by the benchmark's recount, which shares no code with
what asked and trained. Writes rounds.json and rounds.md into FOLDER/results.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "phantom_language"))

import numpy as np
from recount import LABELS, MAIN, Answers, Split, interval, lines

COLUMNS = ("hallucinated", "missed", "exact", "all", "habit right", "habit wrong")
HEADS = (
    "hallucinated findings in 100 reports | missed findings in 100 reports | exact reports, % | right answers, % | "
    "habit right | habit wrong"
)
ROUNDS = ("1", "2", "3", "long")
NAMES = {"1": "one round", "2": "two rounds", "3": "three rounds", "long": "one round, as many steps as three"}
DIFFERENCES = (("3", "1"), ("3", "long"), ("long", "1"))
REPORTS = ("whole", "findings")


def count(folder: Path) -> dict[str, Any]:
    """Every figure of a folder."""
    split = Split(lines(folder / "questions" / "test.jsonl"))
    base = [Answers.of(split.questions, folder / "answers" / MAIN.partition("-")[0] / "test" / "answers.jsonl")]
    rounds = {
        name: {round_: _answers(split, folder, name, round_) for round_ in ROUNDS}
        for name in LABELS
        if (folder / "rounds" / name).is_dir()
    }
    reports = {way: _of(split, folder.glob(f"findings/{way}/seed*/test/answers.jsonl")) for way in REPORTS}
    reports = {way: side for way, side in reports.items() if side}
    return {
        "questions": len(split.asked),
        "reports": len(split.reports),
        "base": _row(split, base, base),
        "rounds": {
            name: {round_: _row(split, side, base) for round_, side in sides.items() if side}
            | {"pairs": _pairs(folder, name)}
            for name, sides in rounds.items()
        },
        "between rounds": {
            name: {
                f"{first} - {second}": _compared(split, *_paired(sides[first], sides[second]))
                for first, second in DIFFERENCES
                if sides[first] and sides[second]
            }
            for name, sides in rounds.items()
        },
        "findings": {way: _row(split, side, base) for way, side in reports.items()},
        "findings - whole": _compared(split, *_paired(reports["findings"], reports["whole"]))
        if len(reports) == len(REPORTS)
        else None,
    }


def _answers(split: Split, folder: Path, objective: str, round_: str) -> list[Answers]:
    """By seed; of the first round those of the benchmark's table, as far as the others have them."""
    seeds = sorted((folder / "rounds" / objective).glob("seed*"))
    if round_ == "1":
        return _of(split, (folder / "tested" / MAIN / objective / seed.name / "answers.jsonl" for seed in seeds))
    return _of(split, (seed / round_ / "test" / "answers.jsonl" for seed in seeds))


def _of(split: Split, files: Any) -> list[Answers]:
    return [Answers.of(split.questions, file) for file in sorted(files) if file.exists()]


def _paired(ours: list[Answers], theirs: list[Answers]) -> tuple[list[Answers], list[Answers]]:
    seeds = min(len(ours), len(theirs))
    return ours[:seeds], theirs[:seeds]


def _compared(split: Split, ours: list[Answers], theirs: list[Answers] | None = None) -> dict[str, Any]:
    """The benchmark's figures, and what reports miss."""
    missed = [
        side and np.array([[row["missed"] for row in one.reports] for one in side], float) for side in (ours, theirs)
    ]
    return split.figures(ours, theirs) | {"missed": interval(split.reports, *missed)}


def _row(split: Split, side: list[Answers], base: list[Answers]) -> dict[str, Any]:
    return {
        "seeds": len(side),
        "unread": sum(one.unread for one in side) / len(side),
        "unread in reports": sum(row["unread"] for one in side for row in one.reports) / len(side),
        "figures": _compared(split, side),
        "over base": _compared(split, side, base),
    }


def _pairs(folder: Path, objective: str) -> dict[str, list[int]]:
    """How many pairs a round had, by seed."""
    files = {
        round_: sorted((folder / "rounds" / objective).glob(f"seed*/{round_}/pairs/pairs.json")) for round_ in ROUNDS
    }
    return {
        round_: [len(json.loads(file.read_text(encoding="utf-8"))) for file in found]
        for round_, found in files.items()
        if found
    }


def shown(made: dict[str, Any]) -> str:
    """The tables."""
    text = [f"Test split: {made['questions']} questions, {made['reports']} reports.", ""]
    text += [
        f"| | | seeds | {HEADS} | unread answers | unread in reports |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    text.append(_line("base", "", made["base"]))
    for name, sides in made["rounds"].items():
        text += [_line(LABELS[name], NAMES[round_], sides[round_]) for round_ in ROUNDS if round_ in sides]
    text += [_line("FiRe-MPO, reports alone", way, row) for way, row in made["findings"].items()]
    text += ["", "Differences:", "", f"| | | {HEADS} |", "|---|---|---|---|---|---|---|---|"]
    for name, pairs in made["between rounds"].items():
        for both, figures in pairs.items():
            first, second = both.split(" - ")
            text.append(f"| {LABELS[name]} | {NAMES[first]} minus {NAMES[second]} | {_figures(figures)} |")
    if made["findings - whole"]:
        text.append(f"| FiRe-MPO, reports alone | findings minus whole | {_figures(made['findings - whole'])} |")
    for name, sides in made["rounds"].items():
        told = "; ".join(f"round {round_}: {', '.join(map(str, counts))}" for round_, counts in sides["pairs"].items())
        text += ["", f"Pairs of {LABELS[name]} by seed, {told}."]
    return "\n".join(text) + "\n"


def _line(name: str, what: str, row: dict[str, Any]) -> str:
    unread = f"{row['unread']:.1f} | {row['unread in reports']:.1f}"
    return f"| {name} | {what} | {row['seeds']} | {_figures(row['figures'])} | {unread} |"


def _figures(figures: dict[str, Any]) -> str:
    return " | ".join("{:.1f} [{:.1f}, {:.1f}]".format(*figures[column]) for column in COLUMNS)


def write(folder: Path, results: Path) -> None:
    """Writes rounds.json and rounds.md."""
    results.mkdir(parents=True, exist_ok=True)
    made = count(folder)
    (results / "rounds.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    (results / "rounds.md").write_text(shown(made), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes every figure from the stored answers.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write(folder, folder / "results")
    print((folder / "results" / "rounds.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
