"""Small pictures of a row's images, and of what differs between a clean image and its noised twin."""

import os
from dataclasses import dataclass, field
from functools import lru_cache, reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from ...images import pixels as images
from ...pages.thumbnails import data_uri, outline_of, shrink, thumbnail_of
from ...pages.viewer import Folder

SIDE = 384
"""Pixels of the longer side."""
KEPT = 512
"""Pictures that stay in memory, of some 20 kB each."""
MOST_GAP = 9
"""Pixels that may stay equal in a row within what counts as changed."""
OPEN = 6
"""Decoded images that stay in memory: a row asks for its clean and its noised one twice."""


@dataclass(frozen=True)
class Picture:
    """An image made small.

    Attributes:
        uri: A data URI; "" where it cannot be shown.
        problem: Why not; "" where it can.
        attributes: What the page reads of an image, by the name of its data attribute; of a difference, its size alone.
        changed: Of a difference, the share of pixels that are not equal.
        outline: Of a difference, the edge of where it is: an SVG path and its viewBox.
    """

    uri: str
    problem: str = ""
    attributes: dict[str, str | int] = field(default_factory=dict)
    changed: float | None = None
    outline: tuple[str, str] = ("", "")


def picture(clean: str, noised: str | None = None, *, folder: Folder, side: int = SIDE) -> Picture:
    """A picture of an image file, or of what differs between a clean one and its noised twin.

    A difference is the absolute one, pixel by pixel, in grey; the largest change is white.

    Args:
        clean, noised: The files; None: the one file.
        folder: Where an image in full resolution goes.
        side: Most pixels of the longer side.
    """
    return _picture(clean, _time(clean), noised, _time(noised or ""), folder, side)


def _time(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


@lru_cache(OPEN)
def _decoded(path: str, _: int) -> images.Pixels:
    return images.decode(path)


@lru_cache(KEPT)
def _picture(clean: str, clean_time: int, noised: str | None, noised_time: int, folder: Folder, side: int) -> Picture:
    try:
        one = _decoded(clean, clean_time)
        if noised is None:
            small = thumbnail_of(one, side, folder, clean)
            return Picture(small.uri, attributes=small.attributes)
        other = _decoded(noised, noised_time)
    except ValueError as error:
        return Picture("", str(error))
    if one.shape[:2] != other.shape[:2]:
        sizes = (f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (one, other))
        return Picture("", f"the sizes differ: {' and '.join(sizes)}")
    if one.ndim != other.ndim:
        one, other = (pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1) for pixels in (one, other))
    grey = reduce(cv2.max, cv2.split(cv2.absdiff(one, other)))
    shown = shrink(grey, side)
    scaled = cv2.convertScaleAbs(shown, alpha=255 / max(1, int(shown.max())))
    return Picture(
        data_uri(scaled),
        attributes={"width": grey.shape[1], "height": grey.shape[0]},
        changed=float(np.count_nonzero(grey)) / grey.size,
        outline=_around(grey > 0),
    )


def _around(changed: NDArray[np.bool_]) -> tuple[str, str]:
    """The outline of changed pixels [height, width]; between those of a noise lie some that happened to stay equal."""
    gap = max(MOST_GAP, max(changed.shape) // 50)
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8))
    return outline_of(closed.astype(bool))
