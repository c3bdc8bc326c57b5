"""Sensitivity to evidence: a second noised image, whose noise lies elsewhere, to compare the first one with.

Noise may lower the probability of an answer wherever it lies. What the evidence is worth to a model is how much more
its answer loses where the noise covers the evidence than where the same noise covers as much of something else.
"""

from dataclasses import MISSING, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..images.corruptions import CORRUPTIONS, Corruption, corruption
from ..images.masks import Mask, box_around
from ..images.noise import corrupt, seed_of
from ..images.pixels import Pixels
from ..images.settings import NoiseConfig
from ..records import RejectedError
from ..settings import config_key
from .measure import Column, Measure

LIKENESS = 0.1
"""The place is drawn from this share of the possible ones: those whose mean level is closest to the region's, since
noise that is clipped at black or white changes a dark place otherwise than a grey one."""
CLOSING = 3
"""Pixels: where the noise happened to be 0, the region would have holes."""
SIMILAR = 1.5
"""How far the strength of the noise in the row may be from the one asked for, as a factor either way."""
FEWEST = 50
"""Pixels of which a strength can be told; a smaller region is not compared."""


@dataclass(frozen=True)
class Options:
    """Whose phrases are scored, and what noise is put elsewhere."""

    dataset: str = config_key(MISSING, "pairwise set with noised images, as for training")
    dataset_dir: str = config_key("data", "its folder")
    corruption: str = config_key(
        NoiseConfig.corruption, "the one that its noised images were made with", choices=CORRUPTIONS
    )
    sigma: float = config_key(NoiseConfig.sigma, "theirs; of noise only", above=0)
    options: dict[str, Any] = config_key({}, "theirs, as noise.options of the build")

    def __post_init__(self) -> None:
        corruption(self.corruption, self.sigma, self.options)
        if not CORRUPTIONS.load(self.corruption).fills:
            raise UserError(
                f"corruption cannot be {self.corruption}: it leaves a part of its region as it is, and the region is "
                "known by where the two images differ"
            )

    @property
    def how(self) -> Corruption:
        """As `images.noise` takes it."""
        return corruption(self.corruption, self.sigma, self.options)


@dataclass(frozen=True)
class Elsewhere:
    """An image with noise beside the region.

    Attributes:
        image: The clean image with the moved noise.
        region: Pixels of the region, and of the place that got the noise.
        moved: Columns to the right and rows down that the region was moved.
    """

    image: Pixels
    region: int
    moved: tuple[int, int]


def noise_elsewhere(clean: Pixels, noised: Pixels, how: Corruption, item: str, index: int = 0) -> Elsewhere:
    """Corrupts a place of the shape and size of the region in which two images differ, without overlap.

    Args:
        clean: [H, W] or [H, W, 3].
        noised: The same, corrupted in a region.
        how: The corruption that the noised image has.
        item: The item's id; the same item always gets the same place and the same noise.
        index: Of the image, where an item has several.

    Raises:
        RejectedError: The images do not differ, or differ in size; the row's corruption is another one; or there is
            no room beside the region.
    """
    region = region_of(clean, noised)
    seed = seed_of(item, index, how)
    _require_alike(clean, noised, region, how, seed)
    place, moved = _place(clean, region, seed)
    return Elsewhere(corrupt(clean, place, how, seed), int(region.sum()), moved)


def region_of(clean: Pixels, noised: Pixels) -> Mask:
    """Where two images differ, small holes closed: [H, W].

    Raises:
        RejectedError: They have different sizes, or do not differ.
    """
    if clean.shape != noised.shape:
        raise RejectedError(f"the noised image has another size: {noised.shape[:2]}, the clean one {clean.shape[:2]}")
    differs = clean != noised
    changed = (differs.any(axis=-1) if differs.ndim == 3 else differs).astype(np.uint8)
    if not changed.any():
        raise RejectedError("the noised image is the clean one")
    border = cv2.copyMakeBorder(changed, CLOSING, CLOSING, CLOSING, CLOSING, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(border, cv2.MORPH_CLOSE, np.ones((CLOSING, CLOSING), np.uint8))
    inner: Mask = closed[CLOSING:-CLOSING, CLOSING:-CLOSING] > 0
    return inner


def _require_alike(clean: Pixels, noised: Pixels, region: Mask, how: Corruption, seed: int) -> None:
    """The corruption asked for must change the region about as much as the row's own did."""
    if region.sum() < FEWEST:
        return
    found, made = (_strength(clean, image, region) for image in (noised, corrupt(clean, region, how, seed)))
    if not made / SIMILAR <= found <= made * SIMILAR:
        what = f"{how.name} of sigma {how.sigma:g}" if how.sigma else how.name
        raise RejectedError(
            f"another corruption: the row's noise changes its region by {found:.1f} levels (root mean square), "
            f"{what} by {made:.1f}; set corruption, sigma and options to those of the pairs"
        )


def _strength(clean: Pixels, other: Pixels, region: Mask) -> float:
    difference = other[region].astype(np.float64) - clean[region]
    return float(np.sqrt((difference**2).mean()))


def _place(clean: Pixels, region: Mask, seed: int) -> tuple[Mask, tuple[int, int]]:
    """The region moved to a place that it does not overlap, and by how many columns and rows.

    Raises:
        RejectedError: There is none.
    """
    left, top, right, bottom = (round(edge) for edge in box_around(region))
    shape = region[top:bottom, left:right].astype(np.float32)
    overlap = cv2.matchTemplate(region.astype(np.float32), shape, cv2.TM_CCORR)
    free = np.flatnonzero(overlap < 0.5)
    if not len(free):
        share = 100 * region.mean()
        raise RejectedError(f"no room: nowhere does the region, {share:.0f} % of the image, fit beside itself")
    level = cv2.matchTemplate(_grey(clean), shape, cv2.TM_CCORR).ravel()
    distance = np.abs(level[free] - level[np.ravel_multi_index((top, left), overlap.shape)])
    alike = free[np.argsort(distance, kind="stable")[: max(1, round(len(free) * LIKENESS))]]
    first = int(np.random.PCG64(seed).random_raw()) % len(alike)
    for choice in np.roll(alike, -first).tolist():
        row, column = divmod(choice, overlap.shape[1])
        place = np.zeros_like(region)
        place[row : row + shape.shape[0], column : column + shape.shape[1]] = shape > 0
        if not (place & region).any():  # the overlaps above are rounded
            return place, (column - left, row - top)
    raise RejectedError("no room: every place that seemed free overlaps the region")


def _grey(image: Pixels) -> NDArray[np.float32]:
    return (image if image.ndim == 2 else image.mean(axis=-1)).astype(np.float32)


def drops(clean: float, noised: float, elsewhere: float) -> dict[str, float]:
    """What the phrase loses by noise in the region and elsewhere, and the difference, from log-probabilities.

    Args:
        clean, noised, elsewhere: log pi of the chosen response's phrase tokens, summed, under the three images.
    """
    evidence, other = clean - noised, clean - elsewhere
    return {"evidence_drop": evidence, "elsewhere_drop": other, "evidence_gap": evidence - other}


SENSITIVITY = Measure(
    "sensitivity",
    2,  # the version: raised also when other values come of `images.noise`, or of where the model is run
    (
        Column("Sensitivity", "evidence_gap"),
        Column("Drop, region", "evidence_drop", higher_is_better=None),
        Column("Drop, elsewhere", "elsewhere_drop", higher_is_better=None),
    ),
    options=Options,
    choices={
        "evidence_drop": "log pi of the chosen response's phrase tokens, summed: clean minus noised image; nats",
        "elsewhere_drop": "the same, with noise of the region's shape and size at a place that it does not overlap",
        "evidence_gap": "evidence_drop - elsewhere_drop",
        "place": f"drawn, by the item's id, from the {LIKENESS:.0%} of the free places whose mean level is closest to "
        "the region's",
    },
)
