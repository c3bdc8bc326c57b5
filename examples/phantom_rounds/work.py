"""One step of the experiments, in a process of its own: python work.py SCALE FOLDER TARGET STEP [WHAT ...].

FOLDER is that of run.py; TARGET is a folder that is there and gets the result.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "phantom_language"))

import answering
import by_finding
import llava
import numpy as np
import pairs
import splits
import steps
import torch
from pairs import Pair
from scales import MAIN, NOISES, SCALES, Scale
from splits import Example, Quota

REPORTS = "reports"
"""A split of images of which a report is asked and nothing else."""
ASKED: Mapping[str, int] = {"full": 320, "quick": 8}
"""How many, by scale."""
SPLIT_AS: Mapping[str, Callable[[list[Example], list[list[str]]], list[Pair]]] = {
    "whole": by_finding.whole,
    "findings": by_finding.by_finding,
}
"""How a wrong report becomes pairs."""


def _reports(scale: str) -> list[Example]:
    return list(splits.balanced(REPORTS, Quota({}, ASKED[scale])))


def answer(scale: str, folder: Path, target: Path, split: str, adapter: str) -> None:
    """Answers to a split by the base with an adapter on it."""
    steps.answer(SCALES[scale], folder, target, MAIN[0], split, adapter)


def reports(scale: str, folder: Path, target: Path) -> None:
    """The base's reports."""
    model, tokenizer = llava.load(folder / "bases" / MAIN[0], torch.bfloat16)
    asked = _reports(scale)
    answering.write(asked, answering.answers(model, answering.Prompt(tokenizer), asked), target / "answers.jsonl")


def make_pairs(scale: str, folder: Path, target: Path, number: str, answers: str) -> None:
    """Pairs of a round from a model's answers to the pool, made as the first round's are."""
    size: Scale = SCALES[scale]
    pool = steps.examples(size, "pool")
    random = np.random.default_rng(int(number))
    made = pairs.candidates(pool, answering.read(pool, Path(answers)), random)
    _write(pairs.pick(made, size.pairs, random), target)


def report_pairs(scale: str, folder: Path, target: Path, split_as: str, answers: str) -> None:
    """Pairs from the base's reports, whole or by finding."""
    asked = _reports(scale)
    made = SPLIT_AS[split_as](asked, answering.read(asked, Path(answers)))
    _write([made[place] for place in np.random.default_rng(0).permutation(len(made))], target)


def _write(picked: list[Pair], target: Path) -> None:
    if not picked:
        sys.exit("No answer is right, or none is wrong, that can be read: there is no pair.")
    pairs.write(picked, NOISES[MAIN[1]], target)


STEPS: Mapping[str, Callable[..., None]] = {
    "answer": answer,
    "reports": reports,
    "pairs": make_pairs,
    "report pairs": report_pairs,
}


def main(arguments: list[str]) -> None:
    """The command line."""
    scale, folder, target, step, *what = arguments
    STEPS[step](scale, Path(folder), Path(target), *what)


if __name__ == "__main__":
    main(sys.argv[1:])
