"""Reads a source as tests look at it."""

from pathlib import Path
from typing import Any

from firempo_plugin.records import Record
from firempo_plugin.sources.common import Problem
from firempo_plugin.sources.registry import SOURCES


def read(name: str, **options: Any) -> tuple[list[Record], list[Problem]]:
    """Records and problems of a source, whose options may be paths."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    items = list(SOURCES.load(name).read(plain))
    ids = [item.id for item in items]
    assert len(set(ids)) == len(ids)
    assert all(identity.startswith(f"{name}:") for identity in ids)
    records = [item for item in items if isinstance(item, Record)]
    for record in records:
        assert all(Path(image).is_absolute() and Path(image).is_file() for image in record.images)
        assert record.question == record.question.strip() != ""
        assert record.truth == record.truth.strip() != ""
    return records, [item for item in items if isinstance(item, Problem)]


def reason(problems: list[Problem]) -> str:
    (problem,) = problems
    return problem.reason
