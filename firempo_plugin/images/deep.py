"""Grey images of more than 8 bits with all their values, for people who look at them through a window of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import dicom, pixels
from .tiles import Place, tiles

MOST = 2**16 - 1


@dataclass(frozen=True)
class Deep:
    """The values of an image.

    Attributes:
        stored: [height, width]; a number n means the value `low + step * n`.
        low, step: Of the file's values, whole numbers as they are where they fit.
        high: The largest value.
        window: Values that are black and white in the 8-bit image that `pixels.decode` makes without a window.
        negative: Whether it shows the lowest value as white.
    """

    stored: NDArray[np.uint16]
    low: float
    high: float
    step: float
    window: tuple[float, float]
    negative: bool


def read(path: str | Path) -> Deep | None:
    """The values of a file that `pixels.decode` reads; None where it is not grey, or has 8 bits as it is.

    Raises:
        RejectedError, MissingReaderError: As `pixels.decode`.
    """
    path = Path(path)
    if dicom.is_one(path):
        found = dicom.values(path)
        return None if found is None else _deep(*found)
    with Image.open(path, formats=pixels.FORMATS) as image:
        if not pixels.is_deep(image):
            return None
        image.load()
        shape = (image.height, image.width)
        return _deep(shape, pixels.values_of(image), None, pixels.is_negative(image))


def _deep(
    shape: tuple[int, int],
    values: Callable[[Place], NDArray[np.float64]],
    window: tuple[float, float] | None,
    negative: bool,
) -> Deep:
    low, high = dicom.extremes(shape, values)
    whole = high - low <= MOST and all(_is_whole(values(place)) for place in tiles(*shape))
    step = 1.0 if whole else (high - low) / MOST
    stored = np.empty(shape, np.uint16)
    for place in tiles(*shape):
        stored[place] = np.rint((values(place) - low) / step)
    return Deep(stored, low, high, step, window or (low, high), negative)


def _is_whole(values: NDArray[np.float64]) -> bool:
    return bool((values == np.rint(values)).all())


def as_colours(stored: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """A picture [height, width, 3] for viewers of 8 bits: the upper eight bits in red, the lower in green."""
    upper, lower = (stored >> 8).astype(np.uint8), (stored & 255).astype(np.uint8)
    picture: NDArray[Any] = np.stack([upper, lower, np.zeros_like(lower)], axis=-1)
    return picture
