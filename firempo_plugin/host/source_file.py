"""Says where a JSON file of rows goes wrong, when the loader that reads it only says that it does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def explain(path: str) -> str | None:
    """Finds the first reason why a JSON or JSON-lines file does not make a table of rows.

    Returns:
        A sentence with file and row (or line), or None where this module sees nothing wrong.
    """
    file = Path(path)
    if file.suffix not in (".json", ".jsonl") or not file.is_file():
        return None
    try:
        rows = _read(file)
    except UnicodeDecodeError as error:
        return f"{file.name} is not UTF-8: byte {error.start}"
    except json.JSONDecodeError as error:
        return f"{file.name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    if not isinstance(rows, list):
        return f"{file.name} must hold a list of rows, found {_kind(rows)}"
    if not rows:
        return f"{file.name} has no rows"
    return next(_problems(file.name, rows), None)


def _read(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json" and not text.lstrip().startswith("{"):
        return json.loads(text)
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise json.JSONDecodeError(f"{error.msg} (line {number})", text, _offset(text, number)) from error
    return rows


def _offset(text: str, line: int) -> int:
    return sum(len(part) for part in text.splitlines(keepends=True)[: line - 1])


def _problems(name: str, rows: list[Any]) -> Iterator[str]:
    known: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            yield f"{name}, row {number}: must be an object with columns, found {_kind(row)}"
            return
        for column, value in row.items():
            for place, kind in _kinds(column, value):
                before, where = known.setdefault(place, (kind, number))
                if kind != before:
                    yield (
                        f"{name}, row {number}: {place} holds {kind}, but {before} in row {where}; "
                        "a column has one type (null is always allowed)"
                    )
                    return


def _kinds(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """The kind of a value and of everything in it, by place; null has none."""
    if value is None:
        return
    yield place, _kind(value)
    if isinstance(value, list):
        for item in value:
            yield from _kinds(f"{place}[]", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _kinds(f"{place}.{key}", item)


def _kind(value: Any) -> str:
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")
