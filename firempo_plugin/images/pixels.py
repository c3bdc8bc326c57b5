"""Images as the trainer sees them: decoded to 8 bits, told apart by content, written without loss.

LLaMA-Factory opens an image with PIL and converts it to RGB: transparency is dropped, and an orientation tag applied
only where PIL does so itself (TIFF). Whatever is read here, converted to RGB, is bit-identical to that. Only images
deeper than 8 bits, which PIL would clip, and DICOM files, which it cannot open, are brought to 8 bits first.
"""

import errno
import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import UserError
from ..files import file_digest, write_bytes
from ..records import RejectedError
from . import dicom
from .tiles import MAX_PIXELS, TILE, Place, cut, refuse_large, tiles

Pixels = NDArray[np.uint8]
"""An image, 0-255: [height, width] in grey or [height, width, 3] in red-green-blue."""
Window = tuple[float, float]
"""The values, of an image deeper than 8 bits, that become black and white."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_PNG_UP = 2
# Their decoders take more than BYTES_A_PIXEL: the canvases of an animation; 32 bits for every sample.
_COSTLY = {"WEBP": 24, "JPEG2000": 24}
_OF_THE_MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO)


def decode(path: str | Path, window: Window | None = None, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes one image completely.

    Args:
        path: A file of one of FORMATS, or DICOM (by content or by the suffix .dcm).
        window: Values that become black and white, for grey images of more than 8 bits and grey DICOM images.
            None takes a DICOM file's own window, else the smallest and the largest value.
        max_pixels: Refuse more pixels than this; MAX_PIXELS at most. Formats that take more memory may have fewer.

    Returns:
        [height, width] where the file is grey, else [height, width, 3].

    Raises:
        RejectedError: The file is missing, unreadable, empty, truncated, too large, holds several frames, or is of no
            format read here.
        UserError: The window is empty, or a DICOM file is met without pydicom.
    """
    path = Path(path)
    if window is not None and not (len(window) == 2 and window[0] < window[1]):
        raise UserError(f"a window is two values, black below white, found {window}")
    head = _head(path)
    try:
        if head[128:] == dicom.MAGIC:
            return dicom.read(path, window, max_pixels)
        return _read(path, window, max_pixels)
    except (RejectedError, dicom.MissingReaderError):
        raise
    except Image.DecompressionBombError as error:
        raise RejectedError(f"image is too large: {path}: {error}") from error
    except UnidentifiedImageError as error:
        raise RejectedError(f"image format is not known: {path}: expected {', '.join(FORMATS)} or DICOM") from error
    except Exception as error:  # decoders raise anything at all over damaged bytes
        refuse_to_blame(error)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RejectedError(f"image cannot be decoded: {path}: {reason}") from error


def refuse_to_blame(error: Exception) -> None:
    """Raises an error again that says nothing of the file: no memory, too many open files, a disk that fails."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE):
        raise error


def content_id(path: str | Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        RejectedError: The file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise RejectedError(f"image cannot be read: {path}: {error.strerror}") from error


def pixel_id(array: Pixels) -> str:
    """SHA-256 of an image's size and pixels; the same for a grey image and its copy in equal red, green and blue."""
    grey = _without_equal_channels(array)
    digest = hashlib.sha256(repr(grey.shape).encode())
    digest.update(np.ascontiguousarray(grey).data)
    return digest.hexdigest()


def write_png(array: Pixels, path: Path) -> None:
    """Writes a PNG file that decodes to exactly these pixels; another process sees the whole file or none.

    Raises:
        ValueError: The array is no such image.
        OSError: The file cannot be written.
    """
    write_bytes(path, png(array))


def png(array: Pixels) -> Iterator[bytes]:
    """A PNG file that decodes to exactly these pixels, part by part.

    Raises:
        ValueError: The array is no such image.
    """
    if array.dtype != np.uint8 or array.size == 0 or array.shape[2:] not in ((), (3,)) or array.ndim < 2:
        raise ValueError(f"no 8-bit image in grey or red-green-blue: {array.dtype} of shape {array.shape}")
    return _png(array)


def _png(array: Pixels) -> Iterator[bytes]:
    """A PNG file, some rows at a time.

    One filter for all rows, the difference to the row above, and run lengths alone: a noised image is as small as
    with the slower settings.
    """
    height, width, *colours = array.shape
    yield b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2 if colours else 0, 0, 0, 0)
    )
    packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    above = np.zeros_like(array[:1]).reshape(1, -1)
    step = max(1, TILE // width)
    for top in range(0, height, step):
        rows = array[top : top + step].reshape(-1, above.size)
        lines = np.full((len(rows), 1 + above.size), _PNG_UP, dtype=np.uint8)
        np.subtract(rows[:1], above, out=lines[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
        yield _chunk(b"IDAT", packer.compress(lines.data))
        above = rows[-1:]
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def inside(root: Path, relative: str, *, allow_outside: bool = False) -> Path:
    """Joins a path from the data to a folder, and follows symbolic links.

    Args:
        root: The folder.
        relative: A path that the data gives.
        allow_outside: Accept absolute paths and paths that lead out of the folder.

    Returns:
        The absolute path, free of symbolic links; it need not exist.

    Raises:
        RejectedError: The path leaves the folder, or is none.
    """
    try:
        path = (root / relative).resolve()
        folder = root.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character
        raise RejectedError(f"path cannot be followed: {relative!r}: {error}") from error
    if not allow_outside and not path.is_relative_to(folder):
        raise RejectedError(f"path leaves its folder: {relative!r} is not below {folder}; set allow_outside to read it")
    return path


def _head(path: Path) -> bytes:
    """The file's first bytes, up to the end of DICOM's mark."""
    if not os.path.exists(path):
        raise RejectedError(f"image not found: {path}")
    if not os.path.isfile(path):
        raise RejectedError(f"image is not a file: {path}")
    try:
        with path.open("rb") as file:
            head = file.read(128 + len(dicom.MAGIC))
    except OSError as error:
        raise RejectedError(f"image cannot be read: {path}: {error.strerror}") from error
    if not head:
        raise RejectedError(f"image is empty: {path}")
    if path.suffix.lower() == ".dcm" and head[128:] != dicom.MAGIC:
        raise RejectedError(f"image is no DICOM file: {path}: the mark DICM after 128 bytes is missing")
    return head


def _read(path: Path, window: Window | None, max_pixels: int) -> Pixels:
    with Image.open(path, formats=FORMATS) as image:
        refuse_bomb(path, image, max_pixels)
        if has_more_frames(image):
            raise RejectedError(f"image has several frames: {path}: one is needed")
        image.load()
        if is_deep(image):
            return _deep(image, window)
        if image.mode in _GREY:
            return _converted(image, "L")
        colour = _converted(image, "RGB")
        return _without_equal_channels(colour) if image.mode == "P" else colour


def refuse_bomb(path: str | Path, image: Image.Image, max_pixels: int = MAX_PIXELS) -> None:
    """Refuses an open file before it is decoded, by all that decides how much memory that takes.

    Raises:
        RejectedError: See `refuse_large`.
    """
    kind = str(image.format)
    cost = _COSTLY.get(kind, 0) if len(image.getbands()) > 1 else 0
    refuse_large(path, image.size, max_pixels, cost, kind)
    if isinstance(image, TiffImageFile) and _TILE_WIDTH in image.tag_v2:  # a decoder unpacks whole tiles
        refuse_large(path, (image.tag_v2[_TILE_WIDTH], image.tag_v2.get(_TILE_LENGTH, 1)), max_pixels)


def _converted(image: Image.Image, mode: str) -> Pixels:
    pixels = np.empty((image.height, image.width, 3) if mode == "RGB" else (image.height, image.width), dtype=np.uint8)
    for place in tiles(image.height, image.width):
        pixels[place] = np.asarray(cut(image, place).convert(mode))
    return pixels


def has_more_frames(image: Image.Image) -> bool:
    """Whether an open file holds several images, of which nobody said which one is meant."""
    if image.format == "MPO":  # a photograph with previews of itself; the trainer too reads the first
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _deep(image: Image.Image, window: Window | None) -> Pixels:
    """A grey image of more than 8 bits, between the window's values or its own smallest and largest."""
    values = values_of(image)
    shape = (image.height, image.width)
    low, high = window or dicom.extremes(shape, values)
    return dicom.to_grey(shape, lambda place: (values(place) - low) / ((high - low) or 1.0), is_negative(image))


def is_deep(image: Image.Image) -> bool:
    """Whether an open file is grey and has more than 8 bits."""
    return image.mode in _DEEP


def is_negative(image: Image.Image) -> bool:
    """Whether the lowest value of an open file is white."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def values_of(image: Image.Image) -> Callable[[Place], NDArray[np.float64]]:
    """The values of a deep image, piece by piece."""
    return lambda place: np.asarray(cut(image, place)).astype(np.float64)


def _without_equal_channels(array: Pixels) -> Pixels:
    if array.ndim == 3 and (array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all():
        return array[..., 0].copy()
    return array
