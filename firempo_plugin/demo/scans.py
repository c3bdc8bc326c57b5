"""Real medical images that installed packages carry, with regions outlined by hand.

pydicom and scikit-image ship a few images for their own tests and examples, so the demo downloads nothing
and this project distributes no image.
"""

import importlib.util
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..images.pixels import Window, decode

Pixels = NDArray[np.uint8]
"""An image, [height, width, 3], red-green-blue, 0-255."""
Mask = NDArray[np.bool_]
"""A region, [height, width], true inside."""
Outline = tuple[tuple[float, float], ...]
"""A closed polygon of (x, y), in fractions of the image's width and height."""
Region = tuple[Outline, ...]
"""Something that can be pointed at in a scan."""

LONG_SIDE = 256


@dataclass(frozen=True)
class Scan:
    """One image: where it is, how to show it, and what can be pointed at in it.

    Attributes:
        name: Short name, also the stem of the image file.
        package: Importable package that carries the file.
        file: Path inside that package.
        regions: By a short name.
        window: Values that are black and white in a grey DICOM image; None takes the file's own window.
        crop: Left, top, right, bottom in source pixels; None keeps the whole image.
    """

    name: str
    package: str
    file: str
    regions: dict[str, Region]
    window: Window | None = None
    crop: tuple[int, int, int, int] | None = None


def load(scan: Scan) -> Pixels:
    """Decodes a scan: [height, width, 3], at most LONG_SIDE pixels on the longer side, never enlarged.

    Raises:
        ModuleNotFoundError: The package that carries the image is not installed.
        FileNotFoundError: The package is installed but lacks the file.
    """
    path = _folder(scan.package) / scan.file
    if not path.is_file():
        raise FileNotFoundError(f"the installed {scan.package} has no {scan.file}")
    image = Image.fromarray(decode(path, scan.window)).convert("RGB")
    image = image.crop(scan.crop) if scan.crop else image
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return np.array(image)


def missing_packages() -> list[str]:
    """Names of the packages that carry scans and are not installed; nothing is imported."""
    return sorted({scan.package for scan in SCANS if importlib.util.find_spec(scan.package) is None})


def fill(region: Region, height: int, width: int) -> Mask:
    """The region's mask in an image of that size, [height, width]."""
    canvas = Image.new("1", (width, height))
    for outline in region:
        ImageDraw.Draw(canvas).polygon([(x * width, y * height) for x, y in outline], fill=1)
    return np.array(canvas, dtype=np.bool_)


def _folder(package: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package}, which carries the demo's images, is not installed", name=package)
    return Path(spec.origin).parent


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> Outline:
    angles = [2 * pi * step / 48 for step in range(48)]
    return tuple((x + half_width * cos(angle), y + half_height * sin(angle)) for angle in angles)


# Axial images are shown from below: the patient's right is on the left side of the image.
SCANS: tuple[Scan, ...] = (
    Scan(
        name="ct_chest",
        package="pydicom",
        file="data/test_files/CT_small.dcm",
        window=(-190, 309),
        regions={
            "aorta": (_ellipse(0.70, 0.05, 0.16, 0.16),),
            "canal": (_ellipse(0.46, 0.40, 0.09, 0.08),),
            "lung": (((0.88, 0), (1, 0), (1, 0.52), (0.82, 0.42), (0.70, 0.24), (0.84, 0.15)),),
        },
    ),
    Scan(
        name="ct_head",
        package="pydicom",
        file="data/test_files/J2K_pixelrep_mismatch.dcm",
        crop=(44, 28, 468, 452),
        regions={
            "cerebellum": (_ellipse(0.36, 0.74, 0.12, 0.11), _ellipse(0.65, 0.74, 0.13, 0.11)),
            "sinus": (_ellipse(0.37, 0.09, 0.09, 0.06), _ellipse(0.64, 0.11, 0.13, 0.09)),
            "mastoid": (_ellipse(0.81, 0.64, 0.07, 0.09),),
        },
    ),
    Scan(
        name="mr_abdomen",
        package="pydicom",
        file="data/test_files/examples_overlay.dcm",
        crop=(14, 0, 436, 284),  # the arms wrap around at both edges
        regions={
            "liver": (((0.09, 0.62), (0.12, 0.42), (0.20, 0.32), (0.28, 0.34), (0.37, 0.56), (0.11, 0.68)),),
            "left_kidney": (_ellipse(0.72, 0.775, 0.07, 0.10),),
            "kidneys": (_ellipse(0.325, 0.77, 0.075, 0.10), _ellipse(0.72, 0.775, 0.07, 0.10)),
            "aorta": (_ellipse(0.57, 0.59, 0.028, 0.048),),
        },
    ),
    Scan(
        name="us_node",
        package="pydicom",
        file="data/test_files/examples_rgb_color.dcm",
        crop=(24, 56, 298, 166),  # leaves out the burnt-in text, which names the organ
        regions={
            "node": (_ellipse(0.27, 0.50, 0.21, 0.27), _ellipse(0.69, 0.48, 0.20, 0.25)),
        },
    ),
    Scan(
        name="fundus",
        package="skimage",
        file="data/retina.jpg",
        regions={
            "disc": (_ellipse(0.165, 0.455, 0.055, 0.07),),
            "macula": (_ellipse(0.50, 0.49, 0.09, 0.09),),
        },
    ),
    Scan(
        name="histology",
        package="skimage",
        file="data/ihc.png",
        regions={
            "gland": (_ellipse(0.62, 0.80, 0.125, 0.20),),
        },
    ),
)
