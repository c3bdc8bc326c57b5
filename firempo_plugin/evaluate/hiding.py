"""Does the noise hide the evidence? What a model's preference for the right phrases loses by the noise of a row.

    m(image) = sum over the phrase tokens of chosen of log pi - sum over those of rejected of log pi, under an image

An image tells where m(clean) > 0 and m(black) <= 0: where a black image leaves the preference, the text alone tells,
and no noise can take it. The row's noise turns what the image tells where m(noised) <= 0, and leaves it telling where
more than half of m(clean) is left. Noise that turns few of these rows gives the visual term little to learn: the
preference is then learnt whatever the image.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from ..images.masks import Mask
from .compare import Interval, column

Verdict = Literal["told nothing before", "the text tells", "turned", "weaker", "still tells"]
HALF = 0.5
WHOLE = 0.95
"""Share of the image from which on a region counts as all of it."""
DRAWS, CONFIDENCE, SEED = 2000, 0.95, 1
SHOWN = 5
FEWEST = 5
"""Rows that an interval or an advice needs; of fewer a bootstrap draws nearly the same again and again."""


@dataclass(frozen=True)
class Trial:
    """Other noise for the same region: its sigma as a factor of the build's, and the region's area likewise."""

    sigma: float
    area: float

    def named(self, sigma: float) -> str:
        """For people, where the build's sigma is this."""
        return f"sigma {self.sigma * sigma:g}" + (f", region grown to {self.area:g} times" if self.area != 1 else "")


TRIALS = (Trial(1, 1), Trial(2, 1), Trial(3, 1), Trial(1, 2), Trial(2, 2), Trial(3, 2))
"""From the least that is changed to the most."""


@dataclass(frozen=True)
class Hiding:
    """What a row's noise does to a model's preference.

    Attributes:
        id: The row's place in the data.
        clean, noised: m under the row's own images.
        black: m under black images.
        share: Of the image's pixels that are noised; the largest of several images.
        elsewhere: m with noise of the region's shape beside it; None where it cannot be put there.
        why_not: Why it cannot.
        trials: m with other noise, in the order of `TRIALS`; none where the image is noised all over (`WHOLE`).
    """

    id: str
    clean: float
    noised: float
    black: float
    share: float
    elsewhere: float | None = None
    why_not: str = ""
    trials: tuple[float, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What became of the preference."""
        if self.clean <= 0:
            return "told nothing before"
        if self.black > 0:
            return "the text tells"
        if self.noised <= 0:
            return "turned"
        return "still tells" if self.noised > HALF * self.clean else "weaker"

    def as_line(self) -> dict[str, Any]:
        """As JSON lines list it."""
        return {**asdict(self), "verdict": self.verdict}


def grown(region: Mask, factor: float) -> Mask:
    """A region with the pixels closest to it, until it has so many times its area or the whole image: [H, W]."""
    wanted = min(region.size, round(factor * region.sum()))
    distance = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    bound = np.partition(distance.ravel(), wanted - 1)[wanted - 1]
    larger: Mask = distance <= bound
    return larger


@dataclass(frozen=True)
class Summary:
    """What the rows that were looked at say together.

    Attributes:
        rows: Of them.
        sigma: Of the build's noise.
        skipped: Reasons of the rows that cannot be looked at.
    """

    rows: Sequence[Hiding]
    sigma: float
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def telling(self) -> list[Hiding]:
        """Rows in which the image makes the model prefer the right phrases, and the text alone does not."""
        return [row for row in self.rows if row.clean > 0 and row.black <= 0]

    @property
    def turned(self) -> Interval:
        """Share of the telling rows that the noise turns."""
        return _interval({"": [float(row.noised <= 0) for row in self.telling]})[0]

    def losses(self) -> tuple[Interval, Interval] | None:
        """What m loses by the row's noise, and how much more than by noise elsewhere; None where no row has both."""
        pairs = [(row.clean - row.noised, row.clean - row.elsewhere) for row in self.rows if row.elsewhere is not None]
        if not pairs:
            return None
        own, other = zip(*pairs, strict=True)
        mean, difference = _interval({"own": list(own), "elsewhere": list(other)})
        assert difference is not None
        return mean, difference

    def trials(self) -> dict[Trial, float]:
        """Share of the telling rows with a region that other noise turns."""
        rows = [row for row in self.telling if row.trials]
        if not rows:
            return {}
        shares = np.mean([[m <= 0 for m in row.trials] for row in rows], axis=0)
        return {trial: float(share) for trial, share in zip(TRIALS, shares, strict=True)}


def _interval(values: Mapping[str, list[float]]) -> tuple[Interval, Interval | None]:
    """The mean of the first row, and what it has more than the last, with bootstrap intervals over rows."""
    names = list(values)
    arrays = {name: np.array([numbers]) for name, numbers in values.items()}
    cells = column(arrays, names[-1], draws=DRAWS, confidence=CONFIDENCE, seed=SEED)
    first = cells[names[0]]
    assert first.mean is not None
    return first.mean, first.difference.interval if first.difference else None


def told(summary: Summary) -> Iterator[str]:
    """The summary line by line, with what to do at its end."""
    rows, telling = summary.rows, summary.telling
    for reason, count in summary.skipped.most_common():
        yield f"{count:6} {_rows(count)} left aside: {reason}"
    if not rows:
        yield "No row could be looked at."
        return
    whole = sum(row.share >= WHOLE for row in rows)
    yield f"{len(rows):6} {_rows(len(rows))} looked at, {whole} of them noised all over"
    counts = Counter(row.verdict for row in rows)
    yield f"{counts['told nothing before']:6}   the model prefers the wrong phrases on the clean image too"
    yield f"{counts['the text tells']:6}   the text alone tells: the right phrases are preferred on a black image too"
    yield f"{len(telling):6}   the image tells"
    if not telling:
        yield (
            "No image tells: the pairs come from wrong answers alone, the model answers from the text, or images are "
            "not seen. No noise can be judged by it."
        )
        return
    for verdict in ("turned", "weaker", "still tells"):
        yield f"{counts[verdict]:6}     {verdict:12} {counts[verdict] / len(telling):6.1%}"
    yield f"       the noise turns {_percent(summary.turned)} of what images tell"
    yield from _beside_elsewhere(summary)
    trials = summary.trials()
    if trials:
        yield "       what other noise on the same regions would turn:"
    for trial, share in trials.items():
        yield f"         {trial.named(summary.sigma):40} {share:6.1%}"
    still = sorted((row for row in telling if row.verdict == "still tells"), key=lambda row: row.noised, reverse=True)
    if still:
        yield f"       rows that still tell most: {'; '.join(row.id for row in still[:SHOWN])}"
    yield advice(summary)


def _beside_elsewhere(summary: Summary) -> Iterator[str]:
    losses = summary.losses()
    if losses is None:
        reasons = Counter(row.why_not for row in summary.rows if row.why_not)
        yield f"       no row could be compared with noise elsewhere: {reasons.most_common(1)[0][0]}"
        return
    own, more = losses
    yield (
        f"       the preference loses {_nats(own)} nats by the row's noise, {_nats(more)} more than by noise elsewhere "
        f"({own.n} {_rows(own.n)})"
    )


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _percent(found: Interval) -> str:
    return f"{found.value:.1%}" + (f" [{found.low:.1%}, {found.high:.1%}]" if found.n >= FEWEST else "")


def _nats(found: Interval) -> str:
    return f"{found.value:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if found.n >= FEWEST else "")


def advice(summary: Summary) -> str:
    """What to do, in one sentence or two."""
    if len(summary.telling) < FEWEST:
        return f"Fewer than {FEWEST} images tell: too few to advise anything. Look at more of them with --rows."
    losses = summary.losses()
    if losses is not None and losses[1].n >= FEWEST and losses[1].low <= 0:
        return (
            "Noise on the regions does not surely cost more than noise elsewhere: the masks miss the evidence, the "
            "model does not look at it, or the rows are too few to tell. Look at rows with `firempo preview` before "
            "training with a visual term."
        )
    if summary.turned.value >= HALF:
        return "The noise hides: it turns at least half of what images tell."
    trials = summary.trials()
    if trials.get(TRIALS[0], 0.0) >= HALF:
        return (
            f"Most of the evidence shines through, but noise of sigma {summary.sigma:g} turns half of the rows with a "
            "region: the others are noised all over, or corrupted otherwise. Leave out rows without a target, or "
            "export again with this noise."
        )
    enough = next((trial for trial, share in trials.items() if share >= HALF), None)
    if enough is not None:
        do = [f"noise.sigma: {enough.sigma * summary.sigma:g}"] if enough.sigma != 1 else []
        do += [f"regions of {enough.area:g} times the area (wider masks)"] if enough.area != 1 else []
        how = " and ".join(do)
        return f"Most of the evidence shines through. Half of the rows with a region would be turned by {how}."
    return (
        "Most of the evidence shines through, and none of the noises tried turns half of the rows: the evidence lies "
        "outside the regions, or the noise itself tells where to look. Look at rows with `firempo preview`; the visual "
        "term will have little to learn from."
    )
