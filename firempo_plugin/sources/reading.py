"""The records of a source, those left aside with their reasons, and the leaks among them."""

from dataclasses import dataclass, field
from pathlib import Path

from ..records import Record
from .common import Problem
from .files import read_text
from .leaks import leaks
from .registry import SOURCES
from .settings import SourceConfig


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
    for item in SOURCES.load(config.name).read(config.options):
        if isinstance(item, Problem):
            found.problems[item.id] = item.reason
        else:
            found.records.append(item)
        if config.limit is not None and len(found.records) >= config.limit:
            break
    if config.test_images is not None:
        found.leaks = leaks(found.records, _test_images(config.test_images), config.max_pixels)
        if config.leaks == "refuse":
            found.problems |= {name: f"leak: shows test image {image}" for name, image in found.leaks.items()}
            found.records = [record for record in found.records if record.id not in found.leaks]
    return found


def _test_images(place: str) -> Path | list[str | Path]:
    """A folder, or the lines of a text file."""
    path = Path(place)
    if path.is_file():
        return [line for line in read_text(path).split("\n") if line.strip()]
    return path
