"""One DICOM image on the 0-255 scale, as a viewer would first show it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .records import RejectedError

Values = NDArray[np.float64]

_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# From values, centre and width to 0 (black) .. 1 (white): DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
_VOI_FUNCTIONS: dict[str, Callable[[Values, float, float], Values]] = {
    "LINEAR": lambda values, centre, width: (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5,
    "LINEAR_EXACT": lambda values, centre, width: (values - centre) / width + 0.5,
    "SIGMOID": lambda values, centre, width: (1 + np.tanh(2 * (values - centre) / width)) / 2,
}


class MissingReaderError(ValueError):
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
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
    except ModuleNotFoundError as error:
        raise MissingReaderError(f"DICOM needs pydicom (pip install 'firempo-plugin[dicom]'): {path}") from error

    header = pydicom.dcmread(path)
    interpretation = _check(path, header, max_pixels)
    stored = pixel_array(header, index=0)
    if interpretation.startswith("MONOCHROME"):
        values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
        grey = to_grey(_shown(values, header, window))
        return 255 - grey if interpretation == "MONOCHROME1" else grey
    bits = int(header.BitsStored)
    if interpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)
        bits = 8 * stored.dtype.itemsize
    return (stored[..., :3] >> max(bits - 8, 0)).astype(np.uint8)


def to_grey(fraction: Values) -> NDArray[np.uint8]:
    """Rounds 0 (black) .. 1 (white) to 0-255; what lies outside is clipped.

    Raises:
        ValueError: A value is no number.
    """
    if np.isnan(fraction).any():
        raise ValueError("it has pixels that are no numbers")
    return np.rint(255 * np.clip(fraction, 0, 1)).astype(np.uint8)


def _check(path: Path, header: Any, max_pixels: int) -> str:
    """Looks at the header before any pixel is decoded, and returns the photometric interpretation."""
    if "Rows" not in header or "Columns" not in header or "PhotometricInterpretation" not in header:
        raise RejectedError(f"DICOM file has no image: {path}")
    width, height = int(header.Columns), int(header.Rows)
    if width * height > max_pixels:
        raise RejectedError(f"image is too large: {path}: {width} x {height} pixels, limit {max_pixels}")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise RejectedError(f"image has several frames: {path}: {frames}, one is needed")
    interpretation = str(header.PhotometricInterpretation)
    if interpretation not in ("MONOCHROME1", "MONOCHROME2", *_COLOUR):
        raise RejectedError(f"photometric interpretation is not known: {path}: {interpretation}")
    return interpretation


def _shown(values: Values, header: Any, window: tuple[float, float] | None) -> Values:
    """Grey values as fractions: 0 is black and 1 white, for MONOCHROME2."""
    if window is None and header.get("VOILUTSequence"):
        return _looked_up(values, header)
    low, high = window or (float(values.min()), float(values.max()))
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    if window is None and centre is not None and width is not None and width > 0:
        function = str(header.get("VOILUTFunction") or "LINEAR")
        if function not in _VOI_FUNCTIONS:
            raise RejectedError(f"window function is not known: {function}: expected {', '.join(_VOI_FUNCTIONS)}")
        return _VOI_FUNCTIONS[function](values, centre, width)
    return (values - low) / ((high - low) or 1.0)


def _looked_up(values: Values, header: Any) -> Values:
    """Values looked up in the file's first table; those below and above it take its first and last entry."""
    table = header.VOILUTSequence[0]
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    count = count or 2**16
    if isinstance(data, bytes):
        order = "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"
        packed = bits <= 8 and len(data) < 2 * count  # a byte an entry, and perhaps one to make their number even
        data = np.frombuffer(data, dtype=np.uint8 if packed else f"{order}u2")
    entries = np.asarray(data, dtype=np.float64)[:count]
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[index] / (2**bits - 1)


def _first(header: Any, name: str) -> float | None:
    """The first of the values that a file may list for one attribute."""
    value = header.get(name)
    if value is None or np.size(value) == 0:
        return None
    return float(np.atleast_1d(value)[0])
