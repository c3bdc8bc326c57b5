"""Checks dataset_info.json, whose entries the host takes on trust."""

import difflib
import json
from pathlib import Path
from typing import Any

from ...errors import UserError

SOURCE_KEYS = {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name"}
ENTRY_KEYS = SOURCE_KEYS | {"formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags"}

SHOWN = 20


class DatasetError(UserError):
    """A dataset as a whole cannot be used; the message names it and what to write."""


def check_entries(names: list[str], dataset_dir: str | dict[str, Any]) -> None:
    """Checks the shape of the datasets' dataset_info.json entries, which the host takes on trust.

    Raises:
        DatasetError: Names the entry, the key, and what to write.
    """
    if isinstance(dataset_dir, dict):
        info: Any = dataset_dir
    else:
        if dataset_dir == "ONLINE" or dataset_dir.startswith("REMOTE:"):
            return
        file = Path(dataset_dir) / "dataset_info.json"
        if not file.is_file():
            raise DatasetError(
                f"{file} does not exist (looked in {file.parent.absolute()}): write as dataset_dir the folder of "
                "dataset_info.json, or run the command where it can be found"
            )
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(info, dict):
        raise DatasetError(f"dataset_info.json must hold an object of data sets, found {type(info).__name__}")
    for name in names:
        if name not in info:
            close = difflib.get_close_matches(name, info, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            there = ", ".join(sorted(info)[:SHOWN]) or "none"
            more = f" and {len(info) - SHOWN} more" if len(info) > SHOWN else ""
            raise DatasetError(
                f"dataset_info.json in {dataset_dir} has no data set {name!r}; {hint}it has: {there}{more}"
            )
        entry = info[name]
        if not isinstance(entry, dict):
            raise DatasetError(f"dataset_info.json: {name} must be an object with keys, found {entry!r}")
        for key in ("columns", "tags"):
            if key in entry and not isinstance(entry[key], dict):
                raise DatasetError(f"dataset_info.json: {name}.{key} must be an object, found {entry[key]!r}")
        for key in set(entry) - ENTRY_KEYS:  # others are notes, which the host leaves alone too
            for close in difflib.get_close_matches(key, ENTRY_KEYS, n=1, cutoff=0.75):
                raise DatasetError(f"dataset_info.json: {name} has the key {key!r}; did you mean {close!r}?")
        if not set(entry) & SOURCE_KEYS:
            raise DatasetError(f'dataset_info.json: {name} does not say where it is; write `"file_name": ...`')
        if not isinstance(entry.get("ranking", False), bool):
            raise DatasetError(f"dataset_info.json: {name}.ranking must be true or false, found {entry['ranking']!r}")
