"""What the curves of a run say about it, from the entries of its log alone. Knows no trainer and no page.

What is healthy is the table of docs/run.md, with which a test holds `CURVES` together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from .signs import SATURATED_MARGIN, SURE, RunWatch, noise_of

Course = Literal["falls", "rises", "flat", "levels", "high"]
Level = Literal["good", "watch", "warn"]

ENOUGH = 8
"""Logged entries below which nothing is said."""
HALF, LATE = 50.0, 75.0
"""Percent of the run from which a curve that does not move, and a KL that still grows, is more than a slow start."""
SMALL = 0.01
"""What is no movement, in nats, in shares or in units of the margin."""
HIGH_ACCURACY = 0.75
"""A reward accuracy that need not climb further."""


@dataclass(frozen=True)
class Curve:
    """What a metric should do.

    Attributes:
        healthy: In the words of docs/run.md.
        good: The courses that are so.
        advice: By other courses, what is given, and from what percent of the run; before, and where there is none, a
            course is watched.
    """

    healthy: str
    good: tuple[Course, ...]
    advice: Mapping[Course, tuple[str, float]] = field(default_factory=dict)


_TERM: dict[Course, tuple[str, float]] = {"flat": ("too_slow", HALF), "rises": ("diverges", 0.0)}
_REWARD: dict[Course, tuple[str, float]] = {"flat": ("too_slow", HALF), "falls": ("diverges", 0.0)}
_FALLING = Curve("fall", ("falls",), _TERM)
_GROWING = Curve("grow from 0 and level off", ("levels",), {"rises": ("kl_grows", LATE)})
_BOTH = "accuracy climbs over the epoch, margin below 10"
CURVES = {
    "loss": Curve("falls slowly from its start", ("falls",), _TERM),
    "terms/rank": Curve("falls", ("falls",), _TERM),
    "terms/visual": Curve("stays near or falls", ("falls", "flat")),
    "terms/image": _FALLING,
    "terms/anchor": _FALLING,
    "terms/anchor_noised": _FALLING,
    "terms/kl_forward": _GROWING,
    "terms/kl_reverse": _GROWING,
    "terms/nll": Curve("does not rise", ("falls", "flat"), {"rises": ("diverges", 0.0)}),
    "rewards/accuracies": Curve(_BOTH, ("rises", "high"), _REWARD),
    "rewards/margins": Curve(_BOTH, ("rises",), _REWARD),
}
"""By metric. A term that is not here has no rule, and only its course is told."""


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a curve.

    Attributes:
        level: `good`; `watch`: nothing to do yet; `warn`: something to do.
        course: What it does, from the mean of its first entries, `start`, to that of its last ones, `now`.
        name: `early`, `idle` (no row has what it compares), the name of a piece of advice, or "" for none.
        healthy: What it should do; "" where no rule says so.
        values: What the advice says in numbers.
    """

    level: Level
    course: Course | None = None
    start: float = math.nan
    now: float = math.nan
    name: str = ""
    healthy: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


def verdict(metric: str, log: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judges one metric of a run.

    Args:
        metric: As it is logged.
        log: The entries of `trainer_log.jsonl` so far, of one run.
    """
    signs = _signs(log)
    if metric.startswith("rewards/") and "shortcut" in signs:
        return Verdict("warn", name="shortcut", values=signs["shortcut"])
    values = _values(metric, log)
    logged = len([entry for entry in log if metric in entry])
    if logged >= ENOUGH and not values and not any(_values("noised_share", log)):
        return Verdict("warn", name="idle")
    if len(values) < ENOUGH:
        return Verdict("watch", name="early", values={"logged": len(values), "needed": ENOUGH})
    course, start, now = _course(metric, values)
    if metric not in CURVES:
        return Verdict("watch", course, start, now)
    curve = CURVES[metric]
    advice = _more_than_a_course(metric, now, log, signs)
    if not advice and course in curve.advice:
        given, due = curve.advice[course]
        advice = given if log[-1]["percentage"] >= due else ""
    level: Level = "warn" if advice else "good" if course in curve.good else "watch"
    return Verdict(level, course, start, now, advice, curve.healthy)


def _signs(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    watch = RunWatch()
    for entry in log:
        watch.see(entry)
    reached = next((entry["current_steps"] for entry in log if (entry.get("rewards/accuracies") or 0.0) >= 1.0), 0)
    return {sign.name: {**sign.values, "step": reached} for sign in watch.found}


def _values(metric: str, log: Sequence[Mapping[str, Any]]) -> list[float]:
    found = [entry.get(metric) for entry in log]
    return [value for value in found if value is not None and math.isfinite(value)]


def _course(metric: str, values: Sequence[float]) -> tuple[Course, float, float]:
    """What a curve does, and between which means; what its noise may have done is no movement."""
    few = max(2, len(values) // 4)
    start, now = fmean(values[:few]), fmean(values[-few:])
    sure = max(SURE * noise_of(values) * math.sqrt(2 / few), SMALL)
    if now < start - sure:
        return "falls", start, now
    if now > start + sure:
        return "levels" if metric.startswith("terms/kl") and _levels_off(values) else "rises", start, now
    if metric == "rewards/accuracies" and now >= HIGH_ACCURACY:
        return "high", start, now
    return "levels" if metric.startswith("terms/kl") else "flat", start, now


def _levels_off(values: Sequence[float]) -> bool:
    """Whether the second half grows by less than half of what the first one did."""
    third = len(values) // 3
    first, middle, last = fmean(values[:third]), fmean(values[third:-third]), fmean(values[-third:])
    return last - middle < (middle - first) / 2


def _more_than_a_course(
    metric: str, now: float, log: Sequence[Mapping[str, Any]], signs: Mapping[str, Mapping[str, float]]
) -> str:
    """The advice that a curve asks for whatever its course, since others or its height do."""
    if metric == "terms/visual" and "noise_tells" in signs:
        return "noise_tells"
    if metric != "rewards/margins":
        return ""
    if now > SATURATED_MARGIN:
        return "margin_high"
    sides = [_values(f"rewards/{side}", log) for side in ("chosen", "rejected")]
    if all(len(side) >= ENOUGH and _course("", side)[0] == "falls" for side in sides):
        return "both_sink"
    return ""
