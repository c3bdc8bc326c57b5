"""`llamafactory-cli` itself with a clock in its trainer: `python -m gpu.probe FILE train YAML key=value ...`.

The clock is laid into the transformers library alone; neither LLaMA-Factory nor this project knows of it.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS

Mark = Any


class Clock(TrainerCallback):
    """Times the steps of a run, and of each the part until its batches are there.

    On a GPU both lie between events of its stream: that part is then what the device waits for the batches and their
    copies, and nothing where the host has them ready before the device has done the step before.

    Args:
        file: Gets everything as JSON when the training ends.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._steps: list[dict[str, Any]] = []
        self._marks: list[tuple[Mark, Mark, Mark, Mark]] = []
        self._asked: tuple[Mark, Mark] = (None, None)
        self._last: Mark = None
        self._began = 0.0
        self._trainer: Any = None

    def around(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """`Trainer.get_batch_samples` between two marks."""

        def get_batch_samples(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            before = _mark()
            samples = plain(trainer, *args, **kwargs)
            self._asked, self._trainer = (before, _mark()), trainer
            return samples

        return get_batch_samples

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began, self._last = time.time(), _mark()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ended = _mark()
        self._marks.append((self._last, *self._asked, ended))
        self._last = ended
        run = {name: counts["run"] for name, counts in self._trainer._caches.counts.items()}
        self._steps.append({"step": state.global_step, "run": run})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for step, (start, before, after, end) in zip(self._steps, self._marks, strict=True):
            step |= {"seconds": _between(start, end), "waiting": _between(before, after)}
        losses = [[entry["step"], entry["loss"]] for entry in state.log_history if "loss" in entry]
        found = {"began": self._began, "steps": self._steps, "losses": losses, "peak": _peak()}
        self._file.write_text(json.dumps(found))


def _mark() -> Mark:
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(start: Mark, end: Mark) -> float:
    """Seconds."""
    return float(end - start if isinstance(start, float) else start.elapsed_time(end) / 1e3)


def _peak() -> int:
    """Bytes: of the device's allocator, or of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def timed(file: Path) -> Iterator[None]:
    """Times the trainings within; the file says what of the last."""
    clock, plain = Clock(file), Trainer.get_batch_samples
    Trainer.get_batch_samples = clock.around(plain)  # type: ignore[method-assign]
    DEFAULT_CALLBACKS.append(clock)
    try:
        yield
    finally:
        DEFAULT_CALLBACKS.remove(clock)
        Trainer.get_batch_samples = plain  # type: ignore[method-assign]


def main() -> None:
    """The stock command, timed."""
    from llamafactory.cli import main as stock

    file = Path(sys.argv.pop(1))
    sys.argv[0] = "llamafactory-cli"
    with timed(file):
        stock()


if __name__ == "__main__":
    main()
