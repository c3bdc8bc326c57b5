"""What every exporter does: checks pairs, names files, writes whole files or none."""

import filecmp
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress, islice
from pathlib import Path
from typing import Any

from ...chat_templates import IMAGE, lead
from ...errors import UserError
from ...files import is_unicode, read_object, write_text
from ...phrases import PhraseError, phrase_pair
from ...store.reasons import Reasons
from ..pair import Pair
from .images import REMEDY

PACKED, GROUP = 2048, 65_536
"""Rows of a Parquet file that are packed together, and those of its row groups."""
FOREIGN_PLACEHOLDERS = ("<video>", "<audio>")
_NAME = re.compile(r"[^\W\d_][\w.-]*")
INFO = "dataset_info"
"""The host's list of data sets, whose file no data set may take."""


def refuse_name(name: str) -> None:
    """Raises UserError where a data set cannot have a name."""
    if not _NAME.fullmatch(name) or name == INFO:
        raise UserError(
            f"export.name is {name!r}; write letters, digits, '_', '-' and '.', starting with a letter; not {INFO}"
        )


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        files: In the order of writing; the dataset file first.
        rows: Pairs in the dataset file.
        left_out: Why others are not in it.
        notes: Sentences for people.
    """

    files: tuple[Path, ...]
    rows: int
    left_out: Reasons = field(default_factory=Reasons)
    notes: tuple[str, ...] = ()


class Kept(Collection[Pair]):
    """Those of some pairs that are exported, in their order; no more than a few are in memory.

    Args:
        pairs: All of them, which can be gone through again and again.
        mask: For each, whether it is.
        told: Columns that only some of them have, in the order in which they come.
    """

    def __init__(self, pairs: Collection[Pair], mask: Sequence[int], told: Iterable[str] | None = None) -> None:
        self._pairs = pairs
        self._mask = mask
        self._amount = sum(mask)
        self.told = tuple(dict.fromkeys(name for pair in self for name in pair.told) if told is None else told)

    def __len__(self) -> int:
        return self._amount

    def __iter__(self) -> Iterator[Pair]:
        return compress(self._pairs, self._mask)

    def __contains__(self, pair: object) -> bool:
        return any(pair == mine for mine in self)


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Attributes:
        options: Dataclass of `export.options`, made by `config_key`.
        write: Writes pairs, which it may go through again and again, to a folder, under a name, into a build whose root
            is told, with images placed as told.
    """

    options: type[Any]
    write: Callable[[Kept, Path, str, Path, str, Any], ExportResult]


class Checks:
    """Finds what keeps a trainer from using a pair; every file is looked at once."""

    def __init__(self) -> None:
        self._is_file = lru_cache(10_000)(os.path.isfile)
        self._same_file = lru_cache(10_000)(_same_file)

    def problems(self, pair: Pair) -> str:
        """All of them; "" where there is none."""
        return "; ".join((*_problems(pair), *self._of_files(pair)))

    def _of_files(self, pair: Pair) -> Iterator[str]:
        if pair.rejected_images and len(pair.rejected_images) != len(pair.images):
            yield f"its noised images do not match: {len(pair.rejected_images)} for {len(pair.images)} images"
        if pair.rejected_images and all(map(self._same_file, pair.images, pair.rejected_images)):
            yield "its noised images are its images: nothing is noised"
        for file in (*pair.images, *pair.rejected_images):
            if not self._is_file(file):
                yield f"an image file is missing: {file}"
        if pair.weight is not None and not (math.isfinite(pair.weight) and pair.weight > 0):
            yield f"its weight is not a positive number: {pair.weight}"


def question(pair: Pair) -> str:
    """The question without image placeholders."""
    return pair.question.replace(IMAGE, "").strip()


def prompt(pair: Pair, template: str = "") -> str:
    """The question with one image placeholder for each image, as the host's template wants it."""
    if pair.question.count(IMAGE) == len(pair.images):
        return pair.question
    return lead(len(pair.images), template) + question(pair)


def write_parquet(file: Path, rows: Iterator[dict[str, Any]], schema: Any) -> None:
    """Writes rows in groups, of which no more than one is in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = iter(lambda: pa.RecordBatch.from_pylist(list(islice(rows, PACKED)), schema), None)
    with pq.ParquetWriter(file, schema) as writer:
        while some := [batch for batch in islice(packed, GROUP // PACKED) if len(batch)]:
            writer.write_table(pa.Table.from_batches(some).combine_chunks())


class Claims:
    """The dataset files that a build has exported, kept in its folder; no other file is ever replaced.

    Args:
        root: The build's folder.
        format_name: The format that claims files now.
    """

    def __init__(self, root: Path, format_name: str) -> None:
        self._root = root
        self._format = format_name
        self._file = root / "exports.json"
        advice = "delete it, and set export.options.overwrite: true once"
        self._known: dict[str, str] = read_object(self._file, advice) if self._file.exists() else {}

    def has(self, file: Path) -> bool:
        """Whether the file is an export of this build in this format."""
        return self._known.get(self._name(file)) == self._format

    def refuse_others(self, file: Path, *, overwrite: bool) -> None:
        """Raises UserError where the file is there and something else, and `overwrite` is not set."""
        if file.exists() and not self.has(file) and not overwrite:
            raise UserError(f"{file} exists and is not this build's {self._format} export; {REMEDY}")

    def take(self, file: Path, *, overwrite: bool) -> None:
        """Claims a file, before it is written: an export that is killed then finds it to be its own.

        Raises:
            UserError: See `refuse_others`.
        """
        self.refuse_others(file, overwrite=overwrite)
        self._known[self._name(file)] = self._format
        write_text(self._file, json.dumps(self._known, indent=1) + "\n")

    def _name(self, file: Path) -> str:
        return os.path.relpath(os.path.realpath(file), os.path.realpath(self._root))


def _same_file(one: str, other: str) -> bool:
    return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)


def _problems(pair: Pair) -> Iterator[str]:
    if not question(pair):
        yield "its question is empty"
    for text, name in ((pair.question, "question"), (pair.chosen, "chosen"), (pair.rejected, "rejected")):
        forbidden = FOREIGN_PLACEHOLDERS if name == "question" else (IMAGE, *FOREIGN_PLACEHOLDERS)
        for placeholder in forbidden:
            if placeholder in text:
                yield f"its {name} holds a media placeholder: {placeholder}"
        if not is_unicode(text):
            yield f"its {name} holds half a character, which no file can: {text!a}"
    try:
        phrase_pair(pair.chosen, pair.rejected, pair.chosen_spans, pair.rejected_spans)
    except PhraseError as error:
        yield f"its phrases cannot be used: {error}"
