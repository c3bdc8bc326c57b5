"""The Batch API: hand in, leave, collect later, at half the price; nothing is handed in or paid for twice."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ..files import private_folder
from ..records import RejectedError
from .batch_api import URL, BatchApi, lines_of
from .batch_parts import BatchLimits, Part, PartWriter, clean, drop_part, lines_file, open_parts, save_part
from .costs import BATCH_PRICE, Budget, check_bounded, count_tokens, price_of
from .failures import LONGEST_MESSAGE, Failure, StopRunError, classify
from .replies import Reply, RequestStore, load
from .requests import ChatRequest, payload_key
from .settings import EndpointSettings, Structured
from .wire import LARGEST_REPLY, Wire

_ENDED = ("completed", "expired", "cancelled", "failed")


@dataclass(frozen=True)
class Submission:
    """What was handed in.

    Attributes:
        batch_ids: Of the new batches.
        requests: In them.
        open: Requests in batches handed in before and not collected yet.
        waiting: Requests that did not fit, and are due.
        reason: Why they wait; "" where none does.
        rejected: Requests that cannot be sent at all, and why.
    """

    batch_ids: tuple[str, ...]
    requests: int
    open: int
    waiting: int
    reason: str
    rejected: tuple[str, ...]


@dataclass
class BatchStatus:
    """What became of what was handed in.

    Attributes:
        open: Batches that are not finished.
        progress: Requests done and requests in all, of the open batches, by the API's word.
        stored: Replies stored now.
        refused: Requests refused for good, stored now.
        due: Requests of finished batches that went unanswered: hand them in again.
        cost: Of the replies stored now; None where a price is unknown.
        problems: What else a person should know, with how often it occurred.
    """

    open: int = 0
    progress: tuple[int, int] = (0, 0)
    stored: int = 0
    refused: int = 0
    due: int = 0
    cost: float | None = 0.0
    problems: Counter[str] = field(default_factory=Counter)


def open_keys(folder: Path) -> set[str]:
    """Requests that are handed in and not collected: whoever asks for them otherwise pays twice."""
    return {key for part in open_parts(folder) for key in part.tokens}


def open_cost(folder: Path) -> float:
    """What the batches that are handed in and not collected can cost; a budget counts it as spent until then."""
    return sum(part.most_cost for part in open_parts(folder))


def submit(
    requests: Iterable[ChatRequest],
    settings: EndpointSettings,
    store: RequestStore,
    folder: Path,
    *,
    budget: Budget,
    limits: BatchLimits | None = None,
) -> Submission:
    """Hands in every request that is neither answered nor handed in yet, as far as limits and budget allow.

    Args:
        requests: All that a run needs.
        settings: Where and how to ask.
        store: What is answered.
        folder: Where the batches are recorded; one for all submissions.
        budget: Limits the most that the batches can cost; `open_cost` of the folder is part of what it has spent.
        limits: Of the API.

    Raises:
        StopRunError: The server takes no batches (key, quota, address). What it took is recorded.
        CallFailedError: It did not answer. What it took is recorded; call again.
        UserError: The budget's limit cannot be kept, because a price or `max_tokens` is missing.
    """
    check_bounded(settings, budget)
    private_folder(folder)
    return _Submitter(settings, store, folder, budget, limits or BatchLimits()).run(requests)


class _Submitter:
    """One submission."""

    def __init__(
        self, settings: EndpointSettings, store: RequestStore, folder: Path, budget: Budget, limits: BatchLimits
    ) -> None:
        self._settings = settings
        self._store = store
        self._folder = folder
        self._limits = limits
        self._api = BatchApi(settings)
        # A batch is one shot: what the server takes is not tried out first, as it is with single calls.
        self._way: Structured = "json_schema" if settings.structured == "auto" else settings.structured
        self._price = price_of(settings)
        self._budget = budget
        self._room_cost = 0.0
        self._room_tokens = float("inf") if limits.tokens is None else limits.tokens
        self._seen: set[str] = set()
        self._ids: list[str] = []
        self._sent = self._waiting = 0
        self._reason = ""
        self._rejected: list[str] = []

    def run(self, requests: Iterable[ChatRequest]) -> Submission:
        clean(self._folder)
        for part in open_parts(self._folder):
            if self._api.find_again(self._folder, part):
                self._seen |= set(part.tokens)
                self._room_tokens -= sum(part.tokens.values())
            else:
                self._budget.add(-part.most_cost)
        already = len(self._seen)
        self._room_cost = self._budget.room
        writer: PartWriter | None = None
        try:
            for request in requests:
                writer = self._take(request, writer)
            if writer is not None:
                self._hand_in(writer)
        finally:
            if writer is not None:
                writer.close()
        return Submission(tuple(self._ids), self._sent, already, self._waiting, self._reason, tuple(self._rejected))

    def _take(self, request: ChatRequest, writer: PartWriter | None) -> PartWriter | None:
        """Writes a request into the current part, or the next one where that is full."""
        try:
            payload = request.payload(self._settings)
            key = payload_key(payload)
            if key in self._seen or self._store.get(key) is not None:
                return writer
            self._seen.add(key)
            tokens = count_tokens(request, self._settings)
            body = request.body(self._settings, self._way)
        except RejectedError as error:
            self._rejected.append(str(error))
            return writer
        most_cost = BATCH_PRICE * tokens.most_cost(self._price)
        if not self._fits(tokens.prompt, most_cost):
            self._waiting += 1
            return writer
        line = {"custom_id": key, "method": "POST", "url": URL, "body": body}
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        self._store.begin(key, payload)
        if len(content) > self._limits.size:
            reason = f"a request of {len(content):,} bytes does not fit into a batch file of {self._limits.size:,}"
            self._store.fail(key, reason, permanent=True)
            self._rejected.append(reason)
            return writer
        if writer is not None and self._is_full(writer, len(content)):
            self._hand_in(writer)
            writer = None
        writer = writer or PartWriter(self._folder, self._settings.model)
        writer.add(content, key, tokens.prompt, most_cost)
        self._room_cost -= most_cost
        self._room_tokens -= tokens.prompt
        return writer

    def _fits(self, prompt_tokens: int, most_cost: float) -> bool:
        """Whether budget and enqueued tokens have room; the first reason why not is kept."""
        reason = ""
        if most_cost > self._room_cost:
            reason = "max_cost would be passed if every reply were as long as max_tokens allows"
        elif prompt_tokens > self._room_tokens:
            reason = "the open batches hold as many tokens as the limit allows: collect, then submit the rest"
        self._reason = self._reason or reason
        return not reason

    def _is_full(self, writer: PartWriter, more: int) -> bool:
        return len(writer.part.tokens) >= self._limits.requests or writer.size + more > self._limits.size

    def _hand_in(self, writer: PartWriter) -> None:
        """Uploads a part and creates its batch; recorded before, so that a kill between pays nothing twice."""
        writer.close()
        part, lines = writer.part, lines_file(self._folder, writer.part.tag)
        file_id = self._api.upload(lines)
        save_part(self._folder, part)
        self._budget.add(part.most_cost)
        try:
            part.batch_id = self._api.create(file_id, part.tag)
        except StopRunError:
            drop_part(self._folder, part)
            self._budget.add(-part.most_cost)
            raise
        save_part(self._folder, part)
        lines.unlink()
        self._ids.append(part.batch_id)
        self._sent += len(part.tokens)


def collect(settings: EndpointSettings, store: RequestStore, folder: Path, *, budget: Budget) -> BatchStatus:
    """Asks once after every open batch and stores the results of those that ended; may be called at any time, again.

    Raises:
        StopRunError: The server cannot be asked (key, address).
        CallFailedError: It did not answer; what it answered until then is stored.
    """
    status = BatchStatus()
    api = BatchApi(settings)
    try:
        for part in open_parts(folder):
            if api.find_again(folder, part):
                _collect_part(part, api, store, folder, status)
            else:
                status.due += len(part.tokens)
                status.problems["a batch was never handed in, because its submission was interrupted"] += 1
                part.collected = True
            if part.collected:
                budget.add(-part.most_cost)
    finally:
        budget.add(status.cost or 0.0)
    return status


def _collect_part(part: Part, api: BatchApi, store: RequestStore, folder: Path, status: BatchStatus) -> None:
    """Stores what one batch has answered, if it has ended."""
    batch = api.retrieve(part)
    if batch["status"] != part.status:
        part.status = batch["status"]
        save_part(folder, part)
    if part.status not in _ENDED:
        counts = [batch["counts"].get(name) for name in ("completed", "failed")]
        done, total = status.progress
        done += sum(count for count in counts if isinstance(count, int))
        status.progress = (done, total + len(part.tokens))
        status.open += 1
        return
    for file_id in batch["files"]:
        with TemporaryFile(dir=folder) as file:
            problem = api.download(file_id, file, len(part.tokens) * LARGEST_REPLY)
            for line in lines_of(file):
                _store_line(line, part, api.wire, store, status)
        if problem:
            status.problems[problem] += 1
    for error in batch["errors"]:
        advice = ": set edit.batch_tokens below it" if error.get("code") == "token_limit_exceeded" else ""
        status.problems[api.wire.shown(str(error.get("message") or error.get("code"))) + advice] += 1
    if part.status != "completed":
        status.problems[f"a batch has {part.status}" if part.status != "cancelled" else "a batch was cancelled"] += 1
    status.due += sum(store.get(key) is None for key in part.tokens)
    part.collected = True
    save_part(folder, part)


def _store_line(line: str, part: Part, wire: Wire, store: RequestStore, status: BatchStatus) -> None:
    """Stores one result; results come in any order, and may come again."""
    if not line.strip():
        return
    key, outcome = _read_line(line, part, wire)
    if key not in part.tokens:
        status.problems["a result belongs to no request of its batch"] += 1
    elif store.get(key) is not None:
        return
    elif isinstance(outcome, Reply):
        store.finish(key, outcome)
        status.stored += 1
        status.cost = None if status.cost is None or outcome.cost is None else status.cost + outcome.cost
    elif outcome.kind == "refused" and (not outcome.doubtful or store.answers(part.model)):
        store.fail(key, outcome.message, permanent=True)
        status.refused += 1
    else:
        store.fail(key, outcome.message, permanent=False)
        status.problems[outcome.message] += 1


def _read_line(line: str, part: Part, wire: Wire) -> tuple[str, Reply | Failure]:
    """The custom id of a result, "" if it has none, and the reply or what went wrong."""
    try:
        found: Any = load(line)
        key, response, error = str(found["custom_id"]), found.get("response"), found.get("error") or {}
        if not response:
            message = wire.shown(str(error.get("message") or "a request has no result"))
            return key, Failure("failed", message[:LONGEST_MESSAGE])
        code, body = int(response["status_code"]), json.dumps(response["body"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return "", Failure("failed", "a result cannot be read")
    if code == 200:
        return key, wire.reply(body, part.tokens.get(key, 0), share=BATCH_PRICE)
    failure = wire.without_secrets(classify(code, body))
    if failure.kind == "unsupported":
        failure = replace(failure, message=f"{failure.message}. Set structured to json_object or none and submit again")
    return key, failure
