"""How far a build is: counts of its steps and pairs, of one chunk of records or of all, and the table of them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from ..store.engine import Advance
from ..store.reasons import Reasons
from ..store.request_store import Totals
from ..terminal import shown
from .pair import Pair


@dataclass
class Counts:
    """What a step did.

    Attributes:
        through: Items that went on.
        made: Outcomes made now, rejections among them.
        rejected: Why others did not go on, now and before.
        pending: Items that wait.
        failed: Calls that went unanswered; they stay due.
        stopped: Why the run stopped early, or None.
    """

    through: int = 0
    made: int = 0
    rejected: Reasons = field(default_factory=Reasons)
    pending: int = 0
    failed: Reasons = field(default_factory=Reasons)
    stopped: str | None = None

    @classmethod
    def of(cls, done: Advance) -> Self:
        """Of what came of some items."""
        return cls(
            *(len(done.items), done.made, Reasons(done.rejected), done.pending, Reasons(done.failed), done.stopped)
        )

    def update(self, more: "Counts") -> None:
        """Counts what another has counted."""
        self.through += more.through
        self.made += more.made
        self.rejected.update(more.rejected)
        self.pending += more.pending
        self.failed.update(more.failed)
        self.stopped = self.stopped or more.stopped

    @property
    def is_open(self) -> bool:
        """Whether anything is still due."""
        return bool(self.pending or self.failed or self.stopped)


@dataclass
class Tally:
    """What came of records.

    Attributes:
        records: How many.
        steps: What each step did.
        pairs: What came out of the last step.
        unpaired: Reasons why an item that passed all steps is no pair.
        judged: Responses of which it is known whether they were right, and those that were.
        noise, judges, errors: Pairs by the path of their noise, by judge and by kind of error.
    """

    records: int = 0
    steps: dict[str, Counts] = field(default_factory=dict)
    pairs: int = 0
    unpaired: Reasons = field(default_factory=Reasons)
    judged: tuple[int, int] = (0, 0)
    noise: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def take(self, pairs: Collection[Pair]) -> None:
        """Counts the pairs of all these records."""
        self.pairs = len(pairs)
        correct = {pair.response_id: pair.was_correct for pair in pairs if pair.was_correct is not None}.values()
        self.judged = len(correct), sum(correct)
        self.noise = Counter(pair.noise_path or "no image" for pair in pairs)
        self.judges = Counter(pair.judge for pair in pairs)
        self.errors = Counter(pair.error_type for pair in pairs if pair.error_type)

    def update(self, more: "Tally") -> None:
        """Counts what another has counted."""
        self.records += more.records
        for name, counts in more.steps.items():
            self.steps.setdefault(name, Counts()).update(counts)
        self.pairs += more.pairs
        self.unpaired.update(more.unpaired)
        self.judged = self.judged[0] + more.judged[0], self.judged[1] + more.judged[1]
        for mine, theirs in ((self.noise, more.noise), (self.judges, more.judges), (self.errors, more.errors)):
            mine.update(theirs)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it, without what was made now."""
        steps = [
            [name, counts.through, counts.rejected.plain(), counts.pending, counts.failed.plain()]
            for name, counts in self.steps.items()
        ]
        return {**vars(self), "steps": steps, "unpaired": self.unpaired.plain(), **{
            name: list(vars(self)[name].items()) for name in ("noise", "judges", "errors")
        }}  # fmt: skip

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """From `plain`, by way of JSON."""
        steps = {
            name: Counts(through, 0, Reasons.of(rejected), pending, Reasons.of(failed))
            for name, through, rejected, pending, failed in plain["steps"]
        }
        first, second = plain["judged"]
        more = {name: Counter(dict(plain[name])) for name in ("noise", "judges", "errors")}
        unpaired = Reasons.of(plain["unpaired"])
        return cls(**{**plain, "steps": steps, "unpaired": unpaired, "judged": (first, second), **more})


@dataclass(frozen=True)
class Pairs(Collection[Pair]):
    """The pairs of a build in the order of its source, read anew whenever they are gone through.

    Attributes:
        amount: How many.
        texts: Gives them as text.
    """

    amount: int
    texts: Callable[[], Iterator[str]]

    def __len__(self) -> int:
        return self.amount

    def __iter__(self) -> Iterator[Pair]:
        return map(Pair.read, self.texts())

    def __contains__(self, pair: object) -> bool:
        return any(pair == mine for mine in self)


@dataclass
class Progress:
    """How far a build is.

    Attributes:
        problems: Rows of the source that are no records.
        leaks: Test images by the id of the record that shows them.
        tally: What came of the records.
        pairs: What came out of the last step.
        handed_in: What was submitted to be answered later.
        totals: What the replies in the store have taken.
    """

    problems: Reasons = field(default_factory=Reasons)
    leaks: Reasons = field(default_factory=Reasons)
    tally: Tally = field(default_factory=Tally)
    pairs: Collection[Pair] = ()
    handed_in: list[str] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    def plain(self) -> dict[str, Any]:
        """The counts as JSON can hold them."""
        told = {"problems": self.problems.plain(), "leaks": self.leaks.plain(), "tally": self.tally.plain()}
        return told | {"totals": vars(self.totals)}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """From `plain`, by way of JSON."""
        problems, leaks = Reasons.of(plain["problems"]), Reasons.of(plain["leaks"])
        return cls(problems, leaks, Tally.of(plain["tally"]), totals=Totals(**plain["totals"]))

    @property
    def steps(self) -> dict[str, Counts]:
        """What each step did."""
        return self.tally.steps

    @property
    def stopped(self) -> str | None:
        """Why the run stopped early."""
        return next((step.stopped for step in self.steps.values() if step.stopped), None)

    @property
    def made(self) -> int:
        """Outcomes made now."""
        return sum(step.made for step in self.steps.values())


def summary(progress: Progress) -> str:
    """The table at the end of a run."""
    tally = progress.tally
    lines = [f"{'records':32}{tally.records:8}"]
    if progress.problems:
        lines.append(f"{'rows of the source left aside':32}{len(progress.problems):8}")
        lines += _reasons(progress.problems)
    if progress.leaks:
        lines.append(f"{'records that show a test image':32}{len(progress.leaks):8}")
    for name, step in progress.steps.items():
        parts = [f"{step.through} through", f"{step.made} made now"]
        parts += [f"{len(step.rejected)} rejected"] if step.rejected else []
        parts += [f"{step.pending} waiting"] if step.pending else []
        parts += [f"{len(step.failed)} unanswered"] if step.failed else []
        lines.append(f"{name:32}{', '.join(parts)}")
        lines += _reasons(step.rejected)
        lines += _reasons(step.failed)
    lines.append(f"{'pairs':32}{tally.pairs:8}")
    lines += _reasons(tally.unpaired)
    if tally.pairs:
        judged, correct = tally.judged
        if judged:
            lines.append(f"{'  response was already correct':32}{correct:8}  {correct / judged:6.1%}")
        lines += [_share(f"  noise: {path}", count, tally.pairs) for path, count in tally.noise.most_common()]
        lines += [f"{'  judged by ' + judge:32}{count:8}" for judge, count in tally.judges.most_common()]
        lines += [_share(f"  error of {kind}", count, tally.pairs) for kind, count in tally.errors.most_common()]
    totals = progress.totals
    if totals.replies:
        tokens = f"{totals.prompt_tokens} + {totals.completion_tokens} tokens, {_price(totals)}"
        lines.append(f"{'replies in the store':32}{totals.replies:8}  {tokens}")
    return "\n".join(shown(line) for line in lines)


def _share(name: str, count: int, all_of_them: int) -> str:
    return f"{name:32}{count:8}  {count / all_of_them:6.1%}"


def _price(totals: Totals) -> str:
    if totals.unpriced == totals.replies:
        return "unknown price"
    rest = f", and {totals.unpriced} replies of unknown price" if totals.unpriced else ""
    return f"cost {totals.cost:.4f}{rest}"


def _reasons(reasons: Reasons) -> list[str]:
    return [f"    {line}" for line in reasons.lines()[:12]]
