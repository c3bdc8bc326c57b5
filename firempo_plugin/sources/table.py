"""Questions in a plain table: JSON lines, CSV or Parquet, with a map that says which column holds what."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..records import Record, RejectedError
from ..settings import config_key
from .common import Source
from .fields import closed, folder, image_file, is_written, own_id, plain
from .files import Row, opened, read_jsonl, whole_lines

FIELDS = ("id", "image", "images", "question", "truth", "response", "kind", "language", "closed", "study")
KINDS = ("vqa", "report")
LANGUAGES = ("en", "zh")
_REQUIRED = ("question", "truth")
AT_ONCE = 1000
"""Rows of a Parquet file that are unpacked together."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    file: str = config_key(MISSING, "file: .jsonl, .csv or .parquet")
    columns: dict[str, str] = config_key(MISSING, f"columns, as field: column; fields: {', '.join(FIELDS)}")
    image_root: str = config_key(MISSING, "folder that the image paths start from")
    kind: Literal["vqa", "report"] = config_key("vqa", "vqa or report, for rows that do not say")
    language: Literal["en", "zh"] = config_key("en", "en or zh, for rows that do not say")
    allow_outside: bool = config_key(False, "read images outside image_root")

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if name not in FIELDS:
                raise UserError(f"columns.{name}: {column!r} is unknown; fields are {', '.join(FIELDS)}")
        for name in _REQUIRED:
            if name not in self.columns:
                raise UserError(f"columns.{name} is missing; write the column that holds it")
        if ("image" in self.columns) == ("images" in self.columns):
            raise UserError("columns must have either image (one path) or images (a list of paths)")


def columns_of(file: Path) -> list[str]:
    """The names of a table's columns; of JSON lines, those of the first row.

    Raises:
        UserError: It is missing, broken, or of another kind.
    """
    names, _ = _reader(file)(file, [])
    return names


def _reader(file: Path) -> Callable[[Path, list[str]], tuple[list[str], Iterator[Row]]]:
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise UserError(f"{file} is none of the tables that are read here: {', '.join(_READERS)}")
    return read


def _rows(options: Options) -> Iterator[tuple[str, Row]]:
    file = Path(options.file)
    names, rows = _reader(file)(file, list(options.columns.values()))
    for name, column in options.columns.items():
        if column not in names:
            raise UserError(f"{file} has no column {column!r} for {name}; it has: {', '.join(names)}")
    number = -1
    for number, row in enumerate(rows):
        mapped = {name: row.get(column) for name, column in options.columns.items()}
        yield own_id(mapped, "id", number), mapped
    if number < 0:
        raise UserError(f"{file} holds no row")


def _record(record_id: str, row: Row, options: Options) -> Record:
    root = folder(options.image_root)
    names = _listed(row["images"]) if "images" in row else [row["image"]]
    response, study = row.get("response"), row.get("study")
    return Record(
        id=record_id,
        images=tuple(image_file(root, name, allow_outside=options.allow_outside) for name in names),
        question=plain(row["question"], "question"),
        truth=plain(row["truth"], "truth"),
        kind=_choice(row.get("kind"), "kind", KINDS, options.kind),
        language=_choice(row.get("language"), "language", LANGUAGES, options.language),
        closed=closed(row.get("closed")),
        response=plain(response, "response") if is_written(response) else None,
        study=str(study).strip() if is_written(study) else None,
    )


def _listed(value: Any) -> list[Any]:
    """A list of paths; in CSV, as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RejectedError(f"images are no list of paths: {value:.80}: {error}") from error
    if not isinstance(value, list) or not value:
        raise RejectedError(f"images are no list of paths: {value!r:.80}")
    return value


def _choice(value: Any, name: str, choices: tuple[str, ...], default: Any) -> Any:
    if not is_written(value):
        return default
    if value not in choices:
        raise RejectedError(f"{name} is none of {', '.join(choices)}: {value!r:.80}")
    return value


def _jsonl(file: Path, columns: list[str]) -> tuple[list[str], Iterator[Row]]:
    """The names of the first rows, up to the one with which all columns that are asked for have been there."""
    names: dict[str, None] = {}
    for row in read_jsonl(file):
        names |= dict.fromkeys(row)
        if names.keys() >= set(columns):
            break
    return list(names), read_jsonl(file)


def _csv(file: Path, columns: list[str]) -> tuple[list[str], Iterator[Row]]:
    lines = _csv_lines(file)
    names = next(lines, [])
    if len(set(names)) != len(names):
        raise UserError(f"{file}: two columns have one name: {', '.join(names)}")
    return names, (dict(zip(names, cells, strict=True)) for cells in lines)


def _csv_lines(file: Path) -> Iterator[list[str]]:
    """The cells of each line that is not blank, as many as the first one has."""
    with opened(file) as text:
        reader = csv.reader(whole_lines(text, file), strict=True)
        try:
            names = next(reader, [])
            yield names
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise UserError(f"{file}, line {reader.line_num}: {len(cells)} cells, but {len(names)} columns")
                if cells:
                    yield cells
        except csv.Error as error:
            raise UserError(f"{file}, line {reader.line_num}: is not valid CSV: {error}") from error


def _parquet(file: Path, columns: list[str]) -> tuple[list[str], Iterator[Row]]:
    import pyarrow.lib
    import pyarrow.parquet

    def rows(wanted: list[str]) -> Iterator[Row]:
        try:
            for batch in table.iter_batches(AT_ONCE, columns=wanted):
                yield from batch.to_pylist()
        except (OSError, pyarrow.lib.ArrowException) as error:
            raise UserError(f"{file} cannot be read as Parquet: {error}") from error

    try:
        table = pyarrow.parquet.ParquetFile(file)
        names = list(table.schema_arrow.names)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise UserError(f"{file} cannot be read as Parquet: {error}") from error
    return names, rows([name for name in names if name in columns])


_READERS: dict[str, Callable[[Path, list[str]], tuple[list[str], Iterator[Row]]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}

TABLE = Source("table", Options, _rows, _record)
