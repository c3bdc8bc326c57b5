"""The pipeline as a whole: reads the source, and takes its records through the steps, one chunk after the other."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..endpoint.batch_parts import BatchLimits
from ..endpoint.requests import Ask
from ..errors import UserError
from ..records import Record
from ..respond.read import ReadStep, known_id
from ..respond.respond import ChatEngine, RespondStep, WholeAnswers
from ..sources.common import Problem
from ..sources.reading import read_rows
from ..store.chunks import Chunks
from ..store.engine import Executor, Step, local
from ..store.halt import Halt
from ..store.place import Place
from ..store.progress import progress as showing
from ..store.workspace import Workspace
from .asks import Asks
from .config import BuildConfig
from .decided import settings_digest
from .findings import refuse_alike
from .left import leave
from .progress import Counts, Pairs, Progress, Tally
from .steps.label import LabelStep
from .steps.noise import NoiseStep
from .steps.registry import PAIRINGS
from .steps.segment import SegmentStep
from .steps.similar import SimilarStep
from .steps.spans import SpansStep
from .steps.target import TargetStep
from .walk import Walk

PORTABLE: dict[str, Callable[[BuildConfig, Place, Ask | None], Step]] = {
    "read": lambda config, place, ask: ReadStep(config.source, place),
    "edit": lambda config, place, ask: PAIRINGS.load(config.edit.how)(config, ask),
    "target": lambda config, place, ask: TargetStep(config, ask),
    "segment": lambda config, place, ask: SegmentStep(config, place),
    "noise": lambda config, place, ask: NoiseStep(config.noise, place, located=config.segment.by != "none"),
}
"""Steps that can be made from a configuration and a place alone, where they ask nobody: in another process, too."""


def make_steps(
    config: BuildConfig,
    workspace: Workspace,
    asks: Asks,
    engine: Callable[[dict[str, Any]], ChatEngine] | None,
    records: Callable[[], Iterable[Record]],
) -> list[Step]:
    """The steps in their order, for records that can go through them; `records` gives all, each time.

    Raises:
        UserError: An option of a step is wrong, or what it reads fits no item; or two pairs would have one name.
    """
    if config.edit.report == "findings":
        refuse_alike(records, config.respond.samples)
    loaded = (lambda: WholeAnswers(engine(config.respond.engine))) if engine is not None else None
    respond = RespondStep(config.respond, asks.respond, loaded)
    respond.check(records())
    made = {name: make(config, workspace, asks.judge) for name, make in PORTABLE.items()}
    return [
        made["read"],
        respond,
        made["edit"],
        *([LabelStep(config, asks.judge)] if config.label.by != "none" else []),
        *([SpansStep(config, asks.judge)] if config.spans.of != "words" else []),
        made["target"],
        made["segment"],
        made["noise"]
        if config.noise.by == "corruption"
        else SimilarStep(config.source, workspace, records(), config.noise.workers),
    ]


def run(
    config: BuildConfig,
    workspace: Workspace,
    *,
    only: str | None = None,
    make: bool = True,
    engine: Callable[[dict[str, Any]], ChatEngine] | None = None,
    halt: Halt | None = None,
    executor: Executor = local,
) -> Progress:
    """Takes all records through the steps.

    Args:
        config: The build.
        workspace: Its store.
        only: Make this step only, of what is there; None: make all.
        make: Whether to make anything; else only look.
        engine: Loads a model into this process, for `respond.backend: engine`.
        halt: May end the run early.
        executor: Says who does the work of a step.

    Raises:
        UserError: There is no such step in this build, or the source or an option of a step is wrong.
    """
    chunks = Chunks(workspace, asked=config.respond.backend == "endpoint" or config.asks_judge)
    progress = Progress(problems=chunks.problems)
    rows = read_rows(config.source, progress.leaks.add)
    chunks.take((row.id, row.reason) if isinstance(row, Problem) else row for row in rows)
    asks = Asks(config, workspace, collect_batches=make)
    progress.handed_in = asks.collected
    halt = halt or Halt()
    halt.wake = asks.stop
    steps = make_steps(config, workspace, asks, engine, lambda: chain.from_iterable(map(chunks.records, chunks)))
    names = [step.name for step in steps]
    if only not in (None, "export", *names):
        raise UserError(f"this build has no step {only!r}, only {', '.join(names)}; its section {only} turns it on")
    progress.tally.steps = {name: Counts() for name in names}

    def wanted(step: Step) -> bool:
        return make and only in (None, step.name)

    settings = settings_digest(config, workspace, steps)
    with showing("records", chunks.amount if len(chunks) > 1 else 0) as tick:
        for chunk in chunks:
            known = chunks.finished(chunk, settings, known_id)
            if known is None:
                walk = Walk(config, workspace, steps, halt, chunks.among(chunk), executor)
                walk.take(chunks.records(chunk), lambda step: wanted(step) and not progress.stopped)
                chunks.put(chunk, settings if walk.is_finished else None, walk.tally.plain(), walk.files, walk.pairs)
            progress.tally.update(walk.tally if known is None else Tally.of(known))
            if make and not progress.stopped:
                progress.handed_in = [*progress.handed_in, *asks.hand_in(BatchLimits.requests)]
            progress.totals = asks.store.totals()
            if known is None and not workspace.look:
                leave(config, workspace, progress, chunks.amount)
            tick(chunk.amount)
    if make and not progress.stopped:
        progress.handed_in = [*progress.handed_in, *asks.hand_in()]
    progress.totals = asks.store.totals()
    if not workspace.look:
        leave(config, workspace, progress, chunks.amount)
    progress.pairs = Pairs(progress.tally.pairs, lambda: chain.from_iterable(map(chunks.pairs, chunks)))
    return progress
