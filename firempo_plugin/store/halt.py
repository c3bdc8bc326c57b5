"""Ending a run early, and what its exit code says."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Halt:
    """The wish to end a run early: nothing new begins, and what is under way is awaited and stored.

    Attributes:
        reason: None: go on.
        wake: Ends the pauses of the threads that wait for a server.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.wake: Callable[[str], object] = lambda reason: None

    def set(self, reason: str) -> None:
        """Ends the run."""
        self.reason = reason
        self.wake(reason)


DONE, FAILED, STOPPED = 0, 1, 3


@contextmanager
def halted_by_signals() -> Iterator[Halt]:
    """A halt that the first SIGINT, SIGTERM or end of the terminal sets; the second SIGINT interrupts at once.

    Where SIGHUP is ignored, as under nohup, it stays so.
    """
    halt = Halt()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        halt.set(f"{signal.Signals(number).name}; run the same command again to go on")

    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, *hangup)}
    try:
        yield halt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
