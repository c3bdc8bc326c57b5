"""Images in pieces, so that what is computed on the way adds next to nothing to the memory of an image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..records import RejectedError

MAX_PIXELS = 2 * 89_478_485
"""More pixels than this are taken for a decompression bomb; PIL's own limit, which the trainer obeys too."""
BYTES_A_PIXEL = 12
"""Memory that reading an image takes: at most this, times the limit of pixels."""
MAX_SIDE = 2**20
"""No side has more pixels: a decoder holds a few bytes for each row, and takes no row of any length."""
TILE = 2**18
"""Pixels of a piece."""

Place = tuple[slice, slice]
"""Rows and columns."""


def tiles(height: int, width: int, most: int | None = None) -> Iterator[Place]:
    """Cuts an image into pieces of so many pixels at most, without a number TILE, in the order of its rows."""
    most = TILE if most is None else most
    rows = max(1, most // width)
    for top in range(0, height, rows):
        for left in range(0, width, most):
            yield slice(top, min(top + rows, height)), slice(left, min(left + most, width))


def cut(image: Any, place: Place) -> Any:
    """One piece of a PIL image."""
    rows, columns = place
    return image.crop((columns.start, rows.start, columns.stop, rows.stop))


def refuse_large(path: str | Path, size: tuple[int, int], max_pixels: int, cost: int = 0, what: str = "") -> None:
    """Refuses an image before it is decoded.

    Args:
        path: For the message.
        size: Width and height.
        max_pixels: The limit, for images that take BYTES_A_PIXEL.
        cost: Bytes that decoding takes for each pixel.
        what: Named as what takes more than BYTES_A_PIXEL.

    Raises:
        RejectedError: It has more pixels, takes more memory than so many pixels, or a side is longer than MAX_SIDE.
    """
    width, height = size
    if max(size) > MAX_SIDE:
        raise RejectedError(f"image is too large: {path}: {width} x {height} pixels; a side has {MAX_SIDE} at most")
    limit = max_pixels * BYTES_A_PIXEL // max(cost, BYTES_A_PIXEL)
    if width * height > limit:
        found = f"{width} x {height} pixels, limit {limit}" + (f" for {what}" if cost > BYTES_A_PIXEL else "")
        advice = f"raise source.max_pixels, to {MAX_PIXELS} at most" if max_pixels < MAX_PIXELS else "scale it down"
        raise RejectedError(f"image is too large: {path}: {found}; {advice}")
