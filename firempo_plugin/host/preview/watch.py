"""A process that ends when its parent does. Light: standard library only."""

import os
import threading
import time

SECONDS = 0.5


def end_with_parent() -> None:
    """Ends this process at once, whatever it is doing, when the process that started it is gone."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
