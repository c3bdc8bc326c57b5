"""When the next call may start: what the server asks for, and the limits of the settings, over all threads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from .failures import StopRunError
from .pauses import LONGEST_BACKOFF
from .settings import EndpointSettings, Structured

LONGEST_ABSENCE = 30.0
"""Seconds in which a server that has gone may come back; with its last pause and attempt, less than a minute."""
_ABSENT_BACKOFF = 10.0
PUT_OFF_IN_A_ROW = 8
"""Pauses, and nothing answered between, after which a server answers nobody; at the usual ones, within four minutes."""
_LADDER: tuple[Structured, ...] = ("json_schema", "json_object", "none")


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds / 60:.0f} minutes" if seconds <= 86_400 else "more than a day"


class Pace:
    """A limit per minute: a token bucket that holds no burst.

    Starts are spaced evenly, so that no window of a minute, wherever the server lets it begin, has more than the limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        """A limit of `per_minute` units; None: no limit."""
        self._seconds = 0.0 if per_minute is None else 60.0 / per_minute
        self._free_at = 0.0

    def wait(self) -> float:
        """Seconds until a call may start; 0 or less: now."""
        return self._free_at - time.monotonic()

    def take(self, units: float) -> None:
        """Starts a call of `units`; below 0, gives back what it had taken too much."""
        self._free_at = max(self._free_at, time.monotonic()) + units * self._seconds


class Gate:
    """The door that every call goes through: shut while the server wants no calls, or for good; and kept at a pace.

    At the start and after a pause one caller goes first; only when it was served do the others follow, so that a server
    which wants no calls, or no such key, gets one and not one per thread.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """An open gate, with the limits per minute of the settings."""
        self.answered = 0
        """How many calls the server has answered, well or with a refusal: whether there is progress."""
        self._first_pause = settings.backoff
        self._calls = Pace(settings.requests_per_minute)
        self._tokens = Pace(settings.tokens_per_minute)
        self._changed = Condition()
        self._shut_until = 0.0
        # Nor is it known yet whether the server takes the key: the very first caller goes alone too.
        self._wary, self._scouting = True, False
        self._pauses = 0
        self._retries = settings.retries
        self._absent_since: float | None = None
        self._stopped: str | None = None

    @property
    def deserted(self) -> bool:
        """Whether nobody is there: at once where nobody ever was, else after some repetitions or some time."""
        with self._changed:
            if self._absent_since is None:
                return False
            absent = time.monotonic() - self._absent_since
            return absent > LONGEST_ABSENCE or self._pauses > (self._retries if self.answered else 1)

    @property
    def put_off(self) -> bool:
        """Whether a server that is there has asked everybody to wait again and again, and has answered nobody."""
        with self._changed:
            return self._absent_since is None and self._pauses >= PUT_OFF_IN_A_ROW

    def enter(self, tokens: int) -> bool:
        """Waits until a call of about so many tokens may start; every `enter` needs its `leave`.

        Returns:
            Whether this caller goes first, after a pause.

        Raises:
            StopRunError: The run has been stopped.
        """
        with self._changed:
            while True:
                self._check()
                wait = max(self._shut_until - time.monotonic(), self._calls.wait(), self._tokens.wait())
                if self._scouting:
                    self._changed.wait()
                elif wait > 0:
                    self._changed.wait(wait)
                else:
                    self._calls.take(1)
                    self._tokens.take(tokens)
                    self._scouting = self._wary
                    return self._wary

    def leave(self, scout: bool, tokens: int, *, answered: bool = False) -> None:
        """Ends a call after which others may follow.

        Args:
            scout: What `enter` returned.
            tokens: That the call took more than `enter` was told, or below 0, less.
            answered: Whether the server has answered the request.
        """
        with self._changed:
            self.answered += answered
            self._tokens.take(tokens)
            if scout:
                self._wary = self._scouting = False
                self._pauses = 0
            self._absent_since = None
            self._changed.notify_all()

    def leave_shut(self, scout: bool, asked: float | None, *, unreachable: bool = False) -> None:
        """Ends a call after which there are to be no others for a while.

        Args:
            scout: What `enter` returned.
            asked: Seconds that the server asked for, if it did.
            unreachable: Whether no server was there.
        """
        with self._changed:
            longest = _ABSENT_BACKOFF if unreachable else LONGEST_BACKOFF
            own = min(self._first_pause * 2.0**self._pauses, longest)
            if not unreachable:
                self._absent_since = None
            elif self._absent_since is None:
                self._absent_since = time.monotonic()
            if asked is not None:
                # A server that asks again did not keep its word: then the longer one counts.
                own = max(asked, own) if self._pauses else asked
            # Calls that were under way when the gate was shut say nothing new.
            self._pauses += scout or not self._wary
            self._shut_until = max(self._shut_until, time.monotonic() + own)
            self._wary = True
            if scout:
                self._scouting = False
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Waits; ends early, by `StopRunError`, when the run is stopped."""
        end = time.monotonic() + seconds
        with self._changed:
            while (wait := end - time.monotonic()) > 0:
                self._check()
                self._changed.wait(wait)
            self._check()

    def stop(self, reason: str) -> StopRunError:
        """Lets nobody through any more, and wakes all who wait. The first reason stands."""
        with self._changed:
            self._stopped = self._stopped or reason
            self._changed.notify_all()
            return StopRunError(self._stopped)

    def _check(self) -> None:
        if self._stopped is not None:
            raise StopRunError(self._stopped)


class ReplyFormat:
    """In which way a JSON reply is asked for; with `auto`, found out once for all threads."""

    def __init__(self, structured: Structured) -> None:
        """The way of the settings."""
        self._auto = structured == "auto"
        self._way: Structured = "json_schema" if self._auto else structured
        self._settled = not self._auto
        self._trial = Lock()

    @contextmanager
    def trial(self) -> Iterator[Structured]:
        """The way to ask now; until the server has accepted one, one caller tries and the others wait."""
        self._trial.acquire()
        alone = not self._settled
        if not alone:
            self._trial.release()
        try:
            yield self._way
        finally:
            if alone:
                self._trial.release()

    def accepted(self) -> None:
        """The server took the way."""
        self._settled = True

    def refused(self, way: Structured) -> bool:
        """The server does not know the way. Whether there is another to try."""
        if self._auto and way != "none":
            if way == self._way:
                self._way = _LADDER[_LADDER.index(way) + 1]
            return True
        return False
