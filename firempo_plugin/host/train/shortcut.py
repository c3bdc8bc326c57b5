"""The sign that a run has found a shortcut (arXiv 2606.12590, training dynamics). Knows no trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SATURATED_MARGIN = 10.0
EARLY_EPOCH = 0.1


@dataclass(frozen=True)
class Shortcut:
    """What gave it away.

    Attributes:
        epoch: At which the reward accuracy reached 1.
        margin: The reward margin when it had run away.
    """

    epoch: float
    margin: float


class ShortcutWatch:
    """Watches a run's log for early saturation of the reward accuracy, followed by a runaway margin."""

    def __init__(self) -> None:
        self._saturated_at: float | None = None
        self.found: Shortcut | None = None

    def see(self, entry: Mapping[str, Any]) -> bool:
        """Takes the next entry of the log; whether the sign appears with it, once a run."""
        accuracy, margin = entry.get("rewards/accuracies"), entry.get("rewards/margins")
        if accuracy is None or margin is None or accuracy < 1.0 or self.found:
            return False
        if self._saturated_at is None and entry["epoch"] <= EARLY_EPOCH:
            self._saturated_at = entry["epoch"]
        if self._saturated_at is not None and margin > SATURATED_MARGIN:
            self.found = Shortcut(self._saturated_at, margin)
        return self.found is not None
