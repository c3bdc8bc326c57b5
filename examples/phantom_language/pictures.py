"""Draws the "radiographs": a body with two lungs, ribs, a heart, grain, and findings with true masks.

Sides are the patient's, as on a frontal radiograph: the patient's left is the right half of the image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from findings import NAMES, Found, sample
from numpy.typing import NDArray

from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.noise import corrupt

SIZE = 96
"""Height and width in pixels."""
Grey = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
_GRAIN = 6.0
"""Standard deviation of the noise of the detector, on the 0-255 scale."""
_SHOWN = 0.3
"""Share of a pixel that a finding must have to count it in its mask."""
_OVERLAP, _TRIES = 0.08, 4
"""Share of the smaller of two findings that both may cover, and how often a finding is placed anew before that is."""
_STEEPEST = 40.0
"""Exponent beyond which a logistic is flat."""


@dataclass(frozen=True)
class Picture:
    """An image and where everything is on it.

    Attributes:
        pixels: [SIZE, SIZE], 0-255.
        masks: [SIZE, SIZE] by name: "left lung", "right lung", and every finding.
        found: What it shows.
    """

    pixels: Pixels
    masks: dict[str, Mask]
    found: Found


@dataclass(frozen=True)
class Body:
    """What findings are placed in.

    Attributes:
        lungs: By side: row and column of the middle, half height and half width.
        grey: Of soft tissue.
        middle: Row and column.
    """

    lungs: dict[str, tuple[float, float, float, float]]
    grey: float
    middle: tuple[float, float]


def picture(habit: float, random: np.random.Generator) -> Picture:
    """An image of what `sample` gives; what cannot be placed without overlap is sampled anew."""
    while True:
        drawn = draw(sample(habit, random), random)
        if drawn is not None:
            return drawn


def draw(found: Found, random: np.random.Generator) -> Picture | None:
    """Draws findings; None where two of them overlap however they are placed."""
    grey, body = _body(random)
    masks: dict[str, Mask] = {}
    for name in [name for name in NAMES if name in found]:
        for _ in range(_TRIES):
            changed, mask = _PLACES[name](found[name], grey, body, random)
            if all((mask & there).sum() < _OVERLAP * min(mask.sum(), there.sum()) for there in masks.values()):
                grey, masks[name] = changed, mask
                break
        else:
            return None
    grey = grey + random.normal(0, _GRAIN, grey.shape)
    masks |= {f"{side} lung": ellipse(*lung) > 0.5 for side, lung in body.lungs.items()}
    return Picture(np.clip(np.rint(grey), 0, 255).astype(np.uint8), masks, found)


def noised(pixels: Pixels, mask: Mask | None, sigma: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise of standard deviation `sigma` (0-255 scale) inside a mask; None: everywhere."""
    return np.asarray(corrupt(pixels, mask, Corruption("noise", sigma), int(random.integers(2**63))))


def dilated(mask: Mask, pixels: int) -> Mask:
    """A mask grown by so many pixels on every side."""
    if pixels == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc) > 0)


def ellipse(row: float, column: float, height: float, width: float, soft: float = 0.6) -> Grey:
    """1 inside, 0 outside; half axes and the edge's width in pixels."""
    distance = np.sqrt(((_ROWS - row) / height) ** 2 + ((_COLUMNS - column) / width) ** 2)
    return _logistic((height + width) / 2 / soft * (1.0 - distance))


def _logistic(values: Grey) -> Grey:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -_STEEPEST, _STEEPEST))))


def _body(random: np.random.Generator) -> tuple[Grey, Body]:
    row, column = 48 + random.uniform(-3, 3), 47.5 + random.uniform(-3, 3)
    grey = np.full((SIZE, SIZE), 12.0)
    tissue = 135 + random.uniform(-10, 10)
    outline = ellipse(row, column, 46 * random.uniform(0.95, 1.03), 43 * random.uniform(0.95, 1.03))
    grey += outline * (tissue - grey)
    lungs = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        middle = (row + random.uniform(-2, 2), column + sign * random.uniform(19.5, 21.5))
        lungs[side] = (*middle, random.uniform(27, 30), random.uniform(13.5, 15.5))
        grey += ellipse(*lungs[side]) * (62 + random.uniform(-6, 6) - grey)
    waves = (_ROWS - row + 0.012 * (_COLUMNS - column) ** 2) / random.uniform(1.5, 1.7) + random.uniform(0, 6)
    grey += np.maximum(*(ellipse(*lung) for lung in lungs.values())) * np.sin(waves) * random.uniform(4, 8)
    grey += ellipse(row, column, 44, 4) * random.uniform(10, 25)
    heart = ellipse(row + 15, column + 6, 10 * random.uniform(0.9, 1.1), 9 * random.uniform(0.9, 1.1))
    grey += heart * (165 - grey) * 0.7
    return grey, Body(lungs, tissue, (row, column))


Place = Callable[[Mapping[str, str], Grey, Body, np.random.Generator], tuple[Grey, Mask]]
"""Adds a finding with these attributes to an image; returns the image and the finding's mask."""


def _spot(at: Mapping[str, str], body: Body, random: np.random.Generator) -> tuple[float, float]:
    """Row and column in the finding's side and zone."""
    row, column, height, width = body.lungs[at["side"]]
    up = -1 if at["zone"] == "upper" else 1
    return row + up * height * random.uniform(0.26, 0.60), column + width * random.uniform(-0.35, 0.35)


def _nodule(at: Mapping[str, str], grey: Grey, body: Body, random: np.random.Generator) -> tuple[Grey, Mask]:
    row, column = _spot(at, body, random)
    radius = random.uniform(3.4, 4.6) if at["size"] == "small" else random.uniform(7.0, 9.0)
    blob = ellipse(row, column, radius * random.uniform(0.9, 1.1), radius)
    return grey + blob * random.uniform(50, 80), blob > _SHOWN


def _consolidation(at: Mapping[str, str], grey: Grey, body: Body, random: np.random.Generator) -> tuple[Grey, Mask]:
    row, column = _spot(at, body, random)
    cloud = ellipse(row, column, random.uniform(6, 8), random.uniform(10, 13), 2.0) * ellipse(*body.lungs[at["side"]])
    coarse = random.normal(0, 1, (SIZE // 4 + 2, SIZE // 4 + 2))
    texture = np.clip(1 + 0.8 * cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 2)
    return grey + cloud * texture * random.uniform(40, 60), cloud > _SHOWN


def _effusion(at: Mapping[str, str], grey: Grey, body: Body, random: np.random.Generator) -> tuple[Grey, Mask]:
    row, column, height, width = body.lungs[at["side"]]
    outwards = 1.0 if at["side"] == "left" else -1.0
    share = random.uniform(0.20, 0.27) if at["size"] == "small" else random.uniform(0.48, 0.60)
    level = row + height - 2 * height * share - 3.0 * outwards * (_COLUMNS - column) / width
    fluid = ellipse(row, column, height, width) * _logistic((_ROWS - level) / 0.8)
    return grey + fluid * (body.grey + random.uniform(10, 30) - grey), fluid > _SHOWN


def _pneumothorax(at: Mapping[str, str], grey: Grey, body: Body, random: np.random.Generator) -> tuple[Grey, Mask]:
    row, column, height, width = body.lungs[at["side"]]
    outwards = 1.0 if at["side"] == "left" else -1.0
    share = random.uniform(0.22, 0.28) if at["size"] == "small" else random.uniform(0.45, 0.55)
    middle = (row + share * height * 0.55, column - outwards * share * width * 0.75)
    collapsed = ellipse(*middle, height * (1 - share * 0.6), width * (1 - share * 0.7))
    lung = ellipse(row, column, height, width)
    air, line = lung * (1 - collapsed), collapsed * (1 - collapsed) * 4 * lung
    return grey + air * (22 - grey) + line * random.uniform(50, 70), air > _SHOWN


def _pacemaker(at: Mapping[str, str], grey: Grey, body: Body, random: np.random.Generator) -> tuple[Grey, Mask]:
    row, column, height, width = body.lungs[at["side"]]
    outwards = 1.0 if at["side"] == "left" else -1.0
    top, beside = row - height * random.uniform(0.75, 0.9), column + outwards * width * random.uniform(0.1, 0.4)
    edge = np.maximum(np.abs(_ROWS - top) / 4.5, np.abs(_COLUMNS - beside) / 5.5)
    box = _logistic((1 - edge) * 8)
    along = np.linspace(0, 1, 40)[:, None, None]
    rows = top + (body.middle[0] + 12 - top) * along
    columns = beside + (body.middle[1] + 6 - beside) * along - outwards * 6 * np.sin(np.pi * along)
    wire = np.exp(-((_ROWS - rows) ** 2 + (_COLUMNS - columns) ** 2).min(0))
    return grey + np.maximum(box, 0.7 * wire) * (245 - grey), (box > _SHOWN) | (wire > 0.4)


_PLACES: Mapping[str, Place] = {
    "nodule": _nodule,
    "consolidation": _consolidation,
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "pacemaker": _pacemaker,
}
