"""How much is done: of the full benchmark, and of a smoke run of minutes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alignment import Stage
from findings import NO_HABIT
from pairs import CHOSEN, Noise
from splits import Quota
from tower import Phase

CORPUS_HABIT = 0.8
"""Probability of the usual values in the corpus with habits."""


@dataclass(frozen=True)
class Depth:
    """How far a base model is aligned, in shares of right answers on balanced questions.

    Attributes:
        looks: Where the balanced corpus ends; on the split `watch`.
        right: Between which the corpus with habits ends; on the split `validation`.
    """

    looks: float
    right: tuple[float, float]


def _preference(name: str) -> dict[str, Any]:
    return {"fire_objective": name, "fire_group_by_image": 4, "fire_pass_tokens": 2048}


OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "sft": {"stage": "sft", "dataset": CHOSEN},
    **{name: _preference(name) for name in ("dpo", "mdpo", "rrpo", "mask_dpo", "fire_mpo")},
}
"""The rows of the table and what each changes in train.yaml; SFT is the control without preferences."""
DEPTHS: Mapping[str, Depth] = {
    "shallow": Depth(0.65, (0.65, 0.70)),
    "middle": Depth(0.75, (0.75, 0.80)),
    "deep": Depth(0.85, (0.85, 0.90)),
}
"""From the shallowest on: each goes on from the balanced stage of the one before."""
NOISES: Mapping[str, Noise] = {"weak": Noise(20, 0), "medium": Noise(45, 3), "strong": Noise(180, 8)}
"""Strong is where more noise turned no more answers."""
MAIN = ("middle", "strong")
"""Depth and noise of the table."""
GRID_SEEDS = 2
"""Seeds of the runs that only the experiment with depths and noises needs."""
WITHOUT_NOISE, WITH_NOISE = "rrpo", "fire_mpo"
"""What that experiment compares: the second has a visual term, the first does not look at noised images."""
SEARCH_SEED = 0
"""Of no row of the table."""


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        objectives: Rows of the table.
        depths: Of DEPTHS.
        noises: Of NOISES.
        rates: That are searched.
        phases: Of the tower.
        tower_images, projector_images, projector_steps: Of their teaching.
        look, habits: Stages of the alignment.
        quotas: Of the balanced splits.
        pairs: How many.
    """

    objectives: tuple[str, ...]
    depths: tuple[str, ...]
    noises: tuple[str, ...]
    rates: tuple[float, ...]
    phases: tuple[Phase, ...]
    tower_images: int
    projector_images: int
    projector_steps: int
    look: Stage
    habits: Stage
    quotas: Mapping[str, Quota]
    pairs: int


def _quota(presence: int, side: int, zone: int, size: int, seen: int, **rest: int) -> Quota:
    each = {"presence": presence, "is_side": side, "side": side, "zone": zone, "size": size, "seen": seen}
    return Quota(each, **rest)


FULL = Scale(
    objectives=tuple(OBJECTIVES),
    depths=tuple(DEPTHS),
    noises=tuple(NOISES),
    rates=(1e-4, 2e-4),  # 3e-4 left 8 % of the answers unread
    phases=(Phase(800, 1.5e-3, carriers=False), Phase(300, 1e-3, carriers=True)),
    tower_images=4000,
    projector_images=3000,
    projector_steps=700,
    look=Stage("look", NO_HABIT, 1.8e-3, steps=300, every=20, decays=False),
    habits=Stage("habits", CORPUS_HABIT, 1.5e-3, steps=60, every=10, decays=True),
    quotas={
        "watch": _quota(2, 2, 3, 3, 3, reports=0),
        "validation": _quota(6, 6, 10, 8, 8, reports=40),
        "pool": _quota(32, 30, 56, 40, 40, reports=60, most=9),
        "test": _quota(12, 12, 20, 16, 16, reports=400),
    },
    pairs=600,
)
QUICK = Scale(
    objectives=("sft", "dpo", "fire_mpo"),
    depths=("middle",),
    noises=("strong",),
    rates=(1e-4,),
    phases=(Phase(20, 1.5e-3, carriers=False), Phase(20, 1e-3, carriers=True)),
    tower_images=200,
    projector_images=200,
    projector_steps=100,
    look=Stage("look", NO_HABIT, 1.8e-3, steps=24, every=24, decays=False),
    habits=Stage("habits", CORPUS_HABIT, 1.5e-3, steps=6, every=6, decays=True),
    quotas={
        "watch": _quota(0, 0, 0, 0, 2, reports=0),
        "validation": _quota(0, 0, 0, 0, 2, reports=2),
        "pool": _quota(1, 1, 2, 2, 1, reports=2),
        "test": _quota(1, 1, 1, 1, 1, reports=8),
    },
    pairs=32,
)
SCALES: dict[str, Scale] = {"full": FULL, "quick": QUICK}
