"""Corrupting an image: which corruption a record gets, where, and with what seed.

The noise is drawn by table: 16 random bits pick one of 65,536 equally likely quantiles of the normal distribution,
already rounded, since pixels are integers and rounding the sum is rounding the noise. The bits come raw from PCG64,
the part of numpy whose stream stays the same over versions and platforms (NEP 19), so a seed gives the same image
everywhere; a table is also several times faster than drawing normal deviates.
"""

import hashlib
import json
import math
from collections.abc import Callable
from functools import cache, lru_cache
from statistics import NormalDist
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..records import Kind, NoisePath
from .corruptions import CORRUPTIONS, Corruption, Filter, corruption
from .masks import Mask
from .pixels import Pixels
from .settings import NoiseConfig
from .tiles import TILE

NEIGHBOURHOOD = 1 / 32
"""Reach of the blur (one standard deviation), and width of the rim that a crop is filled from, as a share of the
image's shorter side."""


class Choice(NamedTuple):
    """How one image is corrupted: by which path of the method, with what, and whether inside the mask only."""

    path: NoisePath
    how: Corruption
    use_mask: bool


def choose_noise(kind: Kind, target: str | None, detected: bool, settings: NoiseConfig) -> Choice:
    """Chooses the corruption of a record's image.

    | record | noise | another corruption |
    |---|---|---|
    | target detected | in the mask, `sigma` | in the mask |
    | no target | whole image, `sigma` | as for noise |
    | target, but nothing detected | whole image, `fallback_sigma` | as for noise |
    | report | whole image, `sigma` | as for noise |
    | any, under `whole_image` | whole image, `sigma` | whole image |

    Another corruption takes the place of the lesion noise only, so that an ablation differs from the method in
    nothing else; with `whole_image` it takes every place.

    Args:
        kind: Of the record.
        target: The target's phrase; None: no part of the image in particular.
        detected: Whether the segmenter found the target.
        settings: The section `noise` of the configuration.
    """
    noise = Corruption("noise", settings.sigma)
    chosen = corruption(settings.corruption, settings.sigma, settings.options)
    if settings.whole_image:
        return Choice("ablation", chosen, use_mask=False)
    situation = "report" if kind == "report" else "no_target" if target is None else "target"
    choices = {
        ("report", True): Choice("report", noise, use_mask=False),
        ("report", False): Choice("report", noise, use_mask=False),
        ("no_target", True): Choice("no_target", noise, use_mask=False),
        ("no_target", False): Choice("no_target", noise, use_mask=False),
        ("target", False): Choice("no_detection", Corruption("noise", settings.fallback_sigma), use_mask=False),
        ("target", True): Choice("lesion" if chosen == noise else "ablation", chosen, use_mask=True),
    }
    return choices[situation, detected]


def seed_of(record_id: str, image_index: int, how: Corruption) -> int:
    """A seed that depends on nothing but the record, the image's place in it, and the kind of corruption."""
    text = json.dumps([record_id, image_index, how.name])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def corrupt(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Corrupts an image inside a mask; every pixel outside stays bit-identical, and the size never changes.

    Args:
        image: [H, W] or [H, W, 3]; not changed.
        mask: [H, W], true where the image is corrupted; None: everywhere.
        how: What is done.
        seed: Of the noise, usually `seed_of` the record.

    Returns:
        A new array of the image's shape.

    Raises:
        ValueError: The mask has another size than the image, or the corruption is not among `CORRUPTIONS`.
    """
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} does not fit an image of {image.shape[:2]}")
    if how.name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {how.name!r}; choose one of: {', '.join(CORRUPTIONS)}")
    corrupted: Pixels = CORRUPTIONS.load(how.name).corrupted(image, mask, how, seed)
    if mask is not None:
        cv2.copyTo(image, np.logical_not(mask).view(np.uint8), corrupted)
    return corrupted


def noise(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Zero-mean Gaussian noise of `how.sigma`, independent in each channel, clipped to 0-255.

    An image that is grey, be it in one channel or in three equal ones, gets one field and stays grey. A pixel's noise
    depends on the seed and its place, not on the mask.
    """
    return by_channels(image, lambda channels: noised(channels, how.sigma, seed))


def by_channels(image: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """A change of an image; where it is grey in three equal channels, of one of them, so that it stays grey."""
    if image.ndim == 3 and all(np.array_equal(image[..., 0], image[..., other]) for other in (1, 2)):
        return np.repeat(change(image[..., 0])[..., None], 3, axis=-1)
    return change(image)


def noised(image: Pixels, sigma: float, seed: int, levels: Pixels | None = None) -> Pixels:
    """An image plus Gaussian noise of its own at every value, rounded, clipped to 0-255.

    Args:
        image: [H, W] or [H, W, 3].
        sigma: Of the noise, 0-255 scale.
        seed: Of the noise.
        levels: What each level of the image becomes before, [256]; None: itself.
    """
    values = np.ascontiguousarray(image).reshape(1, -1)
    sums = np.empty_like(values)
    bits, table = np.random.PCG64(seed), _quantiles(sigma)
    for start in range(0, values.size, 4 * TILE):  # four values a word: every piece but the last takes whole words
        piece = values[:, start : start + 4 * TILE]
        base = piece if levels is None else cv2.LUT(piece, levels)
        added = np.take(table, draws(bits, piece.size))[None]
        # Saturating addition: the exact sum, clipped to 0-255.
        sums[:, start : start + 4 * TILE] = cv2.add(base, added, dtype=cv2.CV_8U)
    return sums.reshape(image.shape)


def draws(bits: np.random.PCG64, count: int) -> NDArray[np.uint16]:
    """Sixteen random bits, so many times."""
    return bits.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]


@lru_cache(maxsize=8)
def _quantiles(sigma: float) -> NDArray[np.int16]:
    """Those of the normal distribution of this width, rounded; symmetric about 0."""
    return np.clip(np.rint(sigma * _deviates()), -255, 255).astype(np.int16)


@cache
def _deviates() -> NDArray[np.float64]:
    """The 65,536 quantiles of the normal distribution of width 1 at the middles of equal shares."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((step + 0.5) / 65536) for step in range(65536)])


def crop(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """The region cut out, and the hole filled with one flat level, the mean of the rim around it.

    So what was there is gone and little else is put in its place. The frame stays, since the trainer compares the two
    images at equal size. Without a mask, or where it leaves no rim, the level is the image's mean.
    """
    around = image.reshape(-1, *image.shape[2:])
    if mask is not None:
        width = 2 * max(1, round(min(mask.shape) * NEIGHBOURHOOD)) + 1
        grown = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
        rim = image[grown.astype(np.bool_) & ~mask]
        around = rim if rim.size else around
    return np.full_like(image, np.rint(around.mean(axis=0)).astype(np.uint8))


def black(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Zero."""
    return np.zeros_like(image)


def blur(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Close to a Gaussian blur over `NEIGHBOURHOOD` of the shorter side, by three box blurs, ten times as fast.

    Source: Wells, "Efficient synthesis of Gaussian filters by cascaded uniform filters" (1986).
    """
    reach = max(1.0, min(image.shape[:2]) * NEIGHBOURHOOD)
    # Three boxes of an odd width w have the variance 3 (w^2 - 1) / 12.
    width = 2 * round((math.sqrt(4 * reach**2 + 1) - 1) / 2) + 1
    blurred = image
    for _ in range(3):
        blurred = cv2.blur(blurred, (width, width)).astype(np.uint8, copy=False)
    return blurred


NOISE, CROP, BLACK, BLUR = Filter(noise), Filter(crop), Filter(black), Filter(blur)
