"""Time, memory and results of one step of a contestant, in a process that has done nothing else.

The step is forward and backward of all micro-batches, metrics included; collating is timed apart, as the data
loader's workers do it meanwhile, and the optimiser's step, the same for all, is left out.
"""

import gc
import multiprocessing
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contestants import CONTESTANTS
from model import Loaded, load
from presets import Checkpoint, Preset
from rows import Rows
from runners import Runner

from firempo_plugin.forward.flops import flops

STATUS = Path("/proc/self/status")
LIBRARIES = ["llamafactory.train.dpo.trainer", "firempo_plugin.host.train.trainer", "firempo_plugin.demo.scans"]
"""Imported once, and copied into every fresh process."""
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
MATRIX_RUNS = 10


@dataclass(frozen=True)
class Task:
    """A contestant and what it is to run.

    Attributes:
        contestant: Its name.
        checkpoint: Of the model.
        rows: Of the step that is measured.
        warm_up: Of the step before, which is not.
    """

    contestant: str
    checkpoint: Checkpoint
    rows: Rows
    warm_up: Rows


@dataclass(frozen=True)
class Measurement:
    """What one step took.

    Attributes:
        seconds: Forward and backward together.
        backward_seconds: Of them, in backward, with what checkpointing recomputes.
        collate_seconds: To make the batches from rows, images decoded and resized, in one process.
        memory: Peak bytes above what was there before the step: the model, its adapter and the libraries.
        peak: Peak bytes; on the CPU, with the libraries.
        tokens: Places that the language model computed, padding included.
        flops: Floating-point operations of the step, at least; see `forward.flops`.
        loss: Of the step.
        gradient_norm: Of the adapter's gradients.
    """

    seconds: float
    backward_seconds: float
    collate_seconds: float
    memory: int
    peak: int
    tokens: int
    flops: float
    loss: float
    gradient_norm: float


class Workers:
    """Runs tasks one at a time, on the CPU each in a fresh process, on an accelerator all in one.

    Args:
        device: "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self._fresh = device == "cpu"
        self._context = multiprocessing.get_context("forkserver" if self._fresh else "spawn")
        if self._fresh:
            self._context.set_forkserver_preload(LIBRARIES)
        self._pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Calls a function of this module in a worker.

        Raises:
            RuntimeError: The worker failed, or was killed; says why.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, self._context, initializer=_volunteer)
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self.close()
            raise RuntimeError("the process was killed, most likely for want of memory") from None
        except Exception as error:
            places = re.findall(r", in (\w+)$", str(error.__cause__), re.MULTILINE)
            raise RuntimeError(f"{type(error).__name__}: {error} (in {places[-1]})") from error
        finally:
            if self._fresh:
                self.close()

    def close(self) -> None:
        """Ends the worker."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _volunteer() -> None:
    """Lets the system, should it run out of memory, end this process before any other."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def measure(task: Task) -> Measurement:
    """Runs one step of a contestant after a warm-up."""
    loaded = load(task.checkpoint)
    runner = CONTESTANTS[task.contestant].build(loaded)
    try:
        runner.run(runner.collate(task.warm_up), lambda backward: backward)
        started = time.perf_counter()
        batches = runner.collate(task.rows)
        return measure_step(loaded, runner, batches, time.perf_counter() - started)
    finally:
        loaded.model.zero_grad(set_to_none=True)
        del runner
        gc.collect()


def measure_step(loaded: Loaded, runner: Runner, batches: list[Any], collate_seconds: float) -> Measurement:
    """Runs a step of batches that a warm runner has collated; leaves its gradients."""
    stopwatch = Stopwatch(loaded.device)
    before = start_of_peak(loaded)
    started = stopwatch.now()
    loss = runner.run(batches, stopwatch.around)
    seconds = stopwatch.now() - started
    peak = _peak(loaded.device)
    work = runner.work(batches)
    return Measurement(
        seconds=seconds,
        backward_seconds=stopwatch.seconds,
        collate_seconds=collate_seconds,
        memory=peak - before,
        peak=peak,
        tokens=work.tokens,
        flops=flops(loaded.model, work),
        loss=loss,
        gradient_norm=_gradient_norm(loaded.model),
    )


def run_first_epoch(task: Task) -> None:
    """Runs a step for what it leaves behind in the contestant's caches."""
    loaded = load(task.checkpoint)
    runner = CONTESTANTS[task.contestant].build(loaded)
    runner.run(runner.collate(task.rows), lambda backward: backward)
    loaded.model.zero_grad(set_to_none=True)


def matrix_throughput(preset: Preset, threads: int, side: int | None = None) -> float:
    """Floating-point operations a second of a large matrix product in the preset's dtype; the best of some runs."""
    torch.set_num_threads(threads)
    side = side or MATRIX_SIDE[preset.device]
    device, dtype = torch.device(preset.device), getattr(torch, preset.dtype)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    stopwatch = Stopwatch(device)
    best = float("inf")
    for _ in range(MATRIX_RUNS):
        started = stopwatch.now()
        torch.mm(left, right)
        best = min(best, stopwatch.now() - started)
    return 2 * side**3 / best


class Stopwatch:
    """A clock that waits for the accelerator, and the time spent in the functions it is put around."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = 0.0

    def now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def around(self, function: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any, **kwargs: Any) -> None:
            started = self.now()
            function(*args, **kwargs)
            self.seconds += self.now() - started

        return timed


def start_of_peak(loaded: Loaded) -> int:
    """Forgets the peak so far; returns the bytes in use."""
    loaded.model.zero_grad(set_to_none=True)
    gc.collect()
    if loaded.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return start_of_peak_of_process()


def start_of_peak_of_process() -> int:
    """Forgets the peak of the process's memory so far; returns the bytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else status_bytes("VmHWM")


def status_bytes(name: str) -> int:
    """A size in bytes from the kernel's account of this process."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {name}")
    return 1024 * int(found[1])


def _gradient_norm(model: Any) -> float:
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))
