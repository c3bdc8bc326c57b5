"""Decides over the rows that cannot be used: the run stops with all of them named, or skips and counts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...objectives.settings import Settings
from .dataset_info import DatasetError
from .media import media_digest

SHOWN = 20
SKIPPED_FILE = "skipped_rows.jsonl"


class UnusableRowsError(DatasetError):
    """Rows cannot be used, and are not to be skipped or leave none; the message lists them."""


@dataclass
class RowCount:
    """What a split holds after admission.

    Attributes:
        rows: Rows that train.
        skipped: Rows that cannot be used.
        noised: Rows with a noised image.
        truncated: Rows with a response that `cutoff_len` shortens.
        phrase_tokens: Phrase tokens of chosen and rejected together.
    """

    rows: int
    skipped: int
    noised: int
    truncated: int
    phrase_tokens: int

    def __str__(self) -> str:
        return (
            f"{_rows(self.rows)}, {self.noised} with a noised image, {self.phrase_tokens} phrase tokens, "
            f"{self.truncated} with a response shortened by cutoff_len, {self.skipped} skipped"
        )


@dataclass
class Examination:
    """What was found in the splits of a dataset module.

    Attributes:
        splits: The usable rows by split.
        counts: What each split then holds.
        problems: Of every other row its split, its place in the data ("row") and why it cannot be used ("problem").
        total: Rows of all splits.
    """

    splits: dict[str, Any]
    counts: dict[str, RowCount]
    problems: list[dict[str, str]]
    total: int


def examine(dataset_module: dict[str, Any], settings: Settings, encoding: str) -> Examination:
    """Sorts the rows of all splits into usable ones and others.

    Args:
        dataset_module: `train_dataset` and `eval_dataset` (one, or a dict of them) of encoded rows.
        settings: The objective; one that compares clean with noised images needs noised images.
        encoding: `dataset.encoding_fingerprint` of this run.

    Raises:
        DatasetError: The rows were encoded by another run that this one cannot use.
    """
    found = Examination(splits_of(dataset_module), {}, [], 0)
    for name, dataset in found.splits.items():
        _require_current(dataset, encoding)
        unusable = _problems(dataset, settings)
        found.total += len(dataset)
        found.problems += [{"split": name, **entry} for _, entry in sorted(unusable.items())]
        if unusable:
            found.splits[name] = dataset.select([i for i in range(len(dataset)) if i not in unusable])
        found.counts[name] = _count(found.splits[name], len(unusable))
    return found


def admit(
    dataset_module: dict[str, Any],
    settings: Settings,
    skip_invalid: bool,
    output_dir: str | None,
    encoding: str,
    tokenized_path: str | None = None,
) -> tuple[dict[str, Any], dict[str, RowCount]]:
    """Checks all splits of the host's dataset module before training.

    Args:
        dataset_module, settings, encoding: See `examine`.
        skip_invalid: Skip and count instead of stopping.
        output_dir: Where the skipped rows are listed; None on all but the main process.
        tokenized_path: Where encoded rows are kept between runs, or None.

    Returns:
        The module without unusable rows, and the counts by split.

    Raises:
        UnusableRowsError: A row cannot be used and is not to be skipped, or no row is left.
    """
    found = examine(dataset_module, settings, encoding)
    if found.problems and not skip_invalid:
        advice = ", or write `fire_skip_invalid: true` to skip and count them"
        raise UnusableRowsError(_report(found.problems, found.total, tokenized_path, advice))
    if output_dir is not None:
        _list_skipped(Path(output_dir) / SKIPPED_FILE, found.problems)
    for name, count in found.counts.items():
        if count.rows == 0:
            reasons = _report(found.problems, found.total, tokenized_path)
            raise UnusableRowsError(f"no usable row is left in the {name} split. {reasons}")
    return _put_back(dataset_module, found.splits), found.counts


def splits_of(dataset_module: dict[str, Any]) -> dict[str, Any]:
    """The rows of a dataset module by the name of their split."""
    splits: dict[str, Any] = {}
    for key, dataset in dataset_module.items():
        name = key.removesuffix("_dataset")
        if isinstance(dataset, dict):
            splits |= {f"{name}_{part}": rows for part, rows in dataset.items()}
        elif dataset is not None:
            splits[name] = dataset
    return splits


def _put_back(dataset_module: dict[str, Any], splits: dict[str, Any]) -> dict[str, Any]:
    module: dict[str, Any] = {}
    for key, dataset in dataset_module.items():
        name = key.removesuffix("_dataset")
        if isinstance(dataset, dict):
            module[key] = {part: splits[f"{name}_{part}"] for part in dataset}
        else:
            module[key] = splits.get(name)
    return module


def as_lines(problems: list[dict[str, str]]) -> str:
    """The rows that cannot be used as JSON lines."""
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in problems)


def _list_skipped(file: Path, problems: list[dict[str, str]]) -> None:
    if not problems:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_lines(problems), encoding="utf-8")


def _require_current(dataset: Any, encoding: str) -> None:
    """Refuses encoded rows of another run that this run would have encoded differently."""
    found = {"code", "media"} <= set(dataset.column_names)
    current = found and dataset.unique("code") == [encoding]
    if not current or dataset.unique("media") != [media_digest(dataset, ("images", "rejected_images"))]:
        raise DatasetError(
            "the tokenised dataset at tokenized_path was written by another stage or version, with another model, "
            "template, cutoff_len or image size, or its images have changed since. Delete that folder, or write "
            "another tokenized_path."
        )


def problem_of(encoded: dict[str, Any], settings: Settings) -> str:
    """Why a row cannot be used, by itself or under the objective; "" where it can."""
    return _problem(encoded["problem"], bool(encoded["noised_prompt_ids"]), settings)


def _problem(own: str, has_noised: bool, settings: Settings) -> str:
    if not own and not settings.objective.applies(has_noised):
        return (
            f"it has no rejected_images, and every term of fire_objective: {settings.objective.name} compares with the "
            "noised image"
        )
    return own


def _problems(dataset: Any, settings: Settings) -> dict[int, dict[str, str]]:
    found = {}
    columns = (_column(dataset, "source"), _column(dataset, "problem"), _lengths(dataset, "noised_prompt_ids"))
    for number, (source, own, noised) in enumerate(zip(*columns, strict=True)):
        if problem := _problem(own, bool(noised), settings):
            found[number] = {"row": source, "problem": problem}
    return found


def _count(dataset: Any, skipped: int) -> RowCount:
    return RowCount(
        rows=len(dataset),
        skipped=skipped,
        noised=sum(map(bool, _lengths(dataset, "noised_prompt_ids"))),
        truncated=sum(_column(dataset, "truncated")),
        phrase_tokens=sum(_lengths(dataset, "chosen_phrase")) + sum(_lengths(dataset, "rejected_phrase")),
    )


def _column(dataset: Any, name: str) -> list[Any]:
    return [value for table in _tables(dataset, name) for value in table.column(name).to_pylist()]


def _lengths(dataset: Any, name: str) -> list[int]:
    """Of the lists in a column."""
    from pyarrow import compute

    tables = _tables(dataset, name)
    return [length for table in tables for length in compute.list_value_length(table.column(name)).to_pylist()]


def _tables(dataset: Any, name: str) -> Iterator[Any]:
    """A column as Arrow keeps it: what is in a list of tokens stays there."""
    yield from dataset.select_columns(name).with_format("arrow").iter(batch_size=1000)


def _report(problems: list[dict[str, str]], total: int, tokenized_path: str | None, advice: str = "") -> str:
    shown = "\n".join(f"  {entry['row']}: {entry['problem']}" for entry in problems[:SHOWN])
    more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    kept = f" and delete {tokenized_path}, which keeps them as they are" if tokenized_path else ""
    return (
        f"{len(problems)} of {_rows(total)} cannot be used (rows count from 0):\n{shown}{more}\n"
        f"Correct them{kept}{advice}."
    )


def _rows(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"


def warnings(counts: dict[str, RowCount], settings: Settings) -> list[str]:
    """What the counts say that a user should know before training."""
    found = []
    uses_noised = any(cell.image != "clean" for cell in settings.cells(has_noised=True))
    for name, count in counts.items():
        if count.skipped:
            found.append(f"{name}: {_rows(count.skipped)} that cannot be used, skipped; {SKIPPED_FILE} lists them")
        if uses_noised and not count.noised:
            found.append(
                f"{name}: no row has a noised image, so the terms on noised images stay empty. Give the dataset a "
                "rejected_images column, or choose an objective without them, for example `fire_objective: rrpo`"
            )
        if count.truncated:
            found.append(
                f"{name}: cutoff_len shortens a response of {_rows(count.truncated)}; phrases beyond it do not train. "
                "Raise cutoff_len to keep them"
            )
    return found
