"""Phantom "radiographs": a body with two lungs and noise, and in most of them one nodule, with true masks.

Sides are the patient's, as on a frontal radiograph: the patient's left is the right half of the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.noise import corrupt

SIZE = 96
"""Height and width in pixels."""

ATTRIBUTES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"side": ("left", "right"), "zone": ("upper", "lower"), "size": ("small", "large")}
)
"""What there is to say of a nodule; the first value of each is the one that the training split prefers."""

_LUNG_GREY, _BODY_GREY, _HEART_GREY, _AIR_GREY = 62.0, 138.0, 165.0, 12.0
_GRAIN = 6.0
"""Standard deviation of the noise of the detector, on the 0-255 scale."""
_RADIUS = {"small": (3.4, 4.6), "large": (6.8, 8.8)}
"""Least and greatest radius of a nodule in pixels."""
_CONTRAST = (35.0, 60.0)
_DEFECT = Corruption("noise", 45.0)
"""What a broken part of the detector shows; as strong as the noise of `firempo build`."""
_HEIGHT = {"upper": (-0.62, -0.26), "lower": (0.26, 0.62)}
"""Of a nodule's centre above or below the lung's, in shares of the lung's half height; negative is up."""

Grey = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Nodule:
    """What an image shows.

    Attributes:
        side: "left" or "right" of the patient.
        zone: "upper" or "lower".
        size: "small" or "large".
    """

    side: str
    zone: str
    size: str


@dataclass(frozen=True)
class Phantom:
    """An image and where everything is on it.

    Attributes:
        pixels: [SIZE, SIZE], 0-255.
        masks: [SIZE, SIZE] by name: "left lung", "right lung", and "nodule" where there is one.
        nodule: What it is; None: there is none.
    """

    pixels: NDArray[np.uint8]
    masks: dict[str, Mask]
    nodule: Nodule | None


def draw(nodule: Nodule | None, random: np.random.Generator) -> Phantom:
    """Draws a patient; anatomy, place, brightness and noise vary with the generator.

    Args:
        nodule: What to show in a lung; None: nothing.
        random: Where the variation comes from.
    """
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    shift = random.uniform(-3.0, 3.0, 2)
    middle = np.array([48.0, 47.5]) + shift
    picture = np.full((SIZE, SIZE), _AIR_GREY)
    body = _ellipse(rows, columns, middle, np.array([46.0, 43.0]) * random.uniform(0.95, 1.03))
    picture += body * (_BODY_GREY + random.uniform(-10, 10) - picture)
    lungs = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        centre = middle + np.array([random.uniform(-2, 2), sign * random.uniform(19.5, 21.5)])
        lungs[side] = (centre, np.array([random.uniform(27, 30), random.uniform(13.5, 15.5)]))
        inside = _ellipse(rows, columns, *lungs[side])
        picture += inside * (_LUNG_GREY + random.uniform(-6, 6) - picture)
    heart = _ellipse(rows, columns, middle + np.array([15.0, 6.0]), np.array([10.0, 9.0]) * random.uniform(0.9, 1.1))
    picture += heart * (_HEART_GREY - picture) * 0.7
    masks = {f"{side} lung": _ellipse(rows, columns, *lungs[side]) > 0.5 for side in lungs}
    if nodule is not None:
        blob = _nodule(nodule, lungs[nodule.side], rows, columns, random)
        picture += blob * random.uniform(*_CONTRAST)
        masks["nodule"] = blob > 0.3
    picture += random.normal(0.0, _GRAIN, picture.shape)
    return Phantom(np.clip(np.rint(picture), 0, 255).astype(np.uint8), masks, nodule)


def spoil(phantom: Phantom, place: Mask, random: np.random.Generator) -> Phantom:
    """Breaks the detector in a place: strong noise there, and a nodule that it touches is not to be seen any more.

    Args:
        phantom: What to spoil; not changed.
        place: [SIZE, SIZE], true where the noise goes.
        random: Draws the noise.
    """
    pixels = corrupt(phantom.pixels, place, _DEFECT, int(random.integers(2**63)))
    masks = dict(phantom.masks)
    if phantom.nodule is None or not (masks["nodule"] & place).any():
        return Phantom(pixels, masks, phantom.nodule)
    del masks["nodule"]
    return Phantom(pixels, masks, None)


def patch(random: np.random.Generator) -> Mask:
    """A place of the shape and size of a nodule, anywhere in the lungs: [SIZE, SIZE]."""
    kind = Nodule(*(str(random.choice(values)) for values in ATTRIBUTES.values()))
    return draw(kind, random).masks["nodule"]


def _nodule(nodule: Nodule, lung: tuple[Grey, Grey], rows: Grey, columns: Grey, random: np.random.Generator) -> Grey:
    """Its share of every pixel, in [0, 1]."""
    centre, axes = lung
    place = centre + axes * np.array([random.uniform(*_HEIGHT[nodule.zone]), random.uniform(-0.35, 0.35)])
    radius = random.uniform(*_RADIUS[nodule.size]) * np.array([random.uniform(0.9, 1.1), 1.0])
    return _ellipse(rows, columns, place, radius)


def _ellipse(rows: Grey, columns: Grey, centre: Grey, axes: Grey) -> Grey:
    """1 inside, 0 outside, with an edge of about two pixels."""
    distance = np.sqrt(((rows - centre[0]) / axes[0]) ** 2 + ((columns - centre[1]) / axes[1]) ** 2)
    steep = axes.mean() / 0.6
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(steep * (distance - 1.0), -40, 40))))
