"""Images with their questions: the corpora that the base model is taught with, and the balanced splits.

Every example is drawn from a generator of its own, named by split and number: the same name gives the same example.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from findings import NO_HABIT, USUAL, VALUES
from pictures import Picture, dilated, noised, picture
from sentences import REPORT, Asked, Question, ask, askable

KINDS = ("presence", "is_side", "side", "zone", "size", "seen")
WEIGHTS = (1.6, 1.2, 1.2, 1.0, 1.0, 1.0)
"""How often each kind is asked in a corpus."""
REPORTS = 0.3
"""Share of a corpus's images of which a report is asked too."""
DEFECTS, DEFECT_SIGMA, DEFECT_GROWN = 0.5, (40.0, 160.0), (1, 7)
"""Share of a corpus's images with noise somewhere beside the findings, its strength, and pixels that its mask grows:
a model that has never seen noise takes it for a finding."""
MOST_DRAWN = 20000
"""Images that are drawn at most to fill a split."""
FEW_LEFT = 40
"""Questions that a split still lacks, below which one question of an image is enough."""


@dataclass(frozen=True)
class Example:
    """An image with its questions.

    Attributes:
        name: Of split and number.
        picture: What is shown.
        questions: Asked of it.
    """

    name: str
    picture: Picture
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Quota:
    """Questions of a balanced split.

    Attributes:
        each: By kind: how many of every finding (of `seen`: of every side) where habit is right, and as many where it
            is wrong.
        reports: Images of which a report is asked.
    """

    each: dict[str, int]
    reports: int
    most: int = 6
    """Questions of an image beside the report."""


def generator(split: str, number: int) -> np.random.Generator:
    """The source of an example's chances."""
    return np.random.default_rng([7, zlib.crc32(split.encode()), number])


def taught(split: str, number: int, habit: float, questions: int) -> Example:
    """An example of a corpus: values and questions as habit has them, half of the images with a defect."""
    random = generator(split, number)
    drawn = _with_defect(picture(habit, random), random)
    asked = _choose(drawn, questions, habit, random)
    if random.random() < REPORTS:
        asked = [*asked[:-2], ask((REPORT, None, None), drawn.found, int(random.integers(2)))]
    return Example(f"{split}-{number}", drawn, tuple(asked))


def _with_defect(drawn: Picture, random: np.random.Generator) -> Picture:
    if random.random() >= DEFECTS:
        return drawn
    for _ in range(10):
        masks = picture(NO_HABIT, random).masks
        name = str(random.choice(sorted(masks)))
        place = dilated(masks[name], int(random.integers(*DEFECT_GROWN)))
        if not any((place & drawn.masks[finding]).any() for finding in drawn.found):
            return Picture(noised(drawn.pixels, place, random.uniform(*DEFECT_SIGMA), random), drawn.masks, drawn.found)
    return drawn


def _choose(drawn: Picture, count: int, habit: float, random: np.random.Generator) -> list[Question]:
    """Different questions, kinds by WEIGHTS; presence that habit does not expect as rarely as habit has it."""
    by_kind: dict[str, list[Asked]] = {}
    for asked in askable(drawn.found):
        by_kind.setdefault(asked[0], []).append(asked)
    shares = {kind: weight for kind, weight in zip(KINDS, WEIGHTS, strict=True) if kind in by_kind}
    chances = np.array(list(shares.values())) / sum(shares.values())
    chosen: dict[Asked, Question] = {}
    for _ in range(200):
        if len(chosen) == count:
            break
        kind = list(shares)[random.choice(len(shares), p=chances)]
        asked = by_kind[kind][random.integers(len(by_kind[kind]))]
        question = ask(asked, drawn.found, int(random.integers(2)))
        rare = kind == "presence" and not question.habit and random.random() > 2 * (1 - habit) / habit
        if not rare:
            chosen.setdefault(asked, question)
    return list(chosen.values())


def balanced(split: str, quota: Quota) -> Iterator[Example]:
    """The examples of a split in which habit is right as often as wrong, for every kind and finding.

    Raises:
        ValueError: MOST_DRAWN images do not hold that many questions.
    """
    left = _wanted(quota)
    reports = quota.reports
    for number in range(MOST_DRAWN):
        if not left.total() and not reports:
            return
        random = generator(split, number)
        drawn = picture(NO_HABIT, random)
        asked = askable(drawn.found)
        questions: list[Question] = []
        needed = 1 if reports or left.total() < FEW_LEFT else 2
        for place in random.permutation(len(asked)):
            question = ask(asked[place], drawn.found, int(random.integers(2)))
            if left[_cell(question)] > 0 and len(questions) < quota.most:
                questions.append(question)
                left[_cell(question)] -= 1
        if len(questions) < needed and not reports:
            left.update(map(_cell, questions))
            continue
        if reports:
            questions.append(ask((REPORT, None, None), drawn.found, int(random.integers(2))))
            reports -= 1
        yield Example(f"{split}-{number}", drawn, tuple(questions))
    raise ValueError(f"{split}: {left.total()} questions and {reports} reports are missing after {MOST_DRAWN} images")


def _wanted(quota: Quota) -> Counter[tuple[str, str, bool]]:
    cells: Counter[tuple[str, str, bool]] = Counter()
    for kind, count in quota.each.items():
        has = [name for name, usual in USUAL.items() if kind not in VALUES or kind in usual]
        for name in VALUES["side"] if kind == "seen" else has:
            cells |= {(kind, name, habit): count for habit in (True, False)}
    return cells


def _cell(question: Question) -> tuple[str, str, bool]:
    about = question.finding or question.asked
    assert about is not None
    return question.kind, about, question.habit


def write(examples: Sequence[Example], file: Path) -> None:
    """Writes the questions with their truths, a line each."""
    lines = [json.dumps(row) + "\n" for row in rows(examples)]
    file.write_text("".join(lines), encoding="utf-8")


def rows(examples: Sequence[Example]) -> Iterator[dict[str, object]]:
    """The questions as lines of a file; an id is the example's name and the question's place."""
    for example in examples:
        for place, question in enumerate(example.questions):
            yield question.row(f"{example.name}-{place}")
