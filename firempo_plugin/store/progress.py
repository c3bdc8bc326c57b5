"""How far a step is: a bar on a terminal, and plain lines, one a minute and one at the end, where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

INTERVAL = 60.0
"""Seconds between lines."""


@contextmanager
def progress(name: str, total: int, among: str = "") -> Iterator[Callable[[int], object]]:
    """Yields a function that takes how many items are done more; nothing is shown for nothing to do.

    Args:
        name: Of what is done.
        total: Items.
        among: Which items of how many these are: the end of one of many parts is not worth a line.
    """
    if total == 0:
        yield lambda count: None
        return
    from tqdm import tqdm

    name = f"{name}, {among}" if among else name
    if sys.stderr.isatty():
        with tqdm(
            total=total, desc=name, unit="item", file=sys.stderr, dynamic_ncols=True, leave=None if among else True
        ) as bar:
            yield bar.update
        return
    lines = _Lines(name, total)
    teller = Thread(target=lines.tell, daemon=True)
    teller.start()
    try:
        yield lines.count
    finally:
        lines.ended.set()
        teller.join()
        if not among:
            print(lines.written(), file=sys.stderr, flush=True)


class _Lines:
    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._start = time.monotonic()
        self.ended = Event()

    def count(self, more: int) -> None:
        self._done += more

    def tell(self) -> None:
        """Writes a line every minute, also where nothing is done meanwhile."""
        while not self.ended.wait(INTERVAL):
            print(self.written(), file=sys.stderr, flush=True)

    def written(self) -> str:
        """How many of how many items, how fast, and how long it takes or took."""
        from tqdm import tqdm

        took = time.monotonic() - self._start
        shape = "{desc}: {n_fmt} of {total_fmt} items, {rate_fmt}, " + (
            "{remaining} left" if self._done < self._total and not self.ended.is_set() else "{elapsed}"
        )
        return str(tqdm.format_meter(self._done, self._total, took, prefix=self._name, unit="item", bar_format=shape))
