"""Says where a JSON file of rows goes wrong, when the loader that reads it only says that it does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files import is_unicode

_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
"""Escapes of half a surrogate pair; the loader leaves such characters out, which would shift spans."""


def explain_early(path: str) -> str | None:
    """What the loader would not survive, or would change in silence: looked for before it reads the file."""
    file = Path(path)
    if file.suffix not in (".json", ".jsonl") or not file.is_file():
        return None
    content = file.read_bytes()
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] not in (b"[", b"{"):
        return (
            f"{file.name} must hold rows: a JSON list of objects, or one object a line; it begins with {start[:20]!r}"
        )
    return explain(path, types=False) if _LONE_SURROGATE.search(content) else None


def explain(path: str, *, types: bool = True) -> str | None:
    """Finds the first reason why a JSON or JSON-lines file does not make a table of rows.

    Args:
        path: The file.
        types: Whether to compare the types of values within a column, too.

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
    return next(_problems(file.name, rows, types), None) or (_late_fraction(file.name, rows) if types else None)


def _read(file: Path) -> Any:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".json" and not text.lstrip().startswith("{"):
        return json.loads(text)
    rows = []
    lines = text.split("\n")  # not splitlines: JSON text may hold other line separators
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                start = sum(len(before) + 1 for before in lines[: number - 1])
                raise json.JSONDecodeError(f"{error.msg} (line {number})", text, start) from error
    return rows


def _problems(name: str, rows: list[Any], types: bool) -> Iterator[str]:
    known: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            yield f"{name}, row {number}: must be an object with columns, found {_kind(row)}"
            return
        for place in _unreadable("row", row):
            yield f"{name}, row {number}: {place}"
            return
        for column, value in row.items() if types else ():
            for place, kind in _kinds(column, value):
                before, where = known.setdefault(place, (kind, number))
                if kind != before:
                    yield (
                        f"{name}, row {number}: {place} holds {kind}, but {before} in row {where}; "
                        "a column has one type (null is always allowed)"
                    )
                    return


def _late_fraction(name: str, rows: list[dict[str, Any]]) -> str | None:
    """The first fraction in a column whose first number is whole: the loader has read far enough to say integers."""
    first: dict[str, type] = {}
    for number, row in enumerate(rows):
        for column, value in row.items():
            if type(value) in (int, float) and first.setdefault(column, type(value)) is int and type(value) is float:
                return (
                    f"{name}, row {number}: {column} holds {value}, but whole numbers before; the loader takes a "
                    "column's type from the first megabytes of the file: write the whole numbers as 1.0"
                )
    return None


def _unreadable(place: str, value: Any) -> Iterator[str]:
    """Values that no table can hold: half of a surrogate pair, an integer of more than 64 bits."""
    if isinstance(value, str) and not is_unicode(value):
        yield f"{place} holds half of a surrogate pair, which is no character"
    elif type(value) is int and not -(2**63) <= value < 2**63:
        yield f"{place} holds {value}, which needs more than 64 bits"
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unreadable(f"{place}.{key}" if place != "row" else str(key), item)


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
