"""The pairs that are measured: real scans at exact sizes, real words in a fixed number, one or two phrases changed."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from llamafactory.data import get_dataset
from model import host_arguments, host_tokens
from PIL import Image
from presets import Checkpoint
from transformers import AutoTokenizer

from firempo_plugin.demo.scans import SCANS, load
from firempo_plugin.demo.tiny_model import SENTENCES

PHRASES = (
    ("left", "right"),
    ("lower lobe", "upper lobe"),
    ("liver", "spleen"),
    ("small nodule", "large cyst"),
    ("kidney", "bladder"),
    ("right frontal", "left temporal"),
)
QUESTIONS = (
    "What does the image show, and where is the abnormal finding in relation to the midline?",
    "Which organ is affected, and on which side of the image does the radiologist see it?",
    "Is there a lesion in the image, and how large is it compared with the surrounding tissue?",
    "How was the image taken, and which structure near its centre looks different from normal?",
)
LONGEST_WORD = 2
"""Tokens: the small tokeniser would cut the rarer words of the text into many more than a real one."""
NOISE_STD = 45.0
"""On the 0-255 scale."""


@dataclass(frozen=True)
class Shape:
    """What the rows of a step look like.

    Attributes:
        image_tokens: Tokens of every image, a square number.
        words: Words of every response.
        batch: Rows of a micro-batch.
        accumulation: Micro-batches.
    """

    image_tokens: int
    words: int
    batch: int
    accumulation: int

    @property
    def name(self) -> str:
        return f"{self.image_tokens} image tokens, {self.words} words"


@dataclass(frozen=True)
class Rows:
    """The micro-batches of a step, each row in the form that a trainer reads.

    Attributes:
        fire: As encoded for `stage: fire_mpo`.
        dpo: As encoded for `stage: dpo`.
        text: As written in the data set.
        image_tokens: Of every image.
    """

    fire: list[list[dict[str, Any]]]
    dpo: list[list[dict[str, Any]]]
    text: list[list[dict[str, Any]]]
    image_tokens: int


def make_rows(checkpoint: Checkpoint, shape: Shape, one_image: bool, folder: Path, kind: str = "png") -> Rows:
    """Writes rows and images into a folder, and encodes them as the host does.

    Args:
        checkpoint: Whose tokeniser and template encode them.
        shape: Their sizes.
        one_image: Whether all rows of a micro-batch are about one image, instead of one each.
        folder: An empty or missing folder.
        kind: Of the image files: "png" or "jpg".
    """
    folder.mkdir(parents=True)
    rows = shape.batch * shape.accumulation
    images = [number // shape.batch if one_image else number for number in range(rows)]
    side = math.isqrt(shape.image_tokens) * checkpoint.preset.pixels_per_token
    for image in set(images):
        write_image(image, side, folder, kind)
    words = source_words(AutoTokenizer.from_pretrained(checkpoint.folder))
    text = [row(number, image, responses(words, number, shape.words), kind) for number, image in enumerate(images)]
    (folder / "rows.json").write_text(json.dumps(text))
    columns = {name: name for name in ("chosen", "rejected", "images", "rejected_images")}
    columns["messages"] = "conversations"
    info = {"file_name": "rows.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": info}))
    parts = (encode(checkpoint, folder, "fire_mpo"), encode(checkpoint, folder, "rm"), text)
    return Rows(*(list(_cut(part, shape.batch)) for part in parts), shape.image_tokens)


def source_words(tokenizer: Any) -> list[str]:
    """The words of a running text that a real tokeniser would not cut up, in their order."""
    words = " ".join(SENTENCES.splitlines()).split()
    return [word for word in words if len(tokenizer(f" {word}")["input_ids"]) <= LONGEST_WORD]


def row(number: int, image: int, texts: tuple[str, str], kind: str) -> dict[str, Any]:
    """One row of the data set.

    Args:
        number: Of the row; picks its question.
        image: Number of its image.
        texts: The chosen and the rejected response.
        kind: Of the image files.
    """
    return {
        "conversations": [{"from": "human", "value": f"<image>{QUESTIONS[number % len(QUESTIONS)]}"}],
        "chosen": {"from": "gpt", "value": texts[0]},
        "rejected": {"from": "gpt", "value": texts[1]},
        "images": [f"{image}.{kind}"],
        "rejected_images": [f"{image}_noised.{kind}"],
    }


def responses(source: Sequence[str], number: int, words: int) -> tuple[str, str]:
    """Two responses that differ in one phrase at two thirds and, in odd rows, in another at one half.

    Args:
        source: Words to take, from a start that depends on the row.
        number: Of the row.
        words: Of each response, at least 6.
    """
    start = 37 * number
    sides = [[source[(start + place) % len(source)] for place in range(words)] for _ in range(2)]
    places = [2 * words // 3, words // 2][: 1 + number % 2]
    for which, place in enumerate(places):
        for side, text in zip(sides, PHRASES[(number + which) % len(PHRASES)], strict=True):
            side[place : place + len(text.split())] = text.split()
    return " ".join(sides[0]), " ".join(sides[1])


def write_image(number: int, side: int, folder: Path, kind: str = "png") -> None:
    """Writes a square scan and its twin with noise in a box; equal numbers and sides give equal files."""
    scan = Image.fromarray(load(SCANS[number % len(SCANS)])).resize((side, side), Image.Resampling.BICUBIC)
    turned = np.rot90(np.array(scan), number // len(SCANS))
    pixels = np.roll(turned, number // (4 * len(SCANS)), axis=1)
    box = (slice(side // 4, side // 2), slice(side // 3, 2 * side // 3))
    noise = np.random.default_rng(number).normal(0.0, NOISE_STD, pixels[box].shape)
    noised = pixels.copy()
    noised[box] = np.clip(pixels[box] + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.{kind}")
    Image.fromarray(noised).save(folder / f"{number}_noised.{kind}")


def encode(checkpoint: Checkpoint, folder: Path, stage: str) -> list[dict[str, Any]]:
    """The rows of a folder as the host encodes them for a stage."""
    arguments = host_arguments(checkpoint, dataset_dir=folder)
    tokens, template = host_tokens(arguments)
    with redirect_stdout(StringIO()):  # it shows an example
        found = get_dataset(template, arguments.model, arguments.data, arguments.training, stage=stage, **tokens)
    return list(found["train_dataset"])


def _cut(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
