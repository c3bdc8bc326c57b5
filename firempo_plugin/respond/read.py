"""The step that reads a record's images."""

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..records import Record, RejectedError
from ..sources.settings import SourceConfig
from ..store.engine import Item, Step
from ..store.place import Place

PLACEHOLDERS = ("<image>", "<video>", "<audio>", "<mask>", "</mask>")


@lru_cache(maxsize=100_000)
def file_id(path: str) -> str:
    from ..images.pixels import content_id

    return content_id(path)


def known_id(path: str) -> str | None:
    """A file by its content; None where it cannot be read."""
    return file_id(path) if os.access(path, os.R_OK) and Path(path).is_file() else None


class ReadStep(Step):
    """Decodes a record's images, and writes those that the trainer cannot read as they are as 8-bit PNG."""

    name = "read"
    version = 1
    workers, at_once = 2, 8

    def __init__(self, config: SourceConfig, place: Place) -> None:
        self._window = tuple(config.window) if config.window else None
        self._max_pixels = config.max_pixels
        self._place = place
        self._read = lru_cache(10_000)(self._prepared)  # many records may show one image

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The files' content, and how they are read; the first placeholder in a text, which is not there as a rule."""
        return {
            "images": list(item.record.images),
            "content": [known_id(path) for path in item.record.images],
            "window": self._window,
            "max_pixels": self._max_pixels,
            **_placeholder(item.record),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where an image cannot be read, or the text holds a placeholder."""
        for what, mark in _placeholder(item.record).items():
            raise RejectedError(f"placeholder in the {what}: {mark}")
        read = [self._read(path, known_id(path)) for path in item.record.images]
        return {"images": [file for file, _ in read], "ids": [content for _, content in read]}

    def _prepared(self, path: str, known: str | None) -> tuple[str, str]:
        """An image's file as the trainer reads it, and the hash of what it shows."""
        from ..images.pixels import decode, pixel_id, png

        pixels = decode(path, self._window, self._max_pixels)  # type: ignore[arg-type]
        if is_plain(path):
            return path, known or file_id(path)
        content = pixel_id(pixels)
        file = self._place.path("images", "clean", f"{content[:32]}.png")
        self._place.put(file, png(pixels))
        return self._place.relative(file), content

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `images` and `image_ids`."""
        files = tuple(self._place.absolute(path) for path in data["images"])
        return replace(item, images=files, image_ids=tuple(data["ids"]))


def _placeholder(record: Record) -> dict[str, str]:
    """The first placeholder in a record's texts, by where it is; empty where there is none."""
    texts = {"question": record.question, "ground truth": record.truth}
    held = [(what, mark) for what, text in texts.items() for mark in PLACEHOLDERS if mark in text]
    return dict(held[:1])


def is_plain(path: str) -> bool:
    """Whether trainers and endpoints read the file as it is: an 8-bit PNG or JPEG in grey or red-green-blue.

    Other modes do not do: a trainer that scales an image before it converts it makes other pixels of a palette or of
    transparency than of their plain twin.
    """
    from PIL import Image

    try:
        with Image.open(path) as image, open(path, "rb") as file:
            deep = image.format == "PNG" and file.read(25)[24] > 8
            return image.format in ("PNG", "JPEG") and image.mode in ("L", "RGB") and not deep
    except OSError:
        return False
