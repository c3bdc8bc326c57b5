"""Whether a model's replies end by themselves, or at `max_tokens`."""

from collections.abc import Callable
from threading import Lock

from .failures import ReplyTruncatedError, StopRunError

MOST_CUT = 20
"""Replies that were cut off, and none whole between, after which every reply counts as too long."""


class Endings:
    """Ends a run whose first replies are all cut off: none is of use, and each costs its tokens or its time.

    Args:
        key: The setting to be raised.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._cut = 0
        self._whole = False
        self._lock = Lock()

    def of(self, call: Callable[[], str]) -> str:
        """What a call returns; from any thread.

        Raises:
            ReplyTruncatedError: The call's own.
            StopRunError: It was one of too many.
        """
        try:
            text = call()
        except ReplyTruncatedError as error:
            with self._lock:
                self._cut += 1
                if not self._whole and self._cut >= MOST_CUT:
                    raise StopRunError(
                        f"{self._cut} replies were cut off and none ended by itself, so that no other will be of use: "
                        f"raise {self._key}; the last one: {error}"
                    ) from None
            raise
        self._whole = True
        return text
