"""Seconds of a function on the device, and what a failure is called."""

import gc
import time
from collections.abc import Callable
from statistics import median

import torch

from gpu.stage import described


def seconds_of(function: Callable[[], object], device: str, runs: int, warm_up: int = 3) -> float:
    """The median time of a function over some runs, between events of the device where it has them."""
    for _ in range(warm_up):
        function()
    if device == "cpu":
        return median(_on_host(function) for _ in range(runs))
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    torch.cuda.synchronize()
    for started, ended in pairs:
        started.record()
        function()
        ended.record()
    torch.cuda.synchronize()
    return median(started.elapsed_time(ended) for started, ended in pairs) / 1e3


def _on_host(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def failure(error: BaseException) -> str:
    """What a table says of an error."""
    return "out of memory" if isinstance(error, torch.OutOfMemoryError) else described(error)


def release() -> None:
    """Gives back what is no longer used; after a failure, once its traceback is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
