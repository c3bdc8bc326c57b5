"""The signs of a run that learns something else than it should. Knows no trainer.

Sources: of the shortcut arXiv 2606.12590, training dynamics; of noise that does not hide runs of a real language model,
whose visual term nearly doubled in 38 steps while the rank fell.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

SATURATED_MARGIN = 10.0
EARLY_EPOCH = 0.1

BLOCK = 0.025
"""Epochs whose entries are averaged before they are looked at: a step of eight rows says little."""
SOON, LATE = 3, 10
"""Such blocks that are looked at together: for a steep rise at any time, and for one that lasts."""
SURE = 3.0
"""Standard errors that a rise must be beyond its bound."""
STEEP_RISE, SLIGHT_RISE, FALL = 0.35, 0.02, 0.05
LATE_EPOCH = 0.75


@dataclass(frozen=True)
class Sign:
    """What gave it away.

    Attributes:
        name: `shortcut`: the responses are told apart by something else than the finding. `noise_tells`: the
            preference is learnt whatever the image.
        values: What its message says in numbers, by name.
    """

    name: Literal["shortcut", "noise_tells"]
    values: dict[str, float]


class RunWatch:
    """Watches a run's log, entry by entry.

    Attributes:
        found: The signs so far, each once.
    """

    def __init__(self) -> None:
        self.found: list[Sign] = []
        self._saturated_at: float | None = None
        self._start: tuple[float, float] | None = None
        self._block: list[tuple[float, float]] = []
        self._block_ends = BLOCK
        self._recent: deque[tuple[float, float]] = deque(maxlen=LATE)

    def see(self, entry: Mapping[str, Any]) -> list[Sign]:
        """Takes the next entry of the log; the signs that appear with it."""
        known = {sign.name for sign in self.found}
        new = [sign for sign in (self._shortcut(entry), self._noise_tells(entry)) if sign and sign.name not in known]
        self.found += new
        return new

    def _shortcut(self, entry: Mapping[str, Any]) -> Sign | None:
        """Early saturation of the reward accuracy, followed by a runaway margin."""
        accuracy, margin = entry.get("rewards/accuracies"), entry.get("rewards/margins")
        if accuracy is None or margin is None or accuracy < 1.0:
            return None
        if self._saturated_at is None and entry["epoch"] <= EARLY_EPOCH:
            self._saturated_at = entry["epoch"]
        if self._saturated_at is None or margin <= SATURATED_MARGIN:
            return None
        return Sign("shortcut", {"epoch": self._saturated_at, "margin": margin})

    def _noise_tells(self, entry: Mapping[str, Any]) -> Sign | None:
        """A visual term that rises while the rank falls; at first it does so in healthy runs too, but little."""
        visual, rank = entry.get("terms/visual"), entry.get("terms/rank")
        if visual is None or rank is None or not math.isfinite(visual + rank):
            return None
        self._block.append((visual, rank))
        if entry["epoch"] < self._block_ends:
            return None
        self._block_ends = (math.floor(entry["epoch"] / BLOCK) + 1) * BLOCK
        self._recent.append(_means(self._block))
        self._block = []
        self._start = self._start or self._recent[0]
        noise = noise_of([visual for visual, _ in self._recent])
        for blocks, rise, epoch in ((SOON, STEEP_RISE, 0.0), (LATE, SLIGHT_RISE, LATE_EPOCH)):
            if len(self._recent) < blocks or entry["epoch"] < epoch:
                continue
            now, beside = _means(list(self._recent)[-blocks:])
            sure = SURE * noise / math.sqrt(blocks)
            if now > self._start[0] + rise + sure and beside < self._start[1] - FALL:
                return Sign("noise_tells", {"start": self._start[0], "now": now, "epoch": entry["epoch"]})
        return None


def _means(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    visual, rank = (fmean(values) for values in zip(*pairs, strict=True))
    return visual, rank


def noise_of(values: Sequence[float]) -> float:
    """The standard deviation of numbers around their course, from the differences of neighbours."""
    return math.sqrt(fmean((b - a) ** 2 for a, b in pairwise(values)) / 2) if len(values) > 1 else 0.0
