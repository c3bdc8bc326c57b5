"""The stage in LLaMA-Board: its section of the training tab, its command, its live curves, a look at its pairs."""

from typing import Any


def extend_control(module: Any) -> None:
    """Extends the host's reactions: what they restore, and what they show of a run."""
    from . import monitor, restore

    monitor.extend_control(module)
    restore.extend_control(module)
