"""SLAKE as its authors published it: questions in English and Chinese, and for each image a mask and boxes."""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..errors import UserError
from ..records import Record, Region, RejectedError
from ..settings import config_key
from .common import Source
from .fields import closed, image_file, image_path, is_wanted, own_id, plain
from .files import Row, read_json, read_json_rows

IMAGES = "imgs"
MASK = "mask.png"
BOXES = "detection.json"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    folder: str = config_key(MISSING, f"folder of train.json and {IMAGES}/")
    split: Literal["train", "validate", "test"] = config_key("train", "train, validate or test: which JSON file")
    language: Literal["en", "zh", "all"] = config_key("en", "en, zh or all")
    base_type: Literal["vqa", "kvqa", "all"] = config_key("all", "vqa, kvqa (needs outside knowledge) or all")
    mask_names: dict[str, list[Any]] = config_key(
        {}, f"what the values in {MASK} mean: name: [grey level or [red, green, blue], ...]"
    )
    allow_outside: bool = config_key(False, "read images outside the image folder")

    def __post_init__(self) -> None:
        for name, values in self.mask_names.items():
            if not values or not all(_is_value(value) for value in values):
                raise UserError(
                    f"mask_names.{name} must be a list of grey levels or of [red, green, blue], found {values!r}"
                )


def _is_value(value: Any) -> bool:
    levels = value if isinstance(value, list) and len(value) == 3 else [value]
    return all(type(level) is int and level >= 0 for level in levels)


def _rows(options: Options) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(read_json_rows(Path(options.folder) / f"{options.split}.json")):
        if is_wanted(row, "q_lang", options.language) and is_wanted(row, "base_type", options.base_type):
            yield own_id(row, "qid", number), row


def _record(record_id: str, row: Row, options: Options) -> Record:
    language = plain(row.get("q_lang"), "q_lang")
    if language not in ("en", "zh"):
        raise RejectedError(f"language is neither en nor zh: {language}")
    plain(row.get("base_type"), "base_type")
    root, image = Path(options.folder) / IMAGES, row.get("img_name")
    return Record(
        id=record_id,
        images=(image_file(root, image, allow_outside=options.allow_outside),),
        question=plain(row.get("question"), "question"),
        truth=plain(row.get("answer"), "answer"),
        language=language,
        closed=closed(row.get("answer_type")),
        regions=(*_boxes(root, str(image), options), *_masks(root, str(image), options)),
    )


def _boxes(root: Path, image: str, options: Options) -> Iterator[Region]:
    """The boxes beside an image: a list of {name: [x, y, width, height]}."""
    file = _beside(root, image, BOXES, options)
    if not file.is_file():
        return
    try:
        entries = read_json(file)
    except ValueError as error:
        raise RejectedError(f"boxes cannot be read: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RejectedError(f"boxes cannot be read: {file} must hold a list of {{name: [x, y, width, height]}}")
    for name, box in (pair for entry in entries for pair in entry.items()):
        if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(edge) for edge in box):
            raise RejectedError(f"box is not [x, y, width, height]: {name} of {file}: {box!r:.80}")
        x, y, width, height = (float(edge) for edge in box)
        yield Region(name, box=(x, y, x + width, y + height))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _masks(root: Path, image: str, options: Options) -> Iterator[Region]:
    """The mask beside an image, once for every name that the options give a meaning to."""
    file = _beside(root, image, MASK, options)
    if not file.is_file():
        return
    for name, values in options.mask_names.items():
        triples = (tuple(value) if isinstance(value, list) else (value,) for value in values)
        yield Region(name, mask=str(file), values=tuple(triples))


def _beside(root: Path, image: str, name: str, options: Options) -> Path:
    return image_path(root, str(PurePosixPath(image).with_name(name)), allow_outside=options.allow_outside)


SLAKE = Source("slake", Options, _rows, _record)
