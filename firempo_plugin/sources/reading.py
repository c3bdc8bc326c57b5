"""The records of a source, those left aside with their reasons, and the leaks among them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..records import Record
from .common import Problem
from .files import read_text
from .leaks import TestImages
from .registry import SOURCES
from .settings import SourceConfig

LOOKED_AT = 1000
"""Records whose images are compared with test images together."""


@dataclass
class Reading:
    """What a source gives.

    Attributes:
        records: Those to go on with.
        problems: Why rows are no records, or records are left aside, by id.
        leaks: Test images by the id of the record that shows them.
    """

    records: list[Record] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    leaks: dict[str, str] = field(default_factory=dict)


def read_source(config: SourceConfig) -> Reading:
    """Reads a source.

    Raises:
        UserError: A file or option of the source is wrong.
    """
    found = Reading()
    for row in read_rows(config, found.leaks.__setitem__):
        if isinstance(row, Problem):
            found.problems[row.id] = row.reason
        else:
            found.records.append(row)
    return found


def read_rows(config: SourceConfig, leaked: Callable[[str, str], object]) -> Iterator[Record | Problem]:
    """Reads a source as it is asked for.

    Args:
        config: Which.
        leaked: Gets the id of each record that shows a test image, and that image.

    Raises:
        UserError: A file or option of the source is wrong.
    """
    rows = _limited(SOURCES.load(config.name).read(config.options), config.limit)
    if config.test_images is None:
        yield from rows
        return
    test = TestImages(_test_images(config.test_images), config.max_pixels)
    while some := list(islice(rows, LOOKED_AT)):
        leaks = test.shown([row for row in some if isinstance(row, Record)])
        for name, image in leaks.items():
            leaked(name, image)
        for row in some:
            if row.id in leaks and isinstance(row, Record) and config.leaks == "refuse":
                yield Problem(row.id, f"leak: shows test image {leaks[row.id]}")
            else:
                yield row


def _limited(rows: Iterator[Record | Problem], limit: int | None) -> Iterator[Record | Problem]:
    """Rows up to the one with which there are so many records."""
    count = 0
    for row in rows:
        yield row
        count += isinstance(row, Record)
        if count == limit:
            return


def _test_images(place: str) -> Path | list[str | Path]:
    """A folder, or the lines of a text file."""
    path = Path(place)
    if path.is_file():
        return [line for line in read_text(path).split("\n") if line.strip()]
    return path
