"""Masks: reading them, drawing boxes, joining detections, and keeping them on disk.

A mask is a boolean array of the image's height and width, true inside the region.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..files import file_digest, write_bytes
from ..records import RejectedError, Segmentation
from .pixels import FORMATS, has_more_frames, png, refuse_bomb, refuse_to_blame
from .tiles import cut, tiles

Mask = NDArray[np.bool_]
"""[H, W], true inside."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels; x1 and y1 exclusive."""

HALF = 128
"""The level that separates the two sides of a mask that went through JPEG compression."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a segmenter found of a target on one image.

    Attributes:
        mask: The union of all detections, [H, W]; None: nothing was found.
        boxes: Around each detection.
        scores: Of each detection, in [0, 1].
    """

    mask: Mask | None
    boxes: tuple[Box, ...]
    scores: tuple[float, ...]


NOTHING = Found(None, (), ())


def read_mask(
    source: str | Path | BinaryIO, shape: tuple[int, int], values: Sequence[tuple[int, ...]] = (), name: str = ""
) -> Mask:
    """Reads a region from a mask image, a label map or a colour map; alpha channels are left out.

    Args:
        source: An image file, or its content; that decides the format, not the file's name.
        shape: Height and width of the image that the mask belongs to.
        values: Grey levels `(level,)`, or `(red, green, blue)`, that mean the region; a level in a palette image is
            an index into the palette. Empty: every pixel that is not black.
        name: What errors call it; "": the source.

    Returns:
        [H, W].

    Raises:
        RejectedError: The file is missing, broken, of another size, of several frames or a bomb, or has levels that
            JPEG compression blurred.
        UserError: A value is neither one level nor three.
    """
    name = name or str(source)
    wrong = [value for value in values if len(value) not in (1, 3)]
    if wrong:
        raise UserError(f"{name}: a mask value is one grey level or red, green, blue; found {wrong[0]}")
    try:
        with Image.open(source, formats=FORMATS) as file:
            lossy, size = file.format == "JPEG", (file.height, file.width)
            if size == shape:
                refuse_bomb(name, file)
            several = size == shape and has_more_frames(file)  # which decodes the first
            mask = _region(file, values) if size == shape and not several and not (lossy and values) else None
    except UnidentifiedImageError as error:
        raise RejectedError(f"mask cannot be read: {name}: it is none of {', '.join(FORMATS)}") from error
    except RejectedError:
        raise
    except Exception as error:  # decoders raise anything at all over damaged bytes
        refuse_to_blame(error)
        raise RejectedError(f"mask cannot be read: {name}: {error or type(error).__name__}") from error
    if size != shape:
        raise RejectedError(f"mask has another size than its image: {name}: {_by(size)}, the image {_by(shape)}")
    if several:
        raise RejectedError(f"mask has several frames: {name}: one is needed")
    if lossy and values:
        raise RejectedError(f"mask is compressed as JPEG, which changes label values: {name}: save it as PNG")
    assert mask is not None
    return mask


def _region(file: Image.Image, values: Sequence[tuple[int, ...]]) -> Mask:
    """Where an open file shows one of the values, or without any what is not black."""
    file.load()
    lossy = file.format == "JPEG"
    mask = np.empty((file.height, file.width), dtype=np.bool_)
    for place in tiles(*mask.shape):
        planes = _planes(cut(file, place))
        if values:
            mask[place] = union([_shows(planes[len(value)], value) for value in values])
        else:
            mask[place] = union([plane >= HALF if lossy else plane != 0 for plane in np.moveaxis(planes[3], -1, 0)])
    return mask


def _shows(levels: NDArray[Any], value: tuple[int, ...]) -> Mask:
    """Where [H, W, 1 or 3] is one level in every channel, or one of each; channel by channel, ten times as fast."""
    channels = levels.shape[-1]
    found = [levels[..., each % channels] == value[each % len(value)] for each in range(max(channels, len(value)))]
    shown: Mask = np.logical_and.reduce(found)
    return shown


def _planes(file: Image.Image) -> dict[int, NDArray[Any]]:
    """The pixels to compare with values of one and of three numbers, each [H, W, 1 or 3]."""
    if file.mode == "P":
        return {1: np.asarray(file)[..., None], 3: np.asarray(file.convert("RGB"))}
    single = file.mode in ("L", "F", "I") or file.mode.startswith("I;16")
    levels = np.asarray(file if single else file.convert("L" if file.mode in ("1", "LA", "La") else "RGB"))
    levels = levels[..., None] if levels.ndim == 2 else levels
    return {1: levels, 3: levels}


def union(masks: Sequence[Mask]) -> Mask:
    """The pixels that lie in any of the masks, [H, W]; there must be one mask at least."""
    joined: Mask = np.logical_or.reduce(masks)
    return joined


def box_mask(boxes: Sequence[Box], shape: tuple[int, int]) -> Mask:
    """Every pixel that a box touches, [H, W].

    Raises:
        RejectedError: A box has no area inside the image.
    """
    height, width = shape
    mask = np.zeros(shape, dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if not (left < right and top < bottom):
            raise RejectedError(f"box covers nothing of the image: {(x0, y0, x1, y1)} in {_by(shape)} pixels")
        mask[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = True
    return mask


def is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold; `math.isfinite` fails for larger whole numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_box(box: object) -> bool:
    """Whether a value is four such numbers."""
    return isinstance(box, list | tuple) and len(box) == 4 and all(map(is_number, box))


def corners(box: Sequence[float]) -> Box:
    """x0, y0, x1, y1 of a COCO box, which is x, y, width, height."""
    x, y, width, height = box
    return (x, y, x + width, y + height)


def box_around(mask: Mask) -> Box:
    """The smallest box that holds the mask."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return corners((x, y, width, height))


def joined(masks: Iterable[Mask], scores: Sequence[float], boxes: Sequence[Box]) -> Found:
    """Joins detections, one mask, score and box each, of which no two masks are held; empty masks are no detections."""
    whole: Mask | None = None
    kept = []
    for index, mask in enumerate(masks):
        if mask.any():
            kept.append(index)
            whole = mask if whole is None else whole | mask
    if whole is None:
        return NOTHING
    return Found(whole, tuple(boxes[index] for index in kept), tuple(scores[index] for index in kept))


class MaskCache:
    """Masks on disk, by what they show of which image.

    A mask is a PNG named by its own content, so it is never overwritten by another one. An entry is a JSON file that
    names its mask and the mask's checksum. Both are written beside their place and then renamed, the mask first, and
    an entry whose mask is missing or damaged counts as absent: what is half-written is never served.
    """

    def __init__(self, folder: Path, write: Callable[[Path, Iterable[bytes]], None] = write_bytes) -> None:
        """Uses a folder, which is made when the first mask is kept; `write` puts a file there."""
        self._write = write
        self._masks = folder / "masks"
        self._entries = folder / "entries"

    @staticmethod
    def key(pixels: str, phrase: str, segmenter: str, settings: Mapping[str, Any]) -> str:
        """Names an entry by the image's content (`images.pixel_id`), the target, and who looks for it and how."""
        return hashlib.sha256(json.dumps([pixels, phrase, segmenter, settings], sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Segmentation | None:
        """The entry of that key; None where there is none that is whole."""
        try:
            entry = json.loads((self._entries / f"{key}.json").read_bytes())
            mask = None if entry["mask"] is None else self._masks / Path(entry["mask"]).name
            if mask is not None and (not mask.is_file() or file_digest(mask) != entry["checksum"]):
                return None
            boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in entry["boxes"])
            return Segmentation(str(mask) if mask else None, boxes, tuple(entry["scores"]), entry["segmenter"])
        except (OSError, LookupError, TypeError, ValueError, RecursionError):  # not there, or changed since
            return None

    def put(self, key: str, found: Found, segmenter: str) -> Segmentation:
        """Keeps what was found, under a key."""
        kept, checksum = self._kept(found, segmenter)
        entry = {
            "mask": Path(kept.mask).name if kept.mask else None,
            "checksum": checksum,
            "boxes": kept.boxes,
            "scores": kept.scores,
            "segmenter": segmenter,
        }
        self._write(self._entries / f"{key}.json", [json.dumps(entry).encode()])
        return kept

    def keep(self, found: Found, segmenter: str) -> Segmentation:
        """Writes the mask alone, without an entry that finds it again."""
        return self._kept(found, segmenter)[0]

    def _kept(self, found: Found, segmenter: str) -> tuple[Segmentation, str | None]:
        """Writes the mask; with the checksum of its file."""
        if found.mask is None:
            return Segmentation(None, found.boxes, found.scores, segmenter), None
        content = np.packbits(found.mask).tobytes() + repr(found.mask.shape).encode()
        path = self._masks / f"{hashlib.sha256(content).hexdigest()}.png"
        file = b"".join(png(np.where(found.mask, np.uint8(255), np.uint8(0))))
        self._write(path, [file])
        return Segmentation(str(path), found.boxes, found.scores, segmenter), hashlib.sha256(file).hexdigest()


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"
