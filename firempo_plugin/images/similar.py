"""Which other image looks most like one, by the correlation of small grey thumbnails.

A thumbnail has so few pixels that float32 holds every sum of products of its levels exactly, so that the order in which
a machine adds them does not decide which image is found.
"""

from collections.abc import Collection, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from .pixels import Pixels

SIDE = 16
"""Of a thumbnail: 256 products of two levels stay below 2^24."""
SAME = 0.99
"""Thumbnails that correlate more are taken for one picture: a copy of another size, format or compression."""

Thumbnail = NDArray[np.float32]
"""[SIDE * SIDE], whole levels 0-255."""


def thumbnail(image: Pixels) -> Thumbnail:
    """The grey levels of an image, [H, W] or [H, W, 3], at SIDE by SIDE whatever its shape."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = small if small.ndim == 2 else np.rint(small.mean(axis=-1))
    return grey.reshape(-1).astype(np.float32)


class Gallery:
    """Pictures by id, each with the marks of what it belongs to.

    Args:
        thumbnails: By id.
        marks: Of every one of them; two pictures with a mark in common are never taken for each other's like.
    """

    def __init__(self, thumbnails: Mapping[str, Thumbnail], marks: Mapping[str, Collection[str]]) -> None:
        self._ids = sorted(thumbnails)
        self._place = {name: place for place, name in enumerate(self._ids)}
        self._marks = marks
        self._marked: dict[str, list[int]] = {}
        for name, place in self._place.items():
            for mark in marks[name]:
                self._marked.setdefault(mark, []).append(place)
        self._levels = np.array([thumbnails[name] for name in self._ids])
        self._sums = self._levels.sum(axis=1).astype(np.float64)
        self._spreads = self._levels.shape[1] * (self._levels**2).sum(axis=1).astype(np.float64) - self._sums**2

    def like(self, name: str) -> str | None:
        """The id of the picture whose thumbnail correlates most with this one's; of equals, the first by id.

        None where none is left that shares no mark with it, correlates at all, and is not the SAME picture.
        """
        place = self._place[name]
        found = self.likeness(place)
        found[[place, *(other for mark in self._marks[name] for other in self._marked[mark])]] = 0
        found[found > SAME] = 0
        best = int(found.argmax())
        return self._ids[best] if found[best] > 0 else None

    def likeness(self, place: int) -> NDArray[np.float64]:
        """Pearson's correlation of a thumbnail with every one, in the order of the ids; 0 for flat ones."""
        products = (self._levels @ self._levels[place]).astype(np.float64)
        together = self._levels.shape[1] * products - self._sums * self._sums[place]
        apart = np.sqrt(self._spreads * self._spreads[place])
        return np.divide(together, apart, out=np.zeros_like(together), where=apart > 0)
