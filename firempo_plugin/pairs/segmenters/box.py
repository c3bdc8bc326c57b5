"""Boxes: those that the record brings, and those of a COCO annotation file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ...errors import UserError
from ...images.masks import NOTHING, Box, Found, box_mask, corners, is_box, joined
from ...images.pixels import Pixels, content_id, inside
from ...records import Region, RejectedError
from ...settings import config_key
from .regions import matching
from .segmenter import Segmenter

_ANNOTATION = ("image_id", "category_id", "bbox")


@dataclass(frozen=True)
class CocoImage:
    """An image of a COCO file: its size as annotated, and its boxes with the names of their categories."""

    shape: tuple[int, int]
    names: tuple[str, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class BoxSegmenter(Segmenter):
    """Looks for the phrase among the names of boxes; every pixel that a box touches is inside."""

    name: ClassVar[str] = "box"
    cached: ClassVar[bool] = False

    coco: str = config_key("", "annotation file in COCO's format; none: only the boxes of the record")
    folder: str = config_key("", "folder that the file's file_names are relative to")

    def __post_init__(self) -> None:
        """Raises ValueError where an option is missing or points nowhere."""
        if bool(self.coco) != bool(self.folder):
            raise UserError("coco and folder belong together; write both or neither")
        if self.coco and not Path(self.coco).is_file():
            raise UserError(f"coco: {self.coco} does not exist; write the path of the annotation file")
        if self.coco and not any(path.is_file() for path in self._annotated):
            raise UserError(f"folder: {self.folder} has none of the images that {self.coco} names")

    def settings(self) -> dict[str, Any]:
        """The annotation file, by content, and its folder."""
        return {"coco": self._content, "folder": self.folder}

    def segment(self, image_path: str, image: Pixels, phrase: str, regions: tuple[Region, ...] = ()) -> Found:
        """Joins all boxes whose name fits the phrase, by the rules of `regions.matching`."""
        shape = (image.shape[0], image.shape[1])
        boxes = [(region.name, region.box) for region in regions if region.box is not None]
        annotated = self._annotated.get(Path(image_path).resolve())
        if annotated:
            if annotated.shape != shape:
                raise RejectedError(
                    f"boxes are for another size of the image: {image_path}: {annotated.shape}, not {shape}"
                )
            boxes += zip(annotated.names, annotated.boxes, strict=True)
        chosen = [boxes[index][1] for index in matching(phrase, [name for name, _ in boxes])]
        if not chosen:
            return NOTHING
        return joined([box_mask([box], shape) for box in chosen], [1.0] * len(chosen), chosen)

    @cached_property
    def _content(self) -> str:
        return content_id(self.coco) if self.coco else ""

    @cached_property
    def _annotated(self) -> dict[Path, CocoImage]:
        if not self.coco:
            return {}
        try:
            content = json.loads(Path(self.coco).read_bytes())
            return _read_coco(content, Path(self.folder))
        except KeyError as error:
            raise UserError(f"{self.coco}: the key {error} is missing; COCO's format is expected") from error
        except (OSError, TypeError, ValueError) as error:
            raise UserError(f"{self.coco}: not in COCO's format: {error}") from error


def _read_coco(content: Mapping[str, Any], folder: Path) -> dict[Path, CocoImage]:
    categories = {category["id"]: category["name"] for category in content["categories"]}
    boxes: dict[int, list[tuple[str, Box]]] = {image["id"]: [] for image in content["images"]}
    for number, annotation in enumerate(content["annotations"]):
        where, image, category, box = f"annotation {number}", *(annotation[key] for key in _ANNOTATION)
        if image not in boxes:
            raise UserError(f"{where}: no image has the id {image!r}; add it to images, or leave the annotation out")
        if category not in categories:
            raise UserError(f"{where}: no category has the id {category!r}; add it to categories")
        if not is_box(box):
            raise UserError(f"{where}: bbox must be [x, y, width, height], found {box!r:.80}")
        boxes[image].append((categories[category], corners(box)))
    return {
        inside(folder, image["file_name"]): CocoImage(
            (image["height"], image["width"]),
            tuple(name for name, _ in boxes[image["id"]]),
            tuple(box for _, box in boxes[image["id"]]),
        )
        for image in content["images"]
    }
