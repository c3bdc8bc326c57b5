"""One DICOM image on the 0-255 scale, as a viewer would first show it."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..records import RejectedError
from .dicom_file import DicomFile, refuse_liars
from .tiles import MAX_PIXELS, Place, refuse_large, tiles

Values = NDArray[np.float64]

MAGIC = b"DICM"
"""What stands in a file after its first 128 bytes."""
_JPEG_2000 = ("JPEG 2000", "High-Throughput JPEG 2000")
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# From values, centre and width to 0 (black) .. 1 (white): DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
_VOI_FUNCTIONS: dict[str, Callable[[Values, float, float], Values]] = {
    "LINEAR": lambda values, centre, width: (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5,
    "LINEAR_EXACT": lambda values, centre, width: (values - centre) / width + 0.5,
    "SIGMOID": lambda values, centre, width: (1 + np.tanh(2 * (values - centre) / width)) / 2,
}

# The values at which the straight ones of them are 0 and 1.
_EDGES: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "LINEAR": lambda centre, width: (centre - 0.5 - max(width - 1, 1e-6) / 2, centre - 0.5 + max(width - 1, 1e-6) / 2),
    "LINEAR_EXACT": lambda centre, width: (centre - width / 2, centre + width / 2),
}


class MissingReaderError(UserError):
    """What reads the format is not installed. No record's fault: a rejection would be kept after it is installed."""


def read(path: Path, window: tuple[float, float] | None, max_pixels: int) -> NDArray[np.uint8]:
    """Decodes a DICOM file that holds one frame.

    Grey images pass through the file's modality transformation (rescale slope and intercept, or a table) and a
    window; for MONOCHROME1 the lowest value is white. Palettes are looked up, luminance-chrominance images become
    red-green-blue.

    Args:
        path: The file.
        window: Values, after the modality transformation, that become black and white in a grey image. None takes
            the file's first table or window, else the smallest and the largest value.
        max_pixels: Refuse more pixels than this.

    Returns:
        [height, width] for a grey image, else [height, width, 3].

    Raises:
        RejectedError: The file has no image, several frames or too many pixels; or its photometric interpretation or
            its window function is unknown.
        MissingReaderError: pydicom is not installed.
        Exception: Whatever pydicom raises over a damaged file.
    """
    if find_spec("pydicom") is None:
        raise MissingReaderError(f"DICOM needs pydicom (pip install 'firempo-plugin[dicom]'): {path}")
    stored, interpretation, dataset = _stored(path, max_pixels)
    if interpretation.startswith("MONOCHROME"):
        return _grey(stored, dataset, window)
    return _colour(stored, dataset, interpretation)


def is_one(path: Path) -> bool:
    """Whether a file is DICOM, by its content."""
    with path.open("rb") as file:
        return file.read(128 + len(MAGIC))[128:] == MAGIC


def values(path: Path) -> tuple[tuple[int, int], Callable[[Place], Values], tuple[float, float] | None, bool] | None:
    """The values of a grey image of more than 8 bits, after the modality transformation.

    Returns:
        Height and width; the values, piece by piece; the file's first window, None where it has none or is shown
        through a table or a curve; and whether the lowest value is white. None: the image is another.

    Raises:
        As `read`.
    """
    from pydicom.pixels import apply_modality_lut

    stored, interpretation, header = _stored(path, MAX_PIXELS)
    if not interpretation.startswith("MONOCHROME") or int(header.BitsStored) <= 8:
        return None
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    function = str(header.get("VOILUTFunction") or "LINEAR")
    window = None
    if (
        centre is not None
        and width is not None
        and width > 0
        and function in _EDGES
        and not header.get("VOILUTSequence")
    ):
        window = _EDGES[function](centre, width)
    height, columns = stored.shape

    def of(place: Place) -> Values:
        return np.asarray(apply_modality_lut(stored[place], header), dtype=np.float64)

    return (height, columns), of, window, interpretation == "MONOCHROME1"


def _stored(path: Path, max_pixels: int) -> tuple[NDArray[Any], str, Any]:
    """The stored values, what they mean now, and the data set."""
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    file = DicomFile(path)
    _check(path, file.header, max_pixels)
    samples, bits = int(file.header.SamplesPerPixel), int(file.header.BitsAllocated)
    syntax = file.meta.TransferSyntaxUID
    # What is read, what it is unpacked to, and what that is copied to; a deflated file is held once more.
    sample_bytes = samples * math.ceil(bits / 8)
    cost = (3 + file.deflated) * sample_bytes + samples
    if samples > 1 and syntax.name.startswith(_JPEG_2000):
        cost = max(cost, 24)
    size = (int(file.header.Columns), int(file.header.Rows))
    refuse_large(path, size, max_pixels, cost, f"{samples} samples of {bits} bits, {syntax.name}")
    dataset = file.whole(size[0] * size[1] * sample_bytes)
    options = as_pixel_options(dataset)
    if syntax.is_encapsulated:
        refuse_liars(path, dataset, options.get("extended_offsets"))
    stored, found = get_decoder(syntax).as_array(dataset, index=0, raw=True, **options)
    interpretation = str(dataset.PhotometricInterpretation)
    if not interpretation.startswith(("MONOCHROME", "PALETTE")):
        interpretation = str(found["photometric_interpretation"])
    return stored, interpretation, dataset


def _grey(stored: NDArray[Any], header: Any, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_modality_lut

    def values(place: Place) -> Values:
        return np.asarray(apply_modality_lut(stored[place], header), dtype=np.float64)

    show = _shown(header, window, lambda: extremes(stored.shape, values))
    return to_grey(stored.shape, lambda place: show(values(place)), header.PhotometricInterpretation == "MONOCHROME1")


def _colour(stored: NDArray[Any], header: Any, interpretation: str) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_color_lut, convert_color_space

    bits = int(header.BitsStored)
    pixels = np.empty((*stored.shape[:2], 3), dtype=np.uint8)
    for place in tiles(*stored.shape[:2]):
        piece = stored[place]
        if interpretation == "PALETTE COLOR":
            piece = apply_color_lut(piece, header)
            bits = 8 * piece.dtype.itemsize
        elif interpretation in ("YBR_FULL", "YBR_FULL_422"):
            piece = convert_color_space(piece, "YBR_FULL", "RGB")
        pixels[place] = (piece[..., :3] >> max(bits - 8, 0)).astype(np.uint8)
    return pixels


def extremes(shape: tuple[int, ...], values: Callable[[Place], Values]) -> tuple[float, float]:
    """The smallest and the largest value of an image [height, width] that is read piece by piece."""
    pieces = map(values, tiles(*shape))
    lows, highs = zip(*((float(piece.min()), float(piece.max())) for piece in pieces), strict=True)
    return min(lows), max(highs)


def to_grey(shape: tuple[int, ...], fractions: Callable[[Place], Values], negative: bool) -> NDArray[np.uint8]:
    """An image [height, width] of fractions of each piece: 0 is black and 1 white, in a negative the other way.

    They are rounded to 0-255; what lies outside is clipped.

    Raises:
        UserError: A value is no number.
    """
    pixels = np.empty(shape, dtype=np.uint8)
    for place in tiles(*shape):
        fraction = fractions(place)
        if np.isnan(fraction).any():
            raise UserError("it has pixels that are no numbers")
        grey = np.rint(255 * np.clip(fraction, 0, 1)).astype(np.uint8)
        pixels[place] = 255 - grey if negative else grey
    return pixels


def _check(path: Path, header: Any, max_pixels: int) -> None:
    """Looks at the header before any pixel is decoded."""
    if "Rows" not in header or "Columns" not in header or "PhotometricInterpretation" not in header:
        raise RejectedError(f"DICOM file has no image: {path}")
    width, height = int(header.Columns), int(header.Rows)
    refuse_large(path, (width, height), max_pixels)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise RejectedError(f"image has several frames: {path}: {frames}, one is needed")
    interpretation = str(header.PhotometricInterpretation)
    if interpretation not in ("MONOCHROME1", "MONOCHROME2", *_COLOUR):
        raise RejectedError(f"photometric interpretation is not known: {path}: {interpretation}")


def _shown(
    header: Any, window: tuple[float, float] | None, extremes: Callable[[], tuple[float, float]]
) -> Callable[[Values], Values]:
    """What makes fractions of grey values: 0 is black and 1 white, for MONOCHROME2."""
    if window is None and header.get("VOILUTSequence"):
        return _looked_up(header)
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    if window is None and centre is not None and width is not None and width > 0:
        function = str(header.get("VOILUTFunction") or "LINEAR")
        if function not in _VOI_FUNCTIONS:
            raise RejectedError(f"window function is not known: {function}: expected {', '.join(_VOI_FUNCTIONS)}")
        return lambda values: _VOI_FUNCTIONS[function](values, centre, width)
    low, high = window or extremes()
    return lambda values: (values - low) / ((high - low) or 1.0)


def _looked_up(header: Any) -> Callable[[Values], Values]:
    """Looks values up in the file's first table; those below and above it take its first and last entry."""
    table = header.VOILUTSequence[0]
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    count = count or 2**16
    if isinstance(data, bytes):
        order = "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"
        packed = bits <= 8 and len(data) < 2 * count  # a byte an entry, and perhaps one to make their number even
        data = np.frombuffer(data, dtype=np.uint8 if packed else f"{order}u2")
    entries = np.asarray(data, dtype=np.float64)[:count]

    def show(values: Values) -> Values:
        index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
        return entries[index] / (2**bits - 1)

    return show


def _first(header: Any, name: str) -> float | None:
    """The first of the values that a file may list for one attribute."""
    value = header.get(name)
    if value is None or np.size(value) == 0:
        return None
    return float(np.atleast_1d(value)[0])
