"""Writes the phantom data: images, masks, records of four splits, and the set for supervised fine-tuning.

    python data.py FOLDER [--seed 0]

| split | nodules | for |
|---|---|---|
| train | as habit has it: mostly left, upper, small | supervised fine-tuning of the base model |
| pairs | as in train | preference pairs |
| validation | all values equally often | learning rates and every other choice |
| test | all values equally often | the figures that are shown |

Every split is made of images of its own. The same seed gives the same files. `evidence.jsonl` holds the test questions
that ask where the nodule is, and `masks_shuffled` the masks of the pairs' images, each given to another image.
"""

import argparse
import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from images import ATTRIBUTES, Mask, Nodule, Phantom, draw, patch, spoil
from PIL import Image
from questions import KINDS, REPORT, Question, ask


@dataclass(frozen=True)
class Split:
    """A part of the data.

    Attributes:
        images: How many; of a split without habit, so many that those with a nodule are a multiple of eight.
        usual: Probability of the usual value of each attribute of a nodule.
        present: Probability that there is a nodule.
        questions: How many kinds are asked of an image with a nodule; None: all.
        defects: Share of the images with a defect of the detector, away from the nodule: what is noise, and no nodule,
            is known to the model before preferences are trained, as to every model that has seen real images.
    """

    images: int
    usual: float
    present: float
    questions: int | None
    defects: float = 0.0


SPLITS = {
    "train": Split(3000, usual=0.93, present=0.9, questions=4, defects=0.5),
    "pairs": Split(400, usual=0.85, present=0.85, questions=3),
    "validation": Split(96, usual=0.5, present=0.75, questions=None),
    "test": Split(160, usual=0.5, present=0.75, questions=None),
}
REPORTS_IN_TRAIN = 0.25
"""Share of the images of `train` and `pairs` of which a report is asked too."""


@dataclass(frozen=True)
class Example:
    """An image with its questions."""

    stem: str
    phantom: Phantom
    questions: tuple[Question, ...]


def examples(name: str, seed: int) -> Iterator[Example]:
    """The examples of a split, each drawn from a generator of its own."""
    split = SPLITS[name]
    for number in range(split.images):
        random = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        nodule = _nodule(split, number, random)
        phantom = draw(nodule, random)
        if random.random() < split.defects:
            phantom = spoil(phantom, _beside(phantom, random), random)
        yield Example(f"{name}-{number:05}", phantom, _questions(split, nodule, random))


def _beside(phantom: Phantom, random: np.random.Generator) -> Mask:
    """A place for a defect that the nodule does not touch."""
    place = patch(random)
    while phantom.nodule is not None and (place & phantom.masks["nodule"]).any():
        place = patch(random)
    return place


def _nodule(split: Split, number: int, random: np.random.Generator) -> Nodule | None:
    if split.usual == 0.5:  # balanced by count, not by chance
        combinations = [Nodule(*values) for values in product(*ATTRIBUTES.values())]
        every = round(1 / (1 - split.present))
        return None if number % every == every - 1 else combinations[(number - number // every) % len(combinations)]
    if random.random() >= split.present:
        return None
    return Nodule(*(values[int(random.random() >= split.usual)] for values in ATTRIBUTES.values()))


def _questions(split: Split, nodule: Nodule | None, random: np.random.Generator) -> tuple[Question, ...]:
    if nodule is None:
        names = ["presence"]
    else:
        names = list(KINDS)
        if split.questions is not None:
            names = [str(name) for name in random.choice(names, split.questions, replace=False)]
        elif random.random() >= (1 - split.present) / split.present:
            names.remove("presence")  # so that yes and no are right equally often
    if split.questions is not None and random.random() < REPORTS_IN_TRAIN:
        names.append(REPORT)
    return tuple(ask(name, nodule, random) for name in names)


def write(folder: Path, seed: int) -> dict[str, int]:
    """Writes everything into a folder and returns the number of records of each split."""
    counts = {}
    for name in SPLITS:
        rows: list[dict[str, Any]] = []
        for example in examples(name, seed):
            _write_pictures(folder, example, masks=name != "train")
            rows += [_record(example, question) for question in example.questions]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        counts[name] = len(rows)
        if name == "train":
            _write_sft(folder, rows)
        if name == "pairs":
            _shuffle_masks(folder, sorted({Path(row["image"]).stem for row in rows}))
        if name == "test":
            where = [row for row in rows if row["asks"] == "where"]
            (folder / "evidence.jsonl").write_text("".join(json.dumps(row) + "\n" for row in where), encoding="utf-8")
    return counts


def _shuffle_masks(folder: Path, stems: list[str]) -> None:
    """Gives every image the masks of the next one that shows as much: a control, under `masks_shuffled`."""
    (folder / "masks_shuffled").mkdir(exist_ok=True)
    masks = {stem: sorted((folder / "masks").glob(f"{stem}_*.png")) for stem in stems}
    for count in {len(files) for files in masks.values()}:
        alike = [stem for stem, files in masks.items() if len(files) == count]
        for stem, other in zip(alike, alike[1:] + alike[:1], strict=True):
            for file in masks[other]:
                shutil.copyfile(file, folder / "masks_shuffled" / file.name.replace(other, stem))


def _write_pictures(folder: Path, example: Example, *, masks: bool) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(example.phantom.pixels).save(folder / "images" / f"{example.stem}.png")
    for name, mask in example.phantom.masks.items() if masks else ():
        file = folder / "masks" / f"{example.stem}_{name.replace(' ', '+')}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(file)


def _record(example: Example, question: Question) -> dict[str, Any]:
    nodule = example.phantom.nodule
    row = {
        "id": f"{example.stem}-{question.name}",
        "image": f"images/{example.stem}.png",
        "question": question.text,
        "answer": question.truth,
        "sentence": question.answer,
        "kind": "report" if question.name == REPORT else "vqa",
        "closed": "closed" if question.closed else "open",
        "asks": question.name,
        "usual": question.usual,
        **(asdict(nodule) if nodule else dict.fromkeys(ATTRIBUTES)),
    }
    if nodule is not None:
        rows, columns = np.nonzero(example.phantom.masks["nodule"])
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        row["boxes"] = [[int(edge) for edge in box]]  # x0, y0, x1, y1; the last two exclusive
    return row


def _write_sft(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The training split as LLaMA-Factory's sharegpt format."""
    chats = [
        {
            "conversations": [
                {"from": "human", "value": f"<image>{row['question']}"},
                {"from": "gpt", "value": row["sentence"]},
            ],
            "images": [row["image"]],
        }
        for row in rows
    ]
    (folder / "phantom_sft.json").write_text(json.dumps(chats), encoding="utf-8")
    entry = {
        "file_name": "phantom_sft.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "images"},
    }
    (folder / "dataset_info.json").write_text(json.dumps({"phantom_sft": entry}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the phantom data.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, count in write(arguments.folder, arguments.seed).items():
        print(f"{name}: {SPLITS[name].images} images, {count} questions")


if __name__ == "__main__":
    main()
