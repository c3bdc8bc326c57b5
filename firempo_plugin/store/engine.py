"""Takes items through a step: what is already made is found again, what is due is made, what fails keeps its reason."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..endpoint.failures import CallFailedError, DoubtfulRefusalError, StopRunError
from ..phrases import Span
from ..records import Edit, Finding, Noised, Record, RejectedError, Segmentation, Target
from .halt import Halt
from .progress import progress
from .workspace import CHANGED, WITHIN, Outcome, Workspace

TOGETHER = 64
"""Items of a call to a step that asks nobody: each takes next to nothing."""


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class PendingError(Exception):
    """An item waits for a reply that comes later, as from a batch; it is neither done nor rejected."""


@dataclass(frozen=True)
class Item:
    """One response to one record on its way to a pair; a step fills in its part.

    Attributes:
        record: The record.
        sample: Which of its responses.
        images: 8-bit files of the record's images, as the trainer reads them.
        image_ids: Hashes of their content.
        responses: All of those to the record, where they are compared.
        finding: The statement of a report that it is about, where reports are split; None: all of the response.
    """

    record: Record
    sample: int = 0
    response: str | None = None
    responses: tuple[str, ...] = ()
    edit: Edit | None = None
    finding: Finding | None = None
    error_type: str | None = None
    spans: tuple[tuple[Span, ...], tuple[Span, ...]] | None = None
    target: Target | None = None
    images: tuple[str, ...] = ()
    image_ids: tuple[str, ...] = ()
    segmentations: tuple[Segmentation, ...] = ()
    noised: tuple[Noised, ...] = ()

    @property
    def name(self) -> str:
        """The id of the pair that it becomes."""
        sample = f"/{self.sample}" if self.sample else ""
        finding = f"#{self.finding.number}" if self.finding else ""
        return f"{self.record.id}{sample}{finding}"

    @property
    def is_local(self) -> bool:
        """Whether its evidence may lie in one place of the image: not that of a whole report."""
        return self.record.kind == "vqa" or self.finding is not None


Made = dict[str, Any] | RejectedError | PendingError | CallFailedError | StopRunError
"""What a step makes of an item: its part as JSON, or why there is none."""


class Step(ABC):
    """One step of the pipeline.

    Attributes:
        name: As on the command line and in the store.
        version: Raised when another outcome comes of the same settings and inputs; every step has its own.
        workers: Calls of `run_many` at a time.
        at_once: Items of one such call.
    """

    name: str
    version: int = 1
    workers: int = 1
    at_once: int = 1

    def pace(self, calls: int | None) -> None:
        """Takes so many items at a time, each in a call of its own; of None, which asks nobody, many in one call."""
        self.workers, self.at_once = (1, TOGETHER) if calls is None else (calls, 1)

    @abstractmethod
    def depends_on(self, item: Item) -> dict[str, Any]:
        """The settings and inputs, as JSON, that decide what is made of the item."""

    @abstractmethod
    def run(self, item: Item) -> dict[str, Any]:
        """Makes the step's part of the item, as JSON.

        Raises:
            RejectedError: The item goes no further.
            PendingError: It waits.
            CallFailedError: It stays due.
            StopRunError: The whole run stops.
        """

    def run_many(self, items: Sequence[Item]) -> list[Made]:
        """What `run` makes of each item, or what it raises."""
        return [self._attempt(item) for item in items]

    def _attempt(self, item: Item) -> Made:
        try:
            return self.run(item)
        except (RejectedError, PendingError, CallFailedError, StopRunError) as error:
            return error

    @abstractmethod
    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """The item with the step's part filled in from what `run` made."""

    def beside(self, item: Item) -> Any:
        """Items for which this is the same are made one after the other; the order of outcomes stays."""
        return item.name

    def key(self, item: Item) -> str:
        """Hash of everything that decides the outcome."""
        content = _encode([self.name, self.version, self.depends_on(item)])
        return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Crew:
    """Those who do a step's work.

    Attributes:
        calls: So many at a time.
        at_once: Items of a call.
        work: What is made of the items of a call, in their order, with the files that belong to it written.
    """

    calls: int
    at_once: int
    work: Callable[[Sequence[Item]], list[Made]]


Executor = Callable[[Step], Crew]
"""Names the crew of a step. Outcomes are stored here, whoever works."""


def local(step: Step) -> Crew:
    """Threads of this process."""
    return Crew(step.workers, step.at_once, step.run_many)


@dataclass
class Advance:
    """What a step did.

    Attributes:
        items: Those that go on.
        made: Outcomes made now, rejections among them.
        rejected: Reasons by item name, of now and before.
        pending: Items that wait.
        failed: Calls that went unanswered, by item name; they stay due.
        stopped: Why the run stopped early, or None.
    """

    items: list[Item] = field(default_factory=list)
    made: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    pending: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None


def advance(
    workspace: Workspace,
    step: Step,
    items: list[Item],
    *,
    make: bool = True,
    halt: Halt | None = None,
    among: str = "",
    executor: Executor = local,
) -> Advance:
    """Takes items through a step, in order; what is finished is stored, `Workspace` says when.

    Args:
        workspace: Where outcomes are kept.
        step: The step.
        items: What the step before let through.
        make: Whether to make what is due; else it counts as pending.
        halt: May end the run early.
        among: Which items these are, for progress lines, where there are others.
        executor: Says who works.
    """
    halt = halt or Halt()
    result = Advance()
    keyed = [(item, step.key(item)) for item in items]
    known = workspace.found(step.name, ((item.record.id, item.sample, key) for item, key in keyed))
    outcomes = {
        (item.name, key): known[item.record.id, item.sample, key]
        for item, key in keyed
        if (item.record.id, item.sample, key) in known
    }
    due = [(item, key) for item, key in keyed if (item.name, key) not in outcomes]
    if not make:
        result.pending += len(due)
        due = []
    with closing(_make(step, due, result, halt, workspace.commit, among, executor(step))) as made:
        for item, key, outcome in made:
            workspace.put_outcome(step.name, item.record.id, item.sample, key, outcome)
            outcomes[item.name, key] = outcome
            result.made += 1
    if result.stopped:  # what was not asked any more waits, and so does what the run was stopped over
        result.pending = sum((item.name, key) not in outcomes for item, key in due) - len(result.failed)
    workspace.commit()
    for item, key in keyed:
        found = outcomes.get((item.name, key))
        if found is None:
            continue
        if found.data is None:
            result.rejected[item.name] = found.reason or ""
            continue
        try:
            result.items.append(step.apply(item, found.data))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if found.vouched or (item.record.id, item.sample, key) not in known:
                raise
            result.rejected[item.name] = f"{CHANGED} ({type(error).__name__}: {error})"
    return result


def _make(
    step: Step,
    due: list[tuple[Item, str]],
    result: Advance,
    halt: Halt,
    idle: Callable[[], object],
    among: str,
    crew: Crew,
) -> Generator[tuple[Item, str, Outcome], None, None]:
    """Has the crew work on what is due and yields outcomes as they come; after a stop, those in flight still count.

    `idle` is called whenever nothing has come for a while.
    """
    due = _side_by_side(step, due)
    chunks = deque(due[start : start + crew.at_once] for start in range(0, len(due), crew.at_once))
    flying: dict[Future[list[Made]], list[tuple[Item, str]]] = {}
    doubtful: list[tuple[Item, str]] = []
    asked_again = False
    with ThreadPoolExecutor(crew.calls) as pool, progress(step.name, len(due), among) as tick:

        def launch() -> None:
            while chunks and len(flying) < 2 * crew.calls and not (result.stopped or halt.reason):
                chunk = chunks.popleft()
                flying[pool.submit(crew.work, [item for item, _ in chunk])] = chunk

        try:
            launch()
            while flying:
                done, _ = wait(flying, WITHIN, return_when=FIRST_COMPLETED)
                if not done:
                    idle()
                for future in done:
                    chunk = flying.pop(future)
                    tick(len(chunk))
                    for (item, key), made in zip(chunk, future.result(), strict=True):
                        if isinstance(made, DoubtfulRefusalError):
                            doubtful.append((item, key))
                        outcome = _outcome(item, made, result)
                        if outcome is not None:
                            yield item, key, outcome
                if not chunks and not flying and result.made and not asked_again:
                    # The server has answered others since, so that its refusals can be believed now.
                    chunks.extend([pair] for pair in doubtful)
                    asked_again = True
                launch()
        except BaseException:
            halt.wake("the run has ended")
            raise
        finally:
            result.stopped = result.stopped or (halt.reason if due else None)
            pool.shutdown(wait=True, cancel_futures=True)


def _side_by_side(step: Step, due: list[tuple[Item, str]]) -> list[tuple[Item, str]]:
    """What is due, each item behind the first that it is to be made beside."""
    groups: dict[Any, list[tuple[Item, str]]] = {}
    for item, key in due:
        groups.setdefault(step.beside(item), []).append((item, key))
    return [pair for group in groups.values() for pair in group]


def _outcome(item: Item, made: Made, result: Advance) -> Outcome | None:
    """What is stored of what was made; None where the item stays due."""
    result.failed.pop(item.name, None)
    if isinstance(made, RejectedError):
        return Outcome(None, str(made))
    if isinstance(made, PendingError):
        result.pending += 1
    elif isinstance(made, CallFailedError):
        result.failed[item.name] = str(made)
    elif isinstance(made, StopRunError):
        result.stopped = result.stopped or str(made)
    else:
        return Outcome(made, None)
    return None
