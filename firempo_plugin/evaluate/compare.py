"""Statistics of a table: means with bootstrap intervals, differences to a baseline, and tests.

A group is one or several models, its seeds, that were measured on the same items. What is estimated is the mean that
a further seed of the group would have on further items like these, so that both are drawn anew in every draw of the
bootstrap: the items with replacement, the same for all models, so that differences are paired; and the seeds within
each group with replacement, so that the spread between seeds counts as much as the spread between items. With one
seed, only the items are drawn, and the interval says nothing about other seeds. With few seeds it is somewhat too
narrow: drawing from S seeds shows (S - 1) / S of their variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_AT_ONCE = 2_000_000
"""Numbers drawn at a time, which bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval.

    Attributes:
        value: The estimate.
        low, high: The interval.
        n: Items that it rests on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of one seed against one of the baseline.

    Attributes:
        won, lost: Items that only the group's seed has right, and that only the baseline's has right.
        p: Two-sided.
    """

    won: int
    lost: int
    p: float


@dataclass(frozen=True)
class Difference:
    """What a group has more than the baseline.

    Attributes:
        interval: Of the difference of the means.
        p: Two-sided.
        test: "McNemar" for one seed on each side and values of 0 and 1 of items that stand alone; else "bootstrap",
            over items and seeds, since counts of several seeds over the same items, and of several items of one image,
            are not independent and must not be added up.
        seeds: McNemar's test of each seed, against the baseline's seed in the same place, or its only one; empty
            where the values are not 0 and 1, or the seeds do not match.
        p_holm: `p` after Holm's correction over the rows of the table.
    """

    interval: Interval
    p: float
    test: str
    seeds: tuple[McNemar, ...] = ()
    p_holm: float | None = None


@dataclass(frozen=True)
class Cell:
    """What one row of a table has in one column.

    Attributes:
        mean: Of each seed over its items, then over the seeds; None where a seed has no value at all.
        difference: To the baseline; None for the baseline itself, without one, and where no item is common.
    """

    mean: Interval | None
    difference: Difference | None = None


def column(
    values: Mapping[str, Numbers],
    baseline: str | None,
    *,
    draws: int,
    confidence: float,
    seed: int,
    clusters: Sequence[str] = (),
) -> dict[str, Cell]:
    """One column of a table, a metric: each row's mean, and what it has more than the baseline.

    A mean is over the items that a seed has a value for; a difference over those that all models of both rows have one
    for. The bootstrap's p is twice the smaller share of draws on either side of zero, counting the estimate itself as
    a draw; draws of exactly zero count on both sides.

    Args:
        values: By row, seeds x items, the same items in the same order; NaN where there is no value.
        baseline: The row that the others are compared with.
        draws: Of the bootstrap.
        confidence: Of the intervals.
        seed: Of the draws.
        clusters: By item, what it is drawn together with, such as the image of several questions; empty: each alone.
            Where there are any, no p is McNemar's, whose questions must be independent.
    """
    groups = {("mean", row): group for row, group in values.items() if _has_values(group)}
    if baseline is not None and ("mean", baseline) in groups:
        for row in [row for kind, row in groups if row != baseline]:
            a, b = values[row], values[baseline]
            common = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
            if common.any():
                groups["row", row], groups["baseline", row] = (np.where(common, side, np.nan) for side in (a, b))
    found = dict(zip(groups, _draw(list(groups.values()), draws, seed, clusters), strict=True)) if groups else {}
    cells: dict[str, Cell] = {}
    for row in values:
        mean = _interval(groups["mean", row], found["mean", row], confidence) if ("mean", row) in groups else None
        difference = None
        if ("row", row) in groups:
            a, b = groups["row", row], groups["baseline", row]
            drawn = found["row", row] - found["baseline", row]
            difference = _difference(a, b, drawn, confidence, clusters)
        cells[row] = Cell(mean, difference)
    return _corrected(cells)


def _has_values(group: Numbers) -> bool:
    return group.size > 0 and not np.isnan(group).all(axis=1).any()


def _mean(group: Numbers) -> float:
    return float(np.nanmean(group, axis=1).mean())


def _interval(group: Numbers, found: Numbers, confidence: float) -> Interval:
    low, high = np.nanquantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_mean(group), float(low), float(high), int((~np.isnan(group)).any(axis=0).sum()))


def _difference(a: Numbers, b: Numbers, found: Numbers, confidence: float, clusters: Sequence[str] = ()) -> Difference:
    around = _interval(a, found, confidence)
    interval = Interval(_mean(a) - _mean(b), around.low, around.high, around.n)
    seeds = _by_seed(a, b)
    if len(a) == len(b) == 1 and seeds and not clusters:
        return Difference(interval, seeds[0].p, "McNemar", seeds)
    drawn = found[~np.isnan(found)]
    sides = (int((drawn >= 0).sum()), int((drawn <= 0).sum()))
    p = min(1.0, 2 * (min(sides) + 1) / (len(drawn) + 1))
    there = ~np.isnan(a).all(axis=0)
    independent = len({*np.asarray(clusters)[there]}) if clusters else interval.n
    return Difference(interval, max(p, 2.0 ** (1 - independent)), "bootstrap", seeds)


def _by_seed(a: Numbers, b: Numbers) -> tuple[McNemar, ...]:
    both = np.concatenate([a, b])
    if len(b) not in (1, len(a)) or not set(both[~np.isnan(both)]) <= {0.0, 1.0}:
        return ()
    counts = ((int((x > y).sum()), int((x < y).sum())) for x, y in zip(a, np.broadcast_to(b, a.shape), strict=True))
    return tuple(McNemar(won, lost, mcnemar(won, lost)) for won, lost in counts)


def _corrected(cells: dict[str, Cell]) -> dict[str, Cell]:
    """The cells with their p values corrected together."""
    tested = {row: cell.difference for row, cell in cells.items() if cell.difference is not None}
    corrected = holm([difference.p for difference in tested.values()])
    for (row, difference), p in zip(tested.items(), corrected, strict=True):
        cells[row] = Cell(cells[row].mean, replace(difference, p_holm=p))
    return cells


def mcnemar(won: int, lost: int) -> float:
    """McNemar's exact test: the two-sided binomial p of the discordant pairs; 1 where there are none."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold for all tests of a family together."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = highest
    return corrected


def _draw(groups: list[Numbers], draws: int, seed: int, clusters: Sequence[str]) -> list[Numbers]:
    """The means of groups in every draw: items drawn for all of them together, seeds within each.

    Args:
        groups: Each seeds x items, of the same items; NaN where there is no value.
        clusters: See `column`.

    Returns:
        An array of `draws` for each group.
    """
    rng = np.random.default_rng(seed)
    names, belongs = np.unique(clusters or np.arange(groups[0].shape[1]), return_inverse=True)
    n = len(names)
    sums = [np.nan_to_num(values).T for values in groups]
    counts = [(~np.isnan(values)).astype(np.float64).T for values in groups]
    found: list[list[Numbers]] = [[] for _ in groups]
    left = draws
    while left:
        size = min(left, max(1, _AT_ONCE // len(belongs)))
        places = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(places.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        weights = weights[:, belongs]
        for place, values in enumerate(groups):
            seeds = len(values)
            picked = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
            with np.errstate(invalid="ignore", divide="ignore"):
                means = (weights @ sums[place]) / (weights @ counts[place])
                # A seed none of whose values was drawn has no mean in this draw, and the others stand for it.
                there = picked * ~np.isnan(means)
                found[place].append((there * np.nan_to_num(means)).sum(axis=1) / there.sum(axis=1))
        left -= size
    return [np.concatenate(parts) for parts in found]
