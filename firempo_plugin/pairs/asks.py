"""Who is asked: the models of a build, with one store and one budget for all of them."""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from ..endpoint.batch import collect, open_cost, open_keys, submit
from ..endpoint.batch_parts import BatchLimits
from ..endpoint.client import Endpoint, stored_reply
from ..endpoint.costs import Budget, Estimate, estimate
from ..endpoint.endings import Endings
from ..endpoint.requests import Ask, ChatRequest
from ..endpoint.settings import EndpointSettings
from ..store.engine import PendingError
from ..store.request_store import WorkspaceRequests
from ..store.workspace import Workspace
from .config import BuildConfig, EditConfig
from .judges.registry import JUDGES


class Asks:
    """The models of a build.

    Attributes:
        respond: Asks the model that answers; None where it is not an endpoint.
        judge: Asks the judge; None where the rules are alone.
        collected: What was collected of earlier batches, or is still in them.
    """

    def __init__(self, config: BuildConfig, workspace: Workspace, *, collect_batches: bool = True) -> None:
        self.store = WorkspaceRequests(workspace)
        self.collected: list[str] = []
        batches = workspace.folder / "batches"
        self._open = open_keys(batches)
        self._budget = Budget(config.max_cost, self.store.totals().cost + open_cost(batches))
        self._endpoints: list[Endpoint] = []
        self._batch: BatchAsk | None = None
        self.respond: Ask | None = None
        self.judge: Ask | None = None
        if config.respond.backend == "endpoint":
            self.respond = self._endpoint(config.respond.endpoint, "respond.endpoint.max_tokens")
        judge = JUDGES.load(config.edit.judge)
        if judge.later:
            self._batch = BatchAsk(config.edit, self.store, self._budget, batches)
            self.judge = self._batch
        elif config.asks_judge:
            self.judge = self._endpoint(config.edit.endpoint, "edit.endpoint.max_tokens")
        if self._batch is not None and collect_batches:
            self.collected = self._batch.collect()
        else:
            self.collected = open_batches(config, len(self._open))

    def _endpoint(self, settings: EndpointSettings, limit: str) -> Ask:
        endpoint = Endpoint(settings, self.store, self._budget)
        endings = Endings(limit)
        self._endpoints.append(endpoint)

        def ask(request: ChatRequest) -> str:
            if self._open and request.key(settings) in self._open:
                raise PendingError  # a batch answers it; asking again would be paid for twice
            return endings.of(lambda: endpoint.complete(request).text)

        return ask

    def hand_in(self, least: int = 1) -> list[str]:
        """Submits what waits for a batch, if it is so many; says what was submitted."""
        return self._batch.hand_in() if self._batch and self._batch.waiting >= least else []

    def stop(self, reason: str) -> None:
        """Ends the threads that wait for a server; calls under way are stored."""
        for endpoint in self._endpoints:
            endpoint.stop(reason)

    def estimate(self, settings: EndpointSettings, requests: Iterable[ChatRequest], *, batch: bool) -> Estimate:
        """What requests would take; makes no call."""
        return estimate(requests, settings, self.store, batch=batch, handed_in=self._open)


def open_batches(config: BuildConfig, requests: int) -> list[str]:
    """Says how many requests are in batches that are handed in and not collected."""
    hint = "" if JUDGES.load(config.edit.judge).later else "; set edit.judge to batch to collect them"
    return [f"batches: {requests} requests are in open batches{hint}"] if requests else []


class BatchAsk:
    """Asks through the Batch API: what is not answered yet waits, and is submitted together.

    Batches that ended are collected when it is made.
    """

    def __init__(self, config: EditConfig, store: WorkspaceRequests, budget: Budget, folder: Path) -> None:
        self._settings = config.endpoint
        self._limits = BatchLimits(tokens=config.batch_tokens)
        self._store = store
        self._budget = budget
        self._folder = folder
        self._waiting: dict[str, ChatRequest] = {}
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """Requests to be handed in."""
        return len(self._waiting)

    def collect(self) -> list[str]:
        """Stores what has been answered since; says so."""
        if not open_keys(self._folder):
            return []
        found = collect(self._settings, self._store, self._folder, budget=self._budget)
        done, total = found.progress
        lines = [f"batches: {found.stored} replies collected, {found.open} batches open ({done} of {total} answered)"]
        return lines + [f"  {count} x {problem}" for problem, count in found.problems.items()]

    def __call__(self, request: ChatRequest) -> str:
        """The reply's text, if it is there.

        Raises:
            PendingError: It is not there yet.
            RejectedError: There will never be one, or it was cut off.
        """
        reply = stored_reply(request, self._settings, self._store)
        if reply is None:
            with self._lock:
                self._waiting[request.key(self._settings)] = request
            raise PendingError
        return reply.text

    def hand_in(self) -> list[str]:
        """Submits what waits and is not handed in already; says so."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return []
        taken = submit(
            waiting.values(),
            self._settings,
            self._store,
            self._folder,
            budget=self._budget,
            limits=self._limits,
        )
        lines = [
            f"batches: {taken.requests} requests submitted in {len(taken.batch_ids)} batches, {taken.open} were open; "
            "run the same command again to collect"
        ]
        return lines + ([f"  {taken.waiting} requests wait: {taken.reason}"] if taken.waiting else [])
