"""Readers of medical question sets: `SOURCES[name].read(options)` gives records, and problems with their reasons."""

from typing import Any

from ...settings import describe
from .common import Problem, Source
from .iu_xray import IU_XRAY
from .leaks import leaks
from .llava_med import LLAVA_MED
from .mmedpo import MMEDPO
from .slake import SLAKE
from .table import TABLE
from .vqa_rad import VQA_RAD

SOURCES: dict[str, Source[Any, Any]] = {
    source.name: source for source in (VQA_RAD, SLAKE, IU_XRAY, LLAVA_MED, MMEDPO, TABLE)
}


def describe_options() -> list[str]:
    """One line for every option of every source: its name, its default and its meaning."""
    return [line for name, source in SOURCES.items() for line in describe(source.options, f"{name}.")]


__all__ = ["SOURCES", "Problem", "describe_options", "leaks"]
