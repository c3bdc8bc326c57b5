"""IU-Xray chest X-ray reports, as Open-i ships them (an XML file a study) or in the layout of R2Gen (one JSON file)."""

import os
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from ..errors import UserError
from ..records import Record, RejectedError
from ..settings import config_key
from .common import Source
from .fields import image_path, own_id, plain
from .files import as_rows, read_json

REPORTS, PICTURES = "ecgen-radiology", "NLMCXR_png"
ANNOTATION, IMAGES = "annotation.json", "images"
QUESTION = "Write a radiology report of this chest X-ray study."

_SPLITS = ("train", "val", "test")
_SECTIONS = {
    "findings": ("FINDINGS",),
    "impression": ("IMPRESSION",),
    "findings+impression": ("FINDINGS", "IMPRESSION"),
}
_REMOVED_WORD = re.compile(r"\bX{4,}\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    folder: str = config_key(
        MISSING, f"folder of {REPORTS}/ and {PICTURES}/ (open_i), or of {ANNOTATION} and {IMAGES}/ (r2gen)"
    )
    layout: Literal["open_i", "r2gen"] = config_key("open_i", "open_i or r2gen")
    split: Literal["train", "val", "test", "all"] | None = config_key(
        None, "of r2gen: train (the default), val, test, all"
    )
    sections: Literal["findings", "impression", "findings+impression"] | None = config_key(
        None, "of open_i: findings (the default), impression or findings+impression"
    )
    views: Literal["first", "all"] = config_key("all", "first or all: which images of a study")
    deidentified: Literal["keep", "reject"] = config_key("keep", "reports with words replaced by XXXX: keep or reject")
    question: str = config_key(QUESTION, "the instruction to write a report")
    allow_outside: bool = config_key(False, "read images outside the image folder")

    def __post_init__(self) -> None:
        for name, value, layout in (("split", self.split, "r2gen"), ("sections", self.sections, "open_i")):
            if value is not None and self.layout != layout:
                raise UserError(f"{name} is for layout: {layout}; here layout is {self.layout}")


@dataclass(frozen=True)
class Study:
    """One study as its file describes it; nothing is checked yet."""

    report: Any
    images: Any
    folder: Path


def _rows(options: Options) -> Iterator[tuple[str, Path | Study]]:
    return (_open_i_rows if options.layout == "open_i" else _r2gen_rows)(options)


def _open_i_rows(options: Options) -> Iterator[tuple[str, Path]]:
    folder = Path(options.folder) / REPORTS
    files = sorted(folder.glob("*.xml"), key=lambda file: (len(file.stem), file.stem))
    if not files:
        hint = "; for its JSON file set layout: r2gen" if (Path(options.folder) / ANNOTATION).is_file() else ""
        raise UserError(f"{folder} holds no XML file; folder must be the one above {REPORTS} and {PICTURES}{hint}")
    for file in files:
        yield file.stem, file


def _r2gen_rows(options: Options) -> Iterator[tuple[str, Study]]:
    folder = Path(options.folder)
    splits = read_json(folder / ANNOTATION)
    if not isinstance(splits, dict) or not set(_SPLITS) & set(splits):
        raise UserError(f"{folder / ANNOTATION} must hold an object with the lists {', '.join(_SPLITS)}")
    wanted = options.split or "train"
    for split in _SPLITS if wanted == "all" else (wanted,):
        for number, row in enumerate(as_rows(splits.get(split), f"{folder / ANNOTATION}, {split}")):
            yield own_id(row, "id", number), Study(row.get("report"), row.get("image_path"), folder / IMAGES)


def _record(record_id: str, row: Path | Study, options: Options) -> Record:
    study = _read_xml(row, options) if isinstance(row, Path) else row
    truth = plain(study.report, "report")
    if options.deidentified == "reject" and _REMOVED_WORD.search(truth):
        raise RejectedError("report has words replaced by XXXX")
    return Record(
        id=record_id,
        images=_images(study, options),
        question=options.question,
        truth=truth,
        kind="report",
    )


def _read_xml(file: Path, options: Options) -> Study:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise RejectedError(f"report cannot be read: {file.name}: {error}") from error
    texts = {part.get("Label"): " ".join("".join(part.itertext()).split()) for part in root.iter("AbstractText")}
    wanted = _SECTIONS[options.sections or "findings"]
    missing = [label for label in wanted if not texts.get(label)]
    if missing:
        raise RejectedError(f"report has no section: {' and '.join(missing)}")
    names = [f"{part.get('id')}.png" for part in root.iter("parentImage")]
    return Study("\n".join(texts[label] for label in wanted), names, Path(options.folder) / PICTURES)


def _images(study: Study, options: Options) -> tuple[str, ...]:
    """Those of the study's images that are there.

    Raises:
        RejectedError: None is there, or a path leaves the folder.
    """
    if not isinstance(study.images, list) or not study.images:
        raise RejectedError(f"study names no image: {study.images!r:.80}")
    paths = [image_path(study.folder, name, allow_outside=options.allow_outside) for name in study.images]
    found = [str(path) for path in paths if os.path.isfile(path)]
    if not found:
        raise RejectedError(f"image not found: {', '.join(study.images)} in {study.folder}")
    return tuple(found[:1] if options.views == "first" else found)


IU_XRAY = Source("iu_xray", Options, _rows, _record)
