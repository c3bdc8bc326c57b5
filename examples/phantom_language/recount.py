"""Makes every figure from the stored questions and answers alone: python recount.py FOLDER.

FOLDER is that of run.py. Shares no code with what asked and trained: answers are read here word by word. Intervals are
bootstraps of 95 %: images are drawn with all of their questions, and within each side seeds; differences are paired.
Writes recount.json and recount.md into FOLDER/results.
"""

import argparse
import json
import re
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
NAMES = {
    "nodule": "nodule",
    "consolidation": "consolidation",
    "effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
    "pacemaker": "pacemaker",
}
VALUES = {"side": ("left", "right"), "zone": ("upper", "lower"), "size": ("small", "large")}
FRAMES = {"side": "the N is on the V", "zone": "the N is in the V zone", "size": "the N is V"}
PATTERNS = {
    "nodule": "there is a SIZE nodule in the SIDE ZONE zone",
    "consolidation": "there is a consolidation in the SIDE ZONE zone",
    "effusion": "there is a SIZE SIDE pleural effusion",
    "pneumothorax": "there is a SIZE SIDE pneumothorax",
    "pacemaker": "there is a pacemaker on the SIDE",
}
LABELS = {
    "base": "base",
    "sft": "SFT on the chosen answers",
    "dpo": "DPO",
    "mdpo": "mDPO",
    "rrpo": "RRPO",
    "mask_dpo": "Mask-DPO",
    "fire_mpo": "FiRe-MPO",
}
MAIN, NOISY, PLAIN = "middle-strong", "fire_mpo", "rrpo"

Row = dict[str, Any]
Values = NDArray[np.float64]


def lines(file: Path) -> list[Row]:
    """The rows of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    """Its words in lower case."""
    return re.findall(r"[a-z]+", text.lower())


def value(question: Row, text: str) -> str | None:
    """What an answer says; None where its words do not tell."""
    if not re.fullmatch(r"[A-Z][A-Za-z, ]*\.", text):
        return None
    said, kind = " ".join(words(text)), question["kind"]
    if kind == "seen":
        head = f"The {question['asked']} side shows "
        return _listed(text[len(head) : -1]) if text.startswith(head) else None
    name = NAMES[question["finding"]]
    said = re.sub(rf"\b{name}\b", "N", said)
    if kind == "presence":
        return {"a N is seen so yes": "yes", "a N is not seen so no": "no"}.get(said)
    if kind == "is_side":
        asked = question["asked"]
        turned = VALUES["side"][VALUES["side"].index(asked) - 1]
        return {f"the N is on the {asked} so yes": "yes", f"the N is on the {turned} so no": "no"}.get(said)
    return {FRAMES[kind].replace("V", one): one for one in VALUES[kind]}.get(said)


def _listed(text: str) -> str | None:
    if text == "nothing abnormal":
        return ""
    items = text.replace(" and ", ", ").split(", ")
    known = {f"a {name}": finding for finding, name in NAMES.items()}
    if len(set(items)) < len(items) or not set(items) <= known.keys():
        return None
    return "+".join(finding for name, finding in known.items() if name in items)


def report(question: Row, text: str) -> Row:
    """What is wrong with a report: findings that are not there, missed ones, wrong attributes, unread sentences."""
    claimed: dict[str, Row] = {}
    denied: set[str] = set()
    unread, clear = int(not text.strip()), False
    for sentence in filter(None, map(str.strip, re.findall(r"[^.]*\.|[^.]+$", text))):
        said = " ".join(words(sentence)) if re.fullmatch(r"[A-Z][A-Za-z ]*\.", sentence) else ""
        claim = _claim(said)
        if claim and claim[0] not in claimed:
            claimed[claim[0]] = claim[1]
        elif said in (denials := {f"there is no {name}": finding for finding, name in NAMES.items()}):
            denied.add(denials[said])
        elif said == "the lungs are clear":
            clear = True
        else:
            unread += 1
    truth = question["found"]
    unread += len(denied & claimed.keys()) + (clear and bool(claimed))
    there = claimed.keys() & truth.keys()
    wrong = {
        "hallucinated": len(claimed.keys() - truth.keys()),
        "missed": len(truth.keys() - claimed.keys()),
        "attributes": sum(claimed[name][key] != truth[name][key] for name in there for key in truth[name]),
        "denied": len(denied & truth.keys()),
        "unread": unread,
    }
    return wrong | {"exact": int(not any(wrong.values()))}


def _claim(said: str) -> tuple[str, Row] | None:
    """The finding that a sentence claims, with its attributes."""
    for finding, pattern in PATTERNS.items():
        for key, (one, two) in VALUES.items():
            pattern = re.sub(rf"\b{key.upper()}\b", f"(?P<{key}>{one}|{two})", pattern)
        if match := re.fullmatch(pattern, said):
            return finding, match.groupdict()
    return None


@dataclass(frozen=True)
class Answers:
    """A model's answers to a split, question by question.

    Attributes:
        right: 1 where the answer to a question is right, 0 where it is wrong or unread.
        unread: How many of those cannot be read.
        reports: What is wrong with each report.
    """

    right: Values
    unread: int
    reports: list[Row]

    @classmethod
    def of(cls, questions: list[Row], file: Path) -> "Answers":
        """Reads the answers of a file.

        Raises:
            ValueError: They are not those of these questions.
        """
        given = {row["id"]: row["answer"] for row in lines(file)}
        if given.keys() != {row["id"] for row in questions}:
            raise ValueError(f"{file} holds {len(given)} answers, and not those of the {len(questions)} questions")
        said = [(row, value(row, given[row["id"]])) for row in questions if row["kind"] != "report"]
        right = np.array([float(found == row["truth"]) for row, found in said])
        reports = [report(row, given[row["id"]]) for row in questions if row["kind"] == "report"]
        return cls(right, sum(found is None for _, found in said), reports)


def interval(images: NDArray[np.int64], ours: Values, theirs: Values | None = None) -> tuple[float, float, float]:
    """A mean, or how much greater one is than another's, in percent with its interval.

    Args:
        images: The image of each item, [items].
        ours: [seeds, items].
        theirs: [seeds, items] of the same items; None: zero.
    """
    if not len(images):
        return nan, nan, nan
    random = np.random.default_rng(1)
    names, images = np.unique(images, return_inverse=True)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    items = drawn @ np.bincount(images)
    mean, draws = 0.0, np.zeros(DRAWS)
    for sign, side in ((1, ours), (-1, theirs)):
        if side is not None:
            sums = np.stack([np.bincount(images, seed) for seed in side])
            seeds = random.multinomial(len(side), np.full(len(side), 1 / len(side)), size=DRAWS) / len(side)
            draws += sign * np.einsum("ds,si,di->d", seeds, sums, drawn) / items
            mean += sign * float(side.mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    return 100 * mean, 100 * float(low), 100 * float(high)


class Split:
    """The questions of a split, and the figures over them.

    Args:
        questions: Its rows.
    """

    def __init__(self, questions: list[Row]) -> None:
        self.questions = questions
        images = {name: number for number, name in enumerate(dict.fromkeys(map(_image, questions)))}
        asked = [row for row in questions if row["kind"] != "report"]
        self.habit = np.array([row["habit"] for row in asked], dtype=bool)
        self.asked = np.array([images[_image(row)] for row in asked], dtype=np.int64)
        self.reports = np.array([images[_image(row)] for row in questions if row["kind"] == "report"], dtype=np.int64)

    def figures(self, ours: list[Answers], theirs: list[Answers] | None = None) -> Row:
        """Every figure of a model's seeds, or of their differences from another's."""
        groups = {"all": self.habit | True, "habit right": self.habit, "habit wrong": ~self.habit}
        made: Row = {}
        for key in ("hallucinated", "exact"):
            made[key] = interval(self.reports, _reports(ours, key), theirs and _reports(theirs, key))
        for name, among in groups.items():
            sides = [side and np.stack([one.right[among] for one in side]) for side in (ours, theirs)]
            made[name] = interval(self.asked[among], *sides)
        return made


def _reports(side: list[Answers], key: str) -> Values:
    return np.array([[row[key] for row in one.reports] for one in side], dtype=float)


def _image(row: Row) -> str:
    return str(row["id"]).rpartition("-")[0]


def count(folder: Path) -> Row:
    """Every figure of a benchmark's folder."""
    split = Split(lines(folder / "questions" / "test.jsonl"))
    bases = {
        file.parent.parent.name: Answers.of(split.questions, file)
        for file in sorted(folder.glob("answers/*/test/answers.jsonl"))
    }
    runs: dict[str, dict[str, list[Answers]]] = {}
    for file in sorted(folder.glob("tested/*/*/seed*/answers.jsonl")):
        pairs, objective = file.parts[-4:-2]
        runs.setdefault(pairs, {}).setdefault(objective, []).append(Answers.of(split.questions, file))
    base = [bases[MAIN.partition("-")[0]]]
    table = {"base": base} | {name: runs[MAIN][name] for name in LABELS if name in runs[MAIN]}
    return {
        "questions": len(split.asked),
        "reports": len(split.reports),
        "search": _search(folder),
        "bases": {
            depth: {"right": interval(split.asked, answers.right[None]), "reached": _reached(folder, depth)}
            for depth, answers in bases.items()
        },
        "rows": {
            name: {
                "seeds": len(side),
                "unread": sum(one.unread for one in side) / len(side),
                "unread in reports": sum(row["unread"] for one in side for row in one.reports) / len(side),
                "figures": split.figures(side),
                "over base": split.figures(side, base) if name != "base" else None,
                "over FiRe-MPO": split.figures(side, table[NOISY]) if name not in ("base", NOISY) else None,
            }
            for name, side in table.items()
        },
        "noise": [_cell(folder, split, pairs, bases, runs) for pairs in sorted(runs)],
    }


def _search(folder: Path) -> dict[str, dict[str, float]]:
    """Percent of right answers on the validation split by objective and rate, unread ones being wrong."""
    rows = lines(folder / "questions" / "validation.jsonl")
    base = folder / "answers" / MAIN.partition("-")[0] / "validation" / "answers.jsonl"
    found = {"base": {"untrained": 100 * float(Answers.of(rows, base).right.mean())}}
    for file in sorted(folder.glob("search/*/*/answers.jsonl")):
        objective, rate = file.parts[-3:-1]
        found.setdefault(objective, {})[rate] = 100 * float(Answers.of(rows, file).right.mean())
    return found


def _reached(folder: Path, depth: str) -> Row:
    return dict(json.loads((folder / "bases" / depth / "found.json").read_text(encoding="utf-8")))


def _cell(
    folder: Path, split: Split, pairs: str, bases: dict[str, Answers], runs: dict[str, dict[str, list[Answers]]]
) -> Row:
    """How much the noise of these pairs turns, and what came of training on them."""
    depth, _, noise = pairs.partition("-")
    again = lines(folder / "pairs" / pairs / "turned.jsonl")
    images = np.unique([row["id"] for row in again], return_inverse=True)[1]
    habit = np.array([row["habit"] for row in again], dtype=bool)
    turned = np.array([[float(value(row, row["said"]) != row["truth"]) for row in again]])
    noisy, plain = runs[pairs].get(NOISY), runs.get(f"{depth}-{MAIN.partition('-')[2]}", {}).get(PLAIN)
    seeds = min(len(noisy or ()), len(plain or ()))
    return {
        "depth": depth,
        "noise": noise,
        "turned": {
            name: interval(images[among], turned[:, among])
            for name, among in (("all", habit | True), ("habit right", habit), ("habit wrong", ~habit))
        },
        "gain": split.figures(noisy, [bases[depth]]) if noisy else None,
        "gain of RRPO": split.figures(plain, [bases[depth]]) if plain else None,
        "over RRPO": split.figures(noisy[:seeds], plain[:seeds]) if noisy and plain else None,
    }


def shown(made: Row) -> str:
    """The tables."""
    columns = ("hallucinated", "exact", "all", "habit right", "habit wrong")
    heads = "hallucinated findings in 100 reports | exact reports, % | right answers, % | habit right | habit wrong"
    text = [f"Test split: {made['questions']} questions, {made['reports']} reports.", ""]
    text += [f"| | seeds | {heads} | unread answers | unread in reports |", "|---|---|---|---|---|---|---|---|---|"]
    for name, row in made["rows"].items():
        figures = " | ".join(_interval(row["figures"][column]) for column in columns)
        unread = f"{row['unread']:.1f} | {row['unread in reports']:.1f}"
        text.append(f"| {LABELS[name]} | {row['seeds']} | {figures} | {unread} |")
    for title, key in (("base", "over base"), ("FiRe-MPO", "over FiRe-MPO")):
        text += ["", f"Difference from {title}:", "", f"| | {heads} |", "|---|---|---|---|---|---|"]
        for name, row in made["rows"].items():
            if row[key]:
                figures = " | ".join(_interval(row[key][column]) for column in columns)
                text.append(f"| {LABELS[name]} | {figures} |")
    text += ["", "Right answers on the validation split by rate, %:", "", "| | rates |", "|---|---|"]
    for name, rates in made["search"].items():
        text.append(f"| {LABELS[name]} | " + ", ".join(f"{rate}: {right:.1f}" for rate, right in rates.items()) + " |")
    text += ["", "What noise turns of the right answers, and right answers gained over the base, %:", ""]
    text += ["| depth | noise | turned, all | turned, habit wrong | FiRe-MPO | RRPO | FiRe-MPO over RRPO |"]
    text += ["|---|---|---|---|---|---|---|"]
    for cell in made["noise"]:
        turned = " | ".join(_interval(cell["turned"][key]) for key in ("all", "habit wrong"))
        sides = [cell[key] for key in ("gain", "gain of RRPO", "over RRPO")]
        gains = " | ".join(_interval(side["all"]) if side else "" for side in sides)
        text.append(f"| {cell['depth']} | {cell['noise']} | {turned} | {gains} |")
    text += ["", "Bases, right answers, %: "]
    text[-1] += ", ".join(f"{depth} {_interval(one['right'])}" for depth, one in made["bases"].items()) + "."
    return "\n".join(text) + "\n"


def _interval(figures: tuple[float, float, float]) -> str:
    mean, low, high = figures
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def write(folder: Path, results: Path) -> None:
    """Writes recount.json and recount.md."""
    results.mkdir(parents=True, exist_ok=True)
    made = count(folder)
    (results / "recount.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    (results / "recount.md").write_text(shown(made), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes every figure from the stored answers.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write(folder, folder / "results")
    print((folder / "results" / "recount.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
