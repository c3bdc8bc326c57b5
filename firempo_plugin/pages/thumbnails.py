"""Small pictures and mask outlines for the pages on which people look at pairs."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images import deep
from ..images import pixels as images
from ..images.dicom import MissingReaderError
from ..records import RejectedError
from .viewer import Folder

QUALITY = 60
OUTLINE_STEP = 400
"""An outline may be off by the image's longer side divided by this."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image, and where the image itself is.

    Attributes:
        uri: A WebP data URI.
        full: The address of the picture in full resolution.
        size: Width and height of the image.
        deep: Of a file of more than 8 bits, JSON of where its values are and what they mean; "" of others.
    """

    uri: str
    full: str
    size: tuple[int, int]
    deep: str

    @property
    def attributes(self) -> dict[str, str | int]:
        """What the viewer reads from an img element, by the name of its data attribute."""
        deep = {"deep": self.deep} if self.deep else {}
        return {"full": self.full, "width": self.size[0], "height": self.size[1], **deep}


def thumbnail(file: str, side: int, folder: Folder, source: str | None = None) -> Thumbnail:
    """A picture whose longer side has `side` pixels at most; the image itself goes to the folder.

    Args:
        file: The image.
        side: In pixels.
        folder: For the image in full resolution.
        source: The file that it was made of, where that may have more bits; None: the file itself.

    Raises:
        RejectedError: The image cannot be read.
    """
    return thumbnail_of(images.decode(file), side, folder, source or file)


def thumbnail_of(pixels: images.Pixels, side: int, folder: Folder, source: str) -> Thumbnail:
    """The same of an image that is read."""
    height, width = pixels.shape[:2]
    values = _deep(source, folder, (height, width))
    return Thumbnail(data_uri(shrink(pixels, side)), folder.add(pixels), (width, height), values)


def _deep(source: str, folder: Folder, size: tuple[int, int]) -> str:
    """See `Thumbnail.deep`; a source that is gone, or is of another size, is none."""
    try:
        found = deep.read(source)
    except (RejectedError, MissingReaderError, OSError):
        return ""
    if found is None or found.stored.shape != size:
        return ""
    about = {name: value for name, value in vars(found).items() if name != "stored"}
    return json.dumps({"full": folder.add(deep.as_colours(found.stored)), **about})


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
    """A mask's edge; see `outline_of`.

    Raises:
        RejectedError: The mask cannot be read.
    """
    pixels = images.decode(mask_file)
    return outline_of((pixels if pixels.ndim == 2 else pixels.max(axis=-1)).astype(bool))


def outline_of(inside: NDArray[np.bool_]) -> tuple[str, str]:
    """The edge of a mask [height, width].

    Returns:
        An SVG path and the viewBox that it is drawn in, in pixels of the mask.
    """
    height, width = inside.shape
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(height, width) / OUTLINE_STEP
    pieces = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0]
        pieces.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(pieces), f"0 0 {width} {height}"
