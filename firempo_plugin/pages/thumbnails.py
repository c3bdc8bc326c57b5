"""Small pictures and mask outlines for the pages on which people look at pairs."""

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images import pixels as images

QUALITY = 60
OUTLINE_STEP = 400
"""An outline may be off by the image's longer side divided by this."""


def thumbnail(file: str, side: int) -> str:
    """A picture whose longer side has `side` pixels at most, as a WebP data URI.

    Raises:
        RejectedError: The image cannot be read.
    """
    return data_uri(shrink(images.decode(file), side))


def shrink(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """The image with `side` pixels at most on its longer side, [height, width] or [height, width, 3] as given."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller: NDArray[Any] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


def data_uri(pixels: NDArray[Any]) -> str:
    """A WebP data URI of an 8-bit image, [height, width] in grey or [height, width, 3] in red-green-blue."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def outline(mask_file: str) -> tuple[str, str]:
    """A mask's edge.

    Returns:
        An SVG path and the viewBox that it is drawn in, in pixels of the mask.

    Raises:
        RejectedError: The mask cannot be read.
    """
    pixels = images.decode(mask_file)
    inside = (pixels if pixels.ndim == 2 else pixels.max(axis=-1)).astype(bool)
    height, width = inside.shape
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(height, width) / OUTLINE_STEP
    pieces = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0]
        pieces.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(pieces), f"0 0 {width} {height}"
