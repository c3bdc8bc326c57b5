"""Asking one request at a time, from as many threads as one likes, with the fewest calls that will do."""

import re
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Lock
from typing import Any

from .costs import Budget, Estimate, Tokens, check_bounded, count_tokens, estimate, price_of
from .failures import (
    CallFailedError,
    DoubtfulRefusalError,
    Failure,
    ReplyTruncatedError,
    RequestRefusedError,
    StopRunError,
)
from .limits import Gate, ReplyFormat
from .pauses import backoff
from .replies import Reply, RequestStore, StoredReply
from .requests import ChatRequest, payload_key
from .settings import EndpointSettings
from .wire import Wire

GIVEN_UP_IN_A_ROW = 20
"""Requests without an answer, and none answered between, after which the server counts as out of order."""
ALIKE = 5
"""Requests that one error has met twice, and none answered, after which it counts as what every request will meet."""
_VARYING = re.compile(r"[0-9a-f-]*[0-9][0-9a-f-]*")
"""What differs between two tellings of one error: numbers, ids, times."""
_WITHHELD = {
    "content_filter": "the server's content filter withheld the reply",
    "refusal": "the model refused to reply",
}


@dataclass(frozen=True)
class Usage:
    """What an endpoint has done since it was made.

    Attributes:
        calls: HTTP requests sent, failed ones included.
        replies: Of these, answered.
        cached: Replies and refusals out of the store, and replies shared between threads.
        prompt_tokens, completion_tokens, cost: Of the replies.
    """

    calls: int = 0
    replies: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


def stored_reply(request: ChatRequest, settings: EndpointSettings, store: RequestStore) -> Reply | None:
    """The reply to a request if it is there, as out of a batch; None: not yet. Makes no call.

    Raises:
        RejectedError: The request cannot be sent.
        RequestRefusedError: It will never be answered.
        ReplyTruncatedError: The reply ended at `max_tokens`.
    """
    found = store.get(request.key(settings))
    return None if found is None else _whole(_kept(found), settings)


def _kept(found: StoredReply) -> Reply:
    if found.reply is None:
        raise RequestRefusedError(found.error or "the server refused it")
    return found.reply


def _whole(reply: Reply, settings: EndpointSettings) -> Reply:
    """Lets through a reply that is whole."""
    if reply.finish_reason == "length":
        limit = settings.most_completion_tokens
        raise ReplyTruncatedError(
            f"the reply was cut off: {reply.completion_tokens} tokens; raise max_tokens ({limit})", reply.text
        )
    if reply.finish_reason in _WITHHELD:
        raise RequestRefusedError(_WITHHELD[reply.finish_reason])
    return reply


class Endpoint:
    """An endpoint with its cache, limits and budget; `complete` may be called from many threads."""

    def __init__(self, settings: EndpointSettings, store: RequestStore, budget: Budget) -> None:
        """Connects nothing yet.

        Args:
            settings: Where and how to ask.
            store: Answered requests, which cost no call.
            budget: Shared with the other endpoints of the run.

        Raises:
            UserError: The budget has a limit that cannot be kept, because a price or `max_tokens` is missing.
        """
        check_bounded(settings, budget)
        self.settings = settings
        self._store = store
        self._budget = budget
        self._wire = Wire(settings)
        self._gate = Gate(settings)
        self._format = ReplyFormat(settings.structured)
        self._slots = BoundedSemaphore(settings.concurrency)
        self._lock = Lock()
        self._flights: dict[str, Future[Reply]] = {}
        self._usage = Usage()
        self._given_up = (0, 0)
        self._doubts = 0
        self._alike: dict[str, set[str]] = {}

    @property
    def usage(self) -> Usage:
        """What has been done so far."""
        with self._lock:
            return self._usage

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate:
        """What `complete` would take for all of the requests; makes no call."""
        return estimate(requests, self.settings, self._store)

    def stop(self, reason: str) -> None:
        """Lets no further call through; threads that wait end with `StopRunError`, calls under way are stored."""
        self._gate.stop(reason)

    def complete(self, request: ChatRequest) -> Reply:
        """The reply to a request: out of the store, or else out of a call. Waits; two threads make one call.

        Raises:
            RejectedError: The request cannot be sent.
            RequestRefusedError: It will never be answered.
            ReplyTruncatedError: The reply ended at `max_tokens`.
            CallFailedError: It was not answered this time and stays due.
            DoubtfulRefusalError: So too, and no request has ever been answered.
            StopRunError: No request will be answered for now, or the budget would be passed.
        """
        payload = request.payload(self.settings)
        key = payload_key(payload)
        with self._lock:
            flight = self._flights.get(key)
            follows = flight is not None
            if flight is None:
                flight = self._flights[key] = Future()
        if follows:
            self._count(cached=1)
            return _whole(flight.result(), self.settings)
        try:
            flight.set_result(self._stored(key) or self._asked(request, key, payload))
        except StopRunError as error:
            flight.set_exception(self._gate.stop(str(error)))
        except BaseException as error:
            flight.set_exception(error)
        finally:
            with self._lock:
                del self._flights[key]
        return _whole(flight.result(), self.settings)

    def _stored(self, key: str) -> Reply | None:
        """The reply out of the store, whole or not."""
        found = self._store.get(key)
        if found is None:
            return None
        self._count(cached=1)
        return _kept(found)

    def _asked(self, request: ChatRequest, key: str, payload: dict[str, Any]) -> Reply:
        """Calls until there is a reply or no use in calling."""
        tokens = count_tokens(request, self.settings)
        self._wire.open()
        self._store.begin(key, payload)
        failures = 0
        answered_before = self._gate.answered
        while True:
            answered = self._gate.answered
            outcome = self._attempt(request, tokens)
            if isinstance(outcome, Reply):
                self._store.finish(key, outcome)
                return outcome
            if outcome.kind == "refused":
                raise self._refused(key, outcome)
            if outcome.kind == "stop":
                raise self._gate.stop(f"{self.settings.base_url}: {outcome.message}")
            if outcome.kind == "unsupported" or self._was_only_its_turn(outcome, answered):
                continue
            failures += 1
            if failures > self.settings.retries or self._is_shut(outcome):
                self._store.fail(key, outcome.message, permanent=False)
                raise self._give_up(outcome, answered_before)
            if outcome.doubtful and failures > 1 and self._fails_for_all(key, outcome):
                raise self._gate.stop(
                    f"{self.settings.base_url}: {outcome.message.rstrip('. ')}. {ALIKE} requests have failed so, twice "
                    "each, and none has been answered: look at the server's own log, and whether the model takes what "
                    "is sent (images, the system prompt, extra_body)"
                )
            if outcome.kind == "failed":
                self._gate.sleep(backoff(self.settings.backoff, failures - 1))

    def _fails_for_all(self, key: str, outcome: Failure) -> bool:
        """Whether one error met so many requests, and nothing else, that it will meet all of them."""
        with self._lock:
            alike = self._alike.setdefault(_VARYING.sub("#", outcome.message), set())
            alike.add(key)
            return self._gate.answered == 0 and len(alike) >= ALIKE

    def _refused(self, key: str, outcome: Failure) -> Exception:
        """What a refusal means: this request's end, unless nothing was ever answered, as with wrong settings."""
        believed = not outcome.doubtful or self.usage.replies > 0 or self._store.answers(self.settings.model)
        self._store.fail(key, outcome.message, permanent=believed)
        if believed:
            return RequestRefusedError(outcome.message)
        with self._lock:
            self._doubts += 1
            doubts = self._doubts
        doubt = (
            f"{outcome.message.rstrip('. ')}. Nothing has ever been answered here: check the server and the settings"
        )
        return self._gate.stop(doubt) if doubts >= GIVEN_UP_IN_A_ROW else DoubtfulRefusalError(doubt)

    def _was_only_its_turn(self, outcome: Failure, answered: int) -> bool:
        """Whether a rate limit kept this call back while others were answered: no failure of the request."""
        return outcome.kind == "paused" and not outcome.unreachable and self._gate.answered > answered

    def _is_shut(self, outcome: Failure) -> bool:
        """Whether the pauses of all threads together, which a call has just made longer, have been enough."""
        return outcome.kind == "paused" and (self._gate.deserted if outcome.unreachable else self._gate.put_off)

    def _give_up(self, outcome: Failure, answered_before: int) -> Exception:
        """A request whose repetitions are used up; the run ends where that says something about the server."""
        with self._lock:
            in_a_row, answered = self._given_up
            in_a_row = in_a_row + 1 if answered == self._gate.answered else 1
            self._given_up = in_a_row, self._gate.answered
        gone = outcome.unreachable and self._gate.answered == answered_before
        if gone or self._is_shut(outcome) or in_a_row >= GIVEN_UP_IN_A_ROW:
            return self._gate.stop(
                f"{outcome.message}. Nothing has been answered for a while: check the server and run again; "
                f"no answered request is repeated"
            )
        return CallFailedError(outcome.message)

    def _attempt(self, request: ChatRequest, tokens: Tokens) -> Reply | Failure:
        """One call, when everything allows it.

        What is waited for is taken in one order (budget, reply format, slot, gate), so that no two threads wait
        for each other.
        """
        most, cost = tokens.most_cost(price_of(self.settings)), 0.0
        self._budget.reserve(most)
        try:
            outcome = self._call_in_format(request, tokens)
            if isinstance(outcome, Reply):
                cost = outcome.cost or 0.0
            elif outcome.billed:
                cost = most
        finally:
            self._budget.settle(most, cost)
        return outcome

    def _call_in_format(self, request: ChatRequest, tokens: Tokens) -> Reply | Failure:
        """One call, with the reply's schema in the way that the server takes."""
        if request.schema is None:
            outcome = self._call(request.body(self.settings, "none"), tokens)
            if isinstance(outcome, Failure) and outcome.kind == "unsupported":
                return replace(outcome, kind="refused", doubtful=True)
            return outcome
        with self._format.trial() as way:
            outcome = self._call(request.body(self.settings, way), tokens)
            if isinstance(outcome, Reply):
                self._format.accepted()
                return outcome
            if outcome.kind != "unsupported" or self._format.refused(way):
                return outcome
            if way == "none":
                return replace(outcome, kind="refused", doubtful=True)
            advice = "set structured to auto, or to a way that the server knows"
            return replace(outcome, kind="stop", message=f"{outcome.message}. structured is {way}: {advice}")

    def _call(self, body: dict[str, Any], tokens: Tokens) -> Reply | Failure:
        expected = tokens.prompt + tokens.completion
        with self._slots:
            scout = self._gate.enter(expected)
            outcome: Reply | Failure | None = None
            try:
                outcome = self._wire.chat(body, tokens.prompt)
            finally:
                self._leave(scout, outcome, expected)
        self._count(calls=1)
        if isinstance(outcome, Reply):
            self._count(
                replies=1,
                prompt_tokens=outcome.prompt_tokens,
                completion_tokens=outcome.completion_tokens,
                cost=outcome.cost or 0.0,
            )
        return outcome

    def _leave(self, scout: bool, outcome: Reply | Failure | None, expected: int) -> None:
        """Tells the gate how the call ended; None: by an exception."""
        if isinstance(outcome, Failure) and outcome.kind == "stop":
            self._gate.stop(f"{self.settings.base_url}: {outcome.message}")
        if isinstance(outcome, Reply):
            self._gate.leave(scout, outcome.prompt_tokens + outcome.completion_tokens - expected, answered=True)
        elif outcome is not None and outcome.kind == "paused":
            self._gate.leave_shut(scout, outcome.pause, unreachable=outcome.unreachable)
        else:
            self._gate.leave(scout, -expected, answered=outcome is not None and outcome.kind == "refused")

    def _count(self, **more: float) -> None:
        with self._lock:
            self._usage = Usage(**{name: value + more.get(name, 0) for name, value in vars(self._usage).items()})
