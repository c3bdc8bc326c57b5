"""Training and validation records beside each other: what both show, and which of validation go together."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..evaluate.models import digest_of
from ..records import Record
from ..settings import checked
from ..sources.leaks import TestImages
from ..sources.reading import Reading, read_source
from ..sources.settings import SourceConfig
from ..store.reasons import lines_by_kind
from .config import AlignConfig


@dataclass(frozen=True)
class Split:
    """The records that the rounds are made of and measured on.

    Attributes:
        training, validation: Records, and rows left out.
        shared: Images or studies of validation records that training records show, too, by the record's id.
    """

    training: Reading
    validation: Reading
    shared: Mapping[str, str]

    @property
    def clusters(self) -> dict[str, str]:
        """By validation record, what the bootstrap draws it together with: its study, or else its first image.

        Of a single one nothing can be drawn: its records stand alone.
        """
        found = {record.id: record.cluster for record in self.validation.records}
        return found if len({*found.values()}) > 1 else {}

    @property
    def note(self) -> str:
        """Of what both show; "" where that is nothing."""
        if not self.shared:
            return ""
        return (
            f"{len(self.shared)} of {len(self.validation.records)} validation records show an image or a study that "
            "the rounds train on"
        )

    @property
    def about(self) -> str:
        """Of validation, for the tables."""
        counts = f"validation has {len(self.validation.records)} records, {len(self.validation.problems)} rows left out"
        return counts + (f"; {self.note}, so that the metric is not to be believed" if self.note else "")

    @property
    def lines(self) -> list[str]:
        """How many records there are, and why rows are none."""
        found = []
        for name, reading in (("training", self.training), ("validation", self.validation)):
            found.append(f"{name}: {len(reading.records)} records, {len(reading.problems)} rows left out")
            found += lines_by_kind(reading.problems.values())
        return [*found, *([self.note] if self.note else [])]


def content_of(reading: Reading) -> str:
    """What tells the records of a side from others: all but the places of their files."""
    return digest_of([asdict(replace(record, images=(), regions=())) for record in reading.records])


def read(config: AlignConfig) -> Split:
    """Reads the records of both sides.

    Raises:
        UserError: A source cannot be read or has no record; or both have an image or a study, and `overlap` is not
            "report".
    """
    training, validation = _side(config, "build"), _side(config, "evaluate")
    split = Split(training, validation, shared(training.records, validation.records))
    if split.shared and config.overlap == "refuse":
        record, what = next(iter(split.shared.items()))
        raise UserError(
            f"evaluate.source: {split.note}, such as {record}: {what}; rounds would be chosen by what the model "
            "remembers. Give validation images of its own, or write overlap: report"
        )
    return split


def _side(config: AlignConfig, name: str) -> Reading:
    source = checked(SourceConfig, vars(config)[name].get("source") or {}, f"{name}.source.")
    if not source.name:
        return Reading()
    try:
        reading = read_source(source)
    except UserError as error:
        raise UserError(f"{name}.source: {error}") from None
    if not reading.records:
        left_out = "".join(f"\n  {line.strip()}" for line in lines_by_kind(reading.problems.values()))
        raise UserError(f"{name}.source gives no record; rows left out: {len(reading.problems)}{left_out}")
    return reading


def shared(training: Iterable[Record], validation: Iterable[Record]) -> dict[str, str]:
    """Images or studies of validation records that training records have, too, by the record's id."""
    known, asked = list(training), list(validation)
    images = {image: None for record in known for image in record.images}
    files = [file for file in images if Path(file).is_file()]
    studies = {record.study for record in known if record.study}
    found = {record.id: f"study {record.study}" for record in asked if record.study in studies}
    shown = TestImages(files).shown(asked) if files else {}
    return found | {name: f"image {file}" for name, file in shown.items()}
