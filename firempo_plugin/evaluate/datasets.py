"""What is in the files that a measure's options name, so that a changed file is measured anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import file_digest


def content_of(options: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by path: of every option that is a file, and of the files of data sets in dataset_info.json."""
    return {str(file): file_digest(file) for file in _files(options)}


def _files(options: dict[str, Any]) -> Iterator[Path]:
    for value in options.values():
        if isinstance(value, str) and Path(value).is_file():
            yield Path(value)
    folder = Path(str(options.get("dataset_dir", "data")))
    info = folder / "dataset_info.json"
    names = options.get("dataset", "")
    if not names or not info.is_file():
        return
    known = json.loads(info.read_text(encoding="utf-8"))
    for name in names if isinstance(names, list) else str(names).split(","):
        file = folder / str(known.get(name.strip(), {}).get("file_name", ""))
        if file.is_file():
            yield file
