"""What is known of a round when it is over: validation, answers, pairs and training, from the files that are there."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from ..errors import UserError
from ..evaluate import config as evaluating
from ..evaluate import tables
from ..evaluate.compare import Cell, Interval, column
from ..evaluate.config import CompareConfig, EvaluateConfig
from ..evaluate.store import ItemFile, Measured
from ..pairs.audit import files as audit_files
from ..pairs.audit import style
from .config import PAIRS, row_of
from .policy import Policy, is_its_own_reference
from .rounds import Built, Rounds

PHRASE, TIMES = 4, 3
"""Words in a row that an answer repeats, and how often it says them."""
EARLY = 0.25


@dataclass(frozen=True)
class Answers:
    """How the answers are written, each in its place.

    Attributes:
        words: Their lengths.
        repeated: 1 for those that say the same four words three times or more, else 0.
        clusters: What each is drawn together with by the bootstrap; empty: each alone.
    """

    words: tuple[float, ...]
    repeated: tuple[float, ...]
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """What the log of a round's training says.

    Attributes:
        early: Mean reward accuracy over its first quarter; where that has no entry, up to the first one.
        late: Over its last quarter.
        until: Share of training that `early` is over.
        pairs: And how many pairs.
    """

    early: float
    late: float
    until: float
    pairs: float


@dataclass(frozen=True)
class Style:
    """Of the pairs of a round: mean words of chosen minus rejected, and mean share of words that were edited."""

    words: float
    edited: float


@dataclass(frozen=True)
class Numbers:
    """A round, or with number 0 the base model.

    Attributes:
        number: Which.
        model: Its adapter's folder, or its checkpoint.
        values: The metric by item; an item that could be measured and has no value has 0.
        unread: 1 for such an item, else 0, in their order.
        answers: None where nothing is asked.
        columns: Means of `firempo evaluate`, as its table shows them, by title.
        built, training, style: Of a round, not of the base model.
        skipped: Its pairs that training could not use.
        clusters: Of the items, in their order; see `Answers`.
    """

    number: int
    model: str
    values: Mapping[str, float]
    unread: tuple[float, ...]
    answers: Answers | None
    columns: Mapping[str, float | None]
    built: Built | None = None
    training: Training | None = None
    style: Style | None = None
    clusters: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def mean(self) -> float:
        """Of the metric."""
        return fmean(self.values.values())


def gather(
    rounds: Rounds,
    file: Path,
    policies: Sequence[Policy],
    built: Sequence[Built],
    metric: str,
    clusters: Mapping[str, str],
) -> list[Numbers]:
    """What is known of all rounds until now, from what the last evaluation left.

    Args:
        rounds: Where they are.
        file: What `firempo evaluate` was given last.
        policies: The base model, and the model after each round.
        built: Of each round that was trained.
        metric: measure.metric.
        clusters: By record, what the bootstrap draws it together with.

    Raises:
        UserError: The metric has no value.
    """
    config = evaluating.load(file, [])
    measure, _, name = metric.partition(".")
    names = [row_of(number) for number in range(len(policies))]
    items = {row: {item.id: item for item in _items(config, measure, row) if not item.skipped} for row in names}
    known = list(dict.fromkeys(item for found in items.values() for item in found))
    own = {item: one.of for found in items.values() for item, one in found.items()}
    measured = {metric: None for found in items.values() for item in found.values() for metric in item.values}
    if name not in measured:
        there = ", ".join(f"{measure}.{one}" for one in measured) or f"nothing, see {config.workspace}/items"
        raise UserError(f"metric: {metric} has no value; there is {there}")
    table = tables.make(config)
    history = []
    for number, (row, policy) in enumerate(zip(names, policies, strict=True)):
        place = rounds.place(number)
        values = {item: items[row][item].values.get(name) if item in items[row] else None for item in known}
        of_round: dict[str, Any] = {}
        if number:
            of_round = {"built": built[number - 1], "training": training(place)}
            of_round["skipped"] = skipped(place)
            of_round["style"] = style_of(place / PAIRS / f"{PAIRS}.json")
        history.append(
            Numbers(
                number,
                policy.adapter or policy.checkpoint,
                {item: value or 0.0 for item, value in values.items()},
                tuple(float(value is None) for value in values.values()),
                answers(Path(config.workspace, "answers", f"{row}.jsonl"), clusters),
                {one.title: _mean(table.cells[one.title][row], one.scale) for one in table.columns},
                clusters=tuple(clusters.get(item) or own.get(item) or item for item in known),
                **of_round,
            )
        )
    return history


def _items(config: EvaluateConfig, measure: str, row: str) -> list[Measured]:
    return ItemFile(Path(config.workspace), measure, row).read().items


def _mean(cell: Cell, scale: float) -> float | None:
    return None if cell.mean is None else cell.mean.value * scale


def answers(file: Path, clusters: Mapping[str, str]) -> Answers | None:
    """How the answers are written that `firempo evaluate` wrote down; None where it asked nothing."""
    if not file.is_file():
        return None
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    texts = [style.words(row["answer"] or "") for row in rows]
    return Answers(
        tuple(float(len(text)) for text in texts),
        tuple(float(repeats(text)) for text in texts),
        tuple(clusters.get(row["id"], row["id"]) for row in rows),
    )


def repeats(words: Sequence[str]) -> bool:
    """Whether the same four words in a row are said three times."""
    phrases = Counter(zip(*(words[place:] for place in range(PHRASE)), strict=False))
    return any(count >= TIMES for count in phrases.values())


def training(place: Path) -> Training | None:
    """Reward accuracies of a round's training; None where its log has none.

    Without the first step of a model that is its own reference: its rewards are all 0, so that it has no pair right.
    """
    state = json.loads((place / "train" / "trainer_state.json").read_text(encoding="utf-8"))
    log = [entry for entry in state["log_history"] if "rewards/accuracies" in entry]
    found = [(entry["step"], entry["rewards/accuracies"]) for entry in log]
    if found and is_its_own_reference(yaml.safe_load((place / "train.yaml").read_text(encoding="utf-8"))):
        (step, accuracy), *found = found
        found = [(step, min(1.0, accuracy * step / (step - 1))), *found] if step > 1 else found
    if not found:
        return None
    last = found[-1][0]
    until = max(found[0][0], EARLY * last)
    early = [accuracy for step, accuracy in found if step <= until]
    share = until / state["global_step"]
    late = [accuracy for step, accuracy in found if step > (1 - EARLY) * last]
    return Training(fmean(early), fmean(late), share, share * state["epoch"] * _rows(place)["rows"])


def skipped(place: Path) -> int:
    """Pairs of a round that training left out, under `fire_skip_invalid`."""
    return _rows(place)["skipped"]


def _rows(place: Path) -> dict[str, int]:
    """Counts of the rows that a round was trained on, as the stage writes them."""
    settings = json.loads((place / "train" / "fire_mpo.json").read_text(encoding="utf-8"))
    found: dict[str, int] = settings["rows"]["train"]
    return found


def style_of(file: Path) -> Style:
    """Of a file of pairs."""
    report = style.audit(audit_files.read(file)[1], file.name)
    return Style(fmean(report.differences), fmean(report.edit_distances))


def difference(than: Numbers, numbers: Numbers, how: CompareConfig) -> Interval:
    """What a round has more of the metric than another: paired over the items."""
    return rise(list(than.values.values()), list(numbers.values.values()), numbers.clusters, how)


def rise(before: Sequence[float], now: Sequence[float], clusters: Sequence[str], how: CompareConfig) -> Interval:
    """By how much a mean rose: paired, both in the same order, with those of a cluster drawn together."""
    values = {"before": np.array([before]), "now": np.array([now])}
    cells = column(values, "before", draws=how.draws, confidence=how.confidence, seed=how.seed, clusters=clusters)
    found = cells["now"].difference
    assert found is not None
    return found.interval


def spread(numbers: Numbers, how: CompareConfig) -> Interval:
    """The metric of a round with its interval."""
    values = {"": np.array([list(numbers.values.values())])}
    found = column(values, None, draws=how.draws, confidence=how.confidence, seed=how.seed, clusters=numbers.clusters)[
        ""
    ].mean
    assert found is not None
    return found
