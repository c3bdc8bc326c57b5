"""Rows of the sources' files; a broken file is a ValueError that names the place and what belongs there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import UserError

Row = dict[str, Any]


def read_json(file: Path) -> Any:
    """The value that a JSON file holds.

    Raises:
        UserError: The file is missing, unreadable or no JSON.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON: {error}") from error


def read_json_rows(file: Path) -> list[Row]:
    """The rows of a JSON file that holds a list of objects.

    Raises:
        UserError: The file is missing, unreadable, empty, or holds something else.
    """
    return not_empty(as_rows(read_json(file), str(file)), file)


def as_rows(value: Any, place: str) -> list[Row]:
    """Checks that a value is a list of objects.

    Raises:
        UserError: It is not; names the place and the row.
    """
    if not isinstance(value, list):
        raise UserError(f"{place} must hold a list of objects, found {type(value).__name__}")
    for number, row in enumerate(value):
        if not isinstance(row, dict):
            raise UserError(f"{place}, row {number}: must be an object, found {row!r:.80}")
    return value


def not_empty(rows: list[Row], file: Path) -> list[Row]:
    """The rows, unless there is none.

    Raises:
        UserError: There is none.
    """
    if not rows:
        raise UserError(f"{file} holds no row")
    return rows


def read_jsonl(file: Path) -> Iterator[Row]:
    """The objects of a JSON-lines file, read as they are asked for; blank lines are skipped.

    Raises:
        UserError: The file is missing, unreadable or empty, or a line is no JSON object; names the line.
    """
    number = 0
    with opened(file) as lines:
        for line_number, line in enumerate(whole_lines(lines, file), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{file}, line {line_number}: is not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{file}, line {line_number}: must be an object, found {row!r:.80}")
            number += 1
            yield row
    if not number:
        raise UserError(f"{file} holds no row")


def opened(file: Path) -> IO[str]:
    """A UTF-8 file for `whole_lines`.

    Raises:
        UserError: It is missing or unreadable.
    """
    try:
        return file.open(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def whole_lines(lines: IO[str], file: Path) -> Iterator[str]:
    """The lines of an open file, with their ends.

    Raises:
        UserError: It is unreadable, or not UTF-8.
    """
    try:
        yield from lines
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        read_text(file)  # says which byte of the whole file it is
        raise


def read_text(file: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        UserError: The file is missing, unreadable, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: byte {error.start}") from error
