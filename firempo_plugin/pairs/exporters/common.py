"""What every exporter does: checks pairs, names files, writes whole files or none."""

import filecmp
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...chat_templates import IMAGE, lead
from ...errors import UserError
from ...files import is_unicode, write_text
from ...phrases import PhraseError, phrase_pair
from ..pair import Pair
from .images import REMEDY

FOREIGN_PLACEHOLDERS = ("<video>", "<audio>")


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        files: In the order of writing; the dataset file first.
        rows: Pairs in the dataset file.
        left_out: Reason by id of the pairs that are not in it.
        notes: Sentences for people.
    """

    files: tuple[Path, ...]
    rows: int
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Attributes:
        options: Dataclass of `export.options`, made by `config_key`.
        write: Writes pairs to a folder, under a name, into a build whose root is told, with images placed as told.
    """

    options: type[Any]
    write: Callable[[list[Pair], Path, str, Path, str, Any], ExportResult]


def usable(pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, str]]:
    """Parts the pairs that a trainer can use from the others, whose reason is given by id."""
    good: list[Pair] = []
    left_out: dict[str, str] = {}
    for pair in pairs:
        problems = "; ".join(_problems(pair))
        if problems:
            left_out[pair.id] = problems
        else:
            good.append(pair)
    return good, left_out


def question(pair: Pair) -> str:
    """The question without image placeholders."""
    return pair.question.replace(IMAGE, "").strip()


def prompt(pair: Pair, template: str = "") -> str:
    """The question with one image placeholder for each image, as the host's template wants it."""
    if pair.question.count(IMAGE) == len(pair.images):
        return pair.question
    return lead(len(pair.images), template) + question(pair)


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
        self._known: dict[str, str] = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}

    def has(self, file: Path) -> bool:
        """Whether the file is an export of this build in this format."""
        return self._known.get(self._name(file)) == self._format

    def take(self, file: Path, *, overwrite: bool) -> None:
        """Claims a file, before it is written: an export that is killed then finds it to be its own.

        Raises:
            UserError: The file is there and something else, and `overwrite` is not set.
        """
        if file.exists() and not self.has(file) and not overwrite:
            raise UserError(f"{file} exists and is not this build's {self._format} export; {REMEDY}")
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
    if pair.rejected_images and len(pair.rejected_images) != len(pair.images):
        yield f"its noised images do not match: {len(pair.rejected_images)} for {len(pair.images)} images"
    if pair.rejected_images and all(map(_same_file, pair.images, pair.rejected_images)):
        yield "its noised images are its images: nothing is noised"
    for file in (*pair.images, *pair.rejected_images):
        if not os.path.isfile(file):
            yield f"an image file is missing: {file}"
    if pair.weight is not None and not (math.isfinite(pair.weight) and pair.weight > 0):
        yield f"its weight is not a positive number: {pair.weight}"
