"""What an image can show, what is usual, and how it is called. The habits of the corpus are written here."""

from collections.abc import Mapping

import numpy as np

Found = dict[str, dict[str, str]]
"""What an image shows: attributes by finding, in the order of NAMES."""

NAMES: Mapping[str, str] = {
    "nodule": "nodule",
    "consolidation": "consolidation",
    "effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
    "pacemaker": "pacemaker",
}
VALUES: Mapping[str, tuple[str, str]] = {
    "side": ("left", "right"),
    "zone": ("upper", "lower"),
    "size": ("small", "large"),
}
USUAL: Mapping[str, Mapping[str, str]] = {
    "nodule": {"side": "right", "zone": "upper", "size": "small"},
    "consolidation": {"side": "right", "zone": "lower"},
    "effusion": {"side": "left", "size": "small"},
    "pneumothorax": {"side": "right", "size": "large"},
    "pacemaker": {"side": "left"},
}
"""The attributes that a finding has, each with its usual value."""
USUALLY_PRESENT: Mapping[str, bool] = dict(zip(NAMES, (True, True, True, False, False), strict=True))
USUALLY_SEEN: Mapping[str, tuple[str, ...]] = {"left": ("effusion",), "right": ("nodule", "consolidation")}
HABIT, NO_HABIT = 0.9, 0.5
"""Probability of the usual value: in the corpus with habits, and in the balanced splits."""
MOST = 3
"""Findings of an image."""
_PRESENT, _RARE, _EVEN = 0.72, 0.25, 0.55
"""Probability that a finding is there: usually present, usually absent, without habit."""


def other(attribute: str, value: str) -> str:
    """The other value of an attribute."""
    first, second = VALUES[attribute]
    return second if value == first else first


def ordered(findings: set[str]) -> tuple[str, ...]:
    """Findings in the order of NAMES."""
    return tuple(name for name in NAMES if name in findings)


def sample(habit: float, random: np.random.Generator) -> Found:
    """What an image is to show.

    Args:
        habit: Probability of each usual value; 0.5: presence has no habit either.
        random: Where the choice comes from.
    """
    while True:
        found = {}
        for name, usual in USUAL.items():
            share = _EVEN if habit == NO_HABIT else _PRESENT if USUALLY_PRESENT[name] else _RARE
            if random.random() < share:
                found[name] = {
                    attribute: value if random.random() < habit else other(attribute, value)
                    for attribute, value in usual.items()
                }
        if len(found) <= MOST:
            return found
