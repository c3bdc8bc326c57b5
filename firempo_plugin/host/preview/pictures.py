"""Small pictures of a row's images, and of what differs between a clean image and its noised twin."""

import os
from dataclasses import dataclass
from functools import lru_cache, reduce

import cv2
import numpy as np

from ...images import pixels as images
from ...pages.thumbnails import data_uri, shrink

SIDE = 384
"""Pixels of the longer side."""
KEPT = 512
"""Pictures that stay in memory, of some 20 kB each."""
OPEN = 6
"""Decoded images that stay in memory: a row asks for its clean and its noised one twice."""


@dataclass(frozen=True)
class Picture:
    """An image made small.

    Attributes:
        uri: A data URI; "" where it cannot be shown.
        problem: Why not; "" where it can.
        changed: Of a difference, the share of pixels that are not equal.
    """

    uri: str
    problem: str = ""
    changed: float | None = None


def thumbnail(path: str, side: int = SIDE) -> Picture:
    """A picture of an image file whose longer side has `side` pixels at most."""
    return _thumbnail(path, _time(path), side)


def difference(clean: str, noised: str, side: int = SIDE) -> Picture:
    """The absolute difference of two image files, pixel by pixel, in grey; the largest change is white."""
    return _difference(clean, _time(clean), noised, _time(noised), side)


def _time(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


@lru_cache(OPEN)
def _decoded(path: str, _: int) -> images.Pixels:
    return images.decode(path)


@lru_cache(KEPT)
def _thumbnail(path: str, time: int, side: int) -> Picture:
    try:
        return Picture(data_uri(shrink(_decoded(path, time), side)))
    except ValueError as error:
        return Picture("", str(error))


@lru_cache(KEPT)
def _difference(clean: str, clean_time: int, noised: str, noised_time: int, side: int) -> Picture:
    try:
        one, other = _decoded(clean, clean_time), _decoded(noised, noised_time)
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
    return Picture(data_uri(scaled), changed=float(np.count_nonzero(grey)) / grey.size)
