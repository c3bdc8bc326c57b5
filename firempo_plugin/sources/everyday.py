"""Everyday photographs that scikit-image carries, with questions: a guard for what a model knew before it was aligned.

A few dozen questions see that something broke, not by how much; for that, take a benchmark of general questions.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml

from ..errors import UserError
from ..records import Record
from .common import Source
from .fields import image_file

PACKAGE = "skimage"


@dataclass(frozen=True, kw_only=True)
class Options:
    """There is nothing to say about it."""


def _rows(options: Options) -> Iterator[tuple[str, tuple[str, str, str]]]:
    text = files(__package__).joinpath("everyday.yaml").read_text(encoding="utf-8")
    for image, questions in yaml.safe_load(text).items():
        for number, (question, truth) in enumerate(questions.items()):
            yield f"{Path(image).stem}-{number}", (image, question, truth)


def _record(record_id: str, row: tuple[str, str, str], options: Options) -> Record:
    image, question, truth = row
    return Record(record_id, (image_file(_folder(), image, allow_outside=False),), question, truth, closed=True)


def _folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UserError("source everyday needs the photographs of scikit-image: pip install 'firempo-plugin[demo]'")
    return Path(found.origin).parent / "data"


EVERYDAY = Source("everyday", Options, _rows, _record)
