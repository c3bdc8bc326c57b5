"""One DICOM image as red-green-blue on the 0-255 scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""An image, [height, width, 3], red-green-blue, 0-255."""

_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class Window:
    """What becomes black and white: `center` minus and plus half of `width` (DICOM PS3.3, C.11.2.1.2)."""

    center: float
    width: float


def read(path: Path, window: Window | None = None) -> Pixels:
    """Decodes the first frame of a DICOM file.

    Grey images pass through the file's modality transformation (rescale slope and intercept) and a window;
    for MONOCHROME1 the lowest value is white. Palettes are looked up. Luminance-chrominance images come out
    of pydicom's decoder as red-green-blue.

    Args:
        path: The file.
        window: Window for a grey image; None takes the file's first one, else its whole range.

    Returns:
        [height, width, 3].

    Raises:
        ModuleNotFoundError: pydicom is not installed.
        ValueError: The photometric interpretation is none of those above.
    """
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    header = pydicom.dcmread(path)
    stored = pixel_array(header, index=0)
    interpretation = str(header.PhotometricInterpretation)
    if interpretation.startswith("MONOCHROME"):
        values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
        grey = _apply_window(values, window or _window_of(header, values))
        return np.stack([255 - grey if interpretation == "MONOCHROME1" else grey] * 3, axis=-1)
    if interpretation not in _COLOUR:
        raise ValueError(f"{path.name}: cannot show an image whose photometric interpretation is {interpretation}")
    if interpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)
    bits = 8 * stored.dtype.itemsize
    return (stored[..., :3] >> (bits - 8)).astype(np.uint8)


def _window_of(header: Any, values: NDArray[np.float64]) -> Window:
    """The file's first window; a file may list several, as parallel lists."""
    if "WindowCenter" not in header or "WindowWidth" not in header:
        low, high = float(values.min()), float(values.max())
        return Window((low + high + 1) / 2, high - low + 1)
    center, width = (np.atleast_1d(header[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
    return Window(float(center), float(width))


def _apply_window(values: NDArray[np.float64], window: Window) -> Pixels:
    """The standard's linear function, whose ends lie half a value inside the window."""
    fraction = (values - (window.center - 0.5)) / max(window.width - 1, 1) + 0.5
    return np.rint(255 * np.clip(fraction, 0, 1)).astype(np.uint8)
