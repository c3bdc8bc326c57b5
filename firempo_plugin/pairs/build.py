"""The pipeline as a whole: reads the source, takes every record through the steps, and exports the pairs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..phrases import PhraseError, phrase_pair
from ..records import RejectedError
from ..respond.read import ReadStep
from ..respond.respond import ChatEngine, RespondStep
from ..sources.reading import read_source
from ..store.engine import Advance, Item, Step, advance, lines_by_kind
from ..store.halt import Halt
from ..store.request_store import Totals
from ..store.workspace import Workspace
from ..terminal import shown
from .asks import Asks
from .config import BuildConfig
from .findings import refuse_alike, split
from .pair import Pair
from .steps.label import LabelStep
from .steps.noise import NoiseStep
from .steps.pairing import PairingStep
from .steps.registry import PAIRINGS
from .steps.segment import SegmentStep
from .steps.similar import SimilarStep
from .steps.spans import SpansStep
from .steps.target import TargetStep


@dataclass
class Progress:
    """How far a build is.

    Attributes:
        records: Records of the source.
        problems: Rows of the source that are no records, by id.
        leaks: Test images by the id of the record that shows them.
        advances: What each step did.
        pairs: What came out of the last step.
        unpaired: Reasons why an item that passed all steps is no pair.
        handed_in: What was submitted to be answered later.
    """

    records: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    leaks: dict[str, str] = field(default_factory=dict)
    advances: dict[str, Advance] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    unpaired: dict[str, str] = field(default_factory=dict)
    handed_in: list[str] = field(default_factory=list)

    @property
    def stopped(self) -> str | None:
        """Why the run stopped early."""
        return next((step.stopped for step in self.advances.values() if step.stopped), None)

    @property
    def made(self) -> int:
        """Outcomes made now."""
        return sum(step.made for step in self.advances.values())


def make_steps(
    config: BuildConfig,
    workspace: Workspace,
    asks: Asks,
    engine: Callable[[dict[str, Any]], ChatEngine] | None,
    items: list[Item],
) -> list[Step]:
    """The steps in their order, for items that can go through them.

    Raises:
        UserError: An option of a step is wrong, or what it reads fits no item; or two pairs would have one name.
    """
    if config.edit.report == "findings":
        refuse_alike(items)
    loaded = (lambda: engine(config.respond.engine)) if engine is not None else None
    respond = RespondStep(config.respond, asks.respond, loaded)
    respond.check(items)
    located = config.segment.by != "none"
    return [
        ReadStep(config.source, workspace),
        respond,
        PAIRINGS.load(config.edit.how)(config, asks.judge),
        *([LabelStep(config, asks.judge)] if config.label.by != "none" else []),
        *([SpansStep(config, asks.judge)] if config.spans.of != "words" else []),
        TargetStep(config, asks.judge),
        SegmentStep(config, workspace),
        NoiseStep(config.noise, workspace, located=located)
        if config.noise.by == "corruption"
        else SimilarStep(config.source, workspace, [item.record for item in items], config.noise.workers),
    ]


def run(
    config: BuildConfig,
    workspace: Workspace,
    *,
    only: str | None = None,
    make: bool = True,
    engine: Callable[[dict[str, Any]], ChatEngine] | None = None,
    halt: Halt | None = None,
) -> Progress:
    """Takes all records through the steps.

    Args:
        config: The build.
        workspace: Its store.
        only: Make this step only, of what is there; None: make all.
        make: Whether to make anything; else only look.
        engine: Loads a model into this process, for `respond.backend: engine`.
        halt: May end the run early.

    Raises:
        UserError: There is no such step in this build, or the source or an option of a step is wrong.
    """
    reading = read_source(config.source)
    if make:
        workspace.put_records(reading.records, reading.problems)
    progress = Progress(len(reading.records), reading.problems, reading.leaks)
    items = [Item(record, sample) for record in reading.records for sample in range(config.respond.samples)]
    asks = Asks(config, workspace, collect_batches=make)
    progress.handed_in = asks.collected
    halt = halt or Halt()
    halt.wake = asks.stop
    steps = make_steps(config, workspace, asks, engine, items)
    names = [step.name for step in steps]
    if only not in (None, "export", *names):
        raise UserError(f"this build has no step {only!r}, only {', '.join(names)}; its section {only} turns it on")
    for step in steps:
        if isinstance(step, PairingStep):
            items = step.take(progress.advances["read"].items, progress.advances["respond"])
        wanted = make and only in (None, step.name) and not progress.stopped
        done = advance(workspace, step, items, make=wanted, halt=halt)
        progress.advances[step.name] = done
        items = done.items
        if isinstance(step, PairingStep) and config.edit.report == "findings":
            items = split(items, config.edit.vocabulary)
    if make and not progress.stopped:
        progress.handed_in = [*progress.handed_in, *asks.hand_in()]
    for item in items:
        try:
            progress.pairs.append(pair_of(item))
        except RejectedError as reason:
            progress.unpaired[item.name] = str(reason)
    return progress


def pair_of(item: Item) -> Pair:
    """The finished pair.

    Raises:
        RejectedError: Chosen and rejected differ in no word.
    """
    record, edit = item.record, item.edit
    assert edit is not None
    try:
        chosen, rejected = phrase_pair(edit.chosen, edit.rejected, *(item.spans or ()))
    except PhraseError as error:
        raise RejectedError(f"no phrase: {error}") from error
    path = item.noised[0].path if item.noised else None
    target = item.target
    note = f"{target.reason}; noise: {path}" if target else f"noise: {path}"
    if item.finding:
        note = f"finding {item.finding.number} of {item.finding.among}; {note}"
    return Pair(
        id=item.name,
        question=record.question,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_spans=chosen.spans,
        rejected_spans=rejected.spans,
        images=item.images,
        rejected_images=tuple(image.file for image in item.noised),
        weight=record.weight,
        truth=record.truth,
        kind=record.kind,
        language=record.language,
        was_correct=edit.was_correct,
        judge=edit.judge,
        error_type=item.error_type,
        target=target.phrase if target else None,
        noise_path=path,
        sigma=item.noised[0].sigma if item.noised else None,
        masks=tuple(found.mask for found in item.segmentations),
        note=note,
        sources=tuple(record.images),
        finding=item.finding,
    )


def summary(progress: Progress, totals: Totals) -> str:
    """The table at the end of a run."""
    pairs = progress.pairs
    paths = Counter(pair.noise_path or "no image" for pair in pairs)
    lines = [f"{'records':32}{progress.records:8}"]
    if progress.problems:
        lines.append(f"{'rows of the source left aside':32}{len(progress.problems):8}")
        lines += _reasons(progress.problems)
    if progress.leaks:
        lines.append(f"{'records that show a test image':32}{len(progress.leaks):8}")
    for name, step in progress.advances.items():
        parts = [f"{len(step.items)} through", f"{step.made} made now"]
        parts += [f"{len(step.rejected)} rejected"] if step.rejected else []
        parts += [f"{step.pending} waiting"] if step.pending else []
        parts += [f"{len(step.failed)} unanswered"] if step.failed else []
        lines.append(f"{name:32}{', '.join(parts)}")
        lines += _reasons(step.rejected)
        lines += _reasons(step.failed)
    lines.append(f"{'pairs':32}{len(pairs):8}")
    lines += _reasons(progress.unpaired)
    if pairs:
        judged = {pair.response_id: pair.was_correct for pair in pairs if pair.was_correct is not None}.values()
        if judged:
            correct = sum(judged)
            lines.append(f"{'  response was already correct':32}{correct:8}  {correct / len(judged):6.1%}")
        lines += [f"{'  noise: ' + path:32}{count:8}  {count / len(pairs):6.1%}" for path, count in paths.most_common()]
        judges = Counter(pair.judge for pair in pairs)
        lines += [f"{'  judged by ' + judge:32}{count:8}" for judge, count in judges.most_common()]
        kinds = Counter(f"  error of {pair.error_type}" for pair in pairs if pair.error_type)
        lines += [f"{kind:32}{count:8}  {count / len(pairs):6.1%}" for kind, count in kinds.most_common()]
    if totals.replies:
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens, {_price(totals)}"
        lines.append(f"{'replies in the store':32}{totals.replies:8}  {tokens}")
    return "\n".join(shown(line) for line in lines)


def _price(totals: Totals) -> str:
    if totals.unpriced == totals.replies:
        return "unknown price"
    rest = f", and {totals.unpriced} replies of unknown price" if totals.unpriced else ""
    return f"cost {totals.cost:.4f}{rest}"


def _reasons(reasons: dict[str, str]) -> list[str]:
    return [f"    {line}" for line in lines_by_kind(reasons.values())[:12]]
