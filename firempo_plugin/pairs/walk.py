"""Records on their way through all steps, to finished pairs: one chunk of a build."""

from collections.abc import Callable, Iterable, Sequence

from ..phrases import PhraseError, phrase_pair
from ..records import Record, RejectedError
from ..respond.read import known_id
from ..store.engine import Advance, Executor, Item, Step, advance, local
from ..store.halt import Halt
from ..store.reasons import Reasons
from ..store.workspace import CHANGED, Workspace
from .config import BuildConfig
from .findings import split
from .pair import Pair
from .progress import Counts, Tally
from .steps.pairing import PairingStep


class Walk:
    """Takes records through the steps.

    Args:
        config: The build.
        workspace: Its store.
        steps: In their order.
        halt: May end it early.
        among: Which records these are, for progress lines; "" for all.
        executor: Says who does the work of a step.

    Attributes:
        tally: What came of the records.
        pairs: The pairs, as text.
        files: What the steps have looked at, by content; None where a file cannot be read.
        is_finished: Whether nothing is due any more, and all that was stored is as it was made.
    """

    def __init__(
        self,
        config: BuildConfig,
        workspace: Workspace,
        steps: Sequence[Step],
        halt: Halt,
        among: str,
        executor: Executor = local,
    ) -> None:
        self._config = config
        self._workspace = workspace
        self._steps = steps
        self._halt = halt
        self._among = among
        self._executor = executor
        self.tally = Tally()
        self.pairs: list[str] = []
        self.files: dict[str, str | None] = {}
        self.is_finished = True

    def take(self, records: Sequence[Record], wanted: Callable[[Step], bool]) -> None:
        """Takes them all through; only what a step makes that is wanted is made, the rest is found or waits."""
        items = [Item(record, sample) for record in records for sample in range(self._config.respond.samples)]
        self._look(file for record in records for file in record.images)
        self._look(region.mask for record in records for region in record.regions)
        advances: dict[str, Advance] = {}
        for step in self._steps:
            if isinstance(step, PairingStep):
                items = step.take(advances["read"].items, advances["respond"])
            make = wanted(step) and not any(done.stopped for done in advances.values())
            done = advance(
                self._workspace,
                step,
                items,
                make=make,
                halt=self._halt,
                among=self._among,
                executor=self._executor,
            )
            advances[step.name] = done
            items = done.items
            if isinstance(step, PairingStep) and self._config.edit.report == "findings":
                items = split(items, self._config.edit.vocabulary)
            self._look(found.mask for item in items for found in item.segmentations)
        self._count(len(records), advances, items)

    def _look(self, files: Iterable[str | None]) -> None:
        for file in files:
            if file is not None and file not in self.files:
                self.files[file] = known_id(file)

    def _count(self, records: int, advances: dict[str, Advance], items: Sequence[Item]) -> None:
        pairs, unpaired = [], Reasons()
        for item in items:
            try:
                pairs.append(pair_of(item))
            except RejectedError as reason:
                unpaired.add(item.name, str(reason))
        self.tally = Tally(records, {name: Counts.of(done) for name, done in advances.items()}, unpaired=unpaired)
        self.tally.take(pairs)
        self.pairs = [pair.text() for pair in pairs]
        changed = (reason.startswith(CHANGED) for done in advances.values() for reason in done.rejected.values())
        self.is_finished = not any(counts.is_open for counts in self.tally.steps.values()) and not any(changed)


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
