"""Reads preference files, also those not made here: the columns say which of the usual forms a file has."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...sources.files import Row
from .style import Preference

IMAGE_COLUMNS = ("images", "image", "rejected_images", "rejected_image")


@dataclass(frozen=True)
class Form:
    """Where a kind of preference file keeps what. A response is text, a message, or the last of a list of messages.

    Attributes:
        name: For people.
        chosen, rejected: Columns of the responses.
        prompt: Columns that, with them, mark the form and hold the rest of the prompt.
        chosen_spans, rejected_spans: Columns of the phrases, where there are any.
        content: Key of a message's text.
    """

    name: str
    chosen: str
    rejected: str
    prompt: tuple[str, ...] = ()
    chosen_spans: str = "chosen_spans"
    rejected_spans: str = "rejected_spans"
    content: tuple[str, ...] = ("value", "content")


FORMS = (
    Form("LLaMA-Factory sharegpt", "chosen", "rejected", ("conversations",)),
    Form("LLaMA-Factory openai", "chosen", "rejected", ("messages",)),
    Form("LLaMA-Factory alpaca", "chosen", "rejected", ("instruction",)),
    Form("TRL with prompt", "chosen", "rejected", ("prompt",)),
    Form("chosen and rejected with question", "chosen", "rejected", ("question",)),
    Form("TRL without prompt", "chosen", "rejected"),
    Form("LLaVA with rejected_conversations", "conversations", "rejected_conversations"),
    Form("ms-swift with rejected_response", "messages", "rejected_response"),
    Form("ms-swift with rejected_messages", "messages", "rejected_messages"),
    Form("OpenAI preference", "preferred_output", "non_preferred_output", ("input",)),
)


def read(path: Path) -> tuple[str, Iterator[Preference]]:
    """Opens a JSON, JSON-lines or Parquet file of preferences.

    The entry that a dataset_info.json beside it has for the file names the columns; else the columns themselves tell.

    Returns:
        The name of the file's form, and its rows in order.

    Raises:
        UserError: The file is missing or broken, its columns fit no form, or (while rows are taken) a row does not
            fit. Names file, row and column, what was found and what is expected.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: cannot tell what it is; expected a file that ends in {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    columns, rows = reader(path)
    form = _registered(path, columns) or _recognised(path, columns)
    return form.name, (_preference(row, form, f"{path.name}, row {number}") for number, row in enumerate(rows))


def _recognised(path: Path, columns: list[str]) -> Form:
    for form in FORMS:
        if {form.chosen, form.rejected, *form.prompt} <= set(columns):
            return form
    known = "; ".join(f"{form.name}: {', '.join((*form.prompt, form.chosen, form.rejected))}" for form in FORMS)
    raise UserError(
        f"{path} is no preference file that is known here. It has the columns {', '.join(columns) or 'none'}. "
        f"Expected one of: {known}"
    )


def _registered(path: Path, columns: list[str]) -> Form | None:
    """The form that dataset_info.json beside the file gives it; None where the file is not in there as pairs."""
    info = path.with_name("dataset_info.json")
    entries = _parse(info) if info.is_file() else {}
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"{info} must hold an object of datasets; repair it, or move {path.name} elsewhere")
    named = [entry for entry in entries.values() if entry.get("file_name") == path.name and entry.get("ranking")]
    if not named:
        return None
    given, tags = (named[0].get(part) or {} for part in ("columns", "tags"))
    for part in (given, tags):
        if not isinstance(part, dict) or not all(isinstance(name, str) for name in part.values()):
            raise UserError(f"{info}: columns and tags of {path.name} must be objects of names, found {part!r:.200}")
    prompt = tuple(given[kind] for kind in ("messages", "prompt", "query", "system") if kind in given)
    form = Form(
        f"LLaMA-Factory {named[0].get('formatting', 'alpaca')}, by dataset_info.json",
        given.get("chosen", "chosen"),
        given.get("rejected", "rejected"),
        prompt,
        given.get("chosen_spans", "chosen_spans"),
        given.get("rejected_spans", "rejected_spans"),
        (tags.get("content_tag", "value"), "content"),
    )
    missing = {form.chosen, form.rejected} - set(columns)
    if missing:
        raise UserError(f"{info} names columns that {path.name} lacks: {', '.join(sorted(missing))}; it has {columns}")
    return form


def _preference(row: Row, form: Form, where: str) -> Preference:
    context = [row.get(column) for column in (*form.prompt, *IMAGE_COLUMNS)]
    if not form.prompt and isinstance(row.get(form.chosen), list):
        context.append(row[form.chosen][:-1])
    return Preference(
        chosen=_text(row.get(form.chosen), form.content, f"{where}, {form.chosen}"),
        rejected=_text(row.get(form.rejected), form.content, f"{where}, {form.rejected}"),
        chosen_spans=row.get(form.chosen_spans),
        rejected_spans=row.get(form.rejected_spans),
        context=json.dumps(context, sort_keys=True, default=_fingerprint),
    )


def _text(value: Any, keys: tuple[str, ...], where: str) -> str:
    """The text of a response; a missing one is empty, which the audit counts."""
    if value is None or value == []:
        return ""
    if isinstance(value, str):
        return value
    message = value[-1] if isinstance(value, list) else value
    if isinstance(message, dict):
        content = next((message[key] for key in keys if message.get(key) is not None), None)
        if isinstance(content, str):
            return content
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            texts = [part.get("text") or "" for part in content]
            if all(isinstance(text, str) for text in texts):
                return "".join(texts)
    raise UserError(f"{where}: expected text, a message or a list of messages, found {value!r:.200}")


def _fingerprint(value: object) -> str:
    """A value that JSON has no form for, such as an image's bytes or a time, as text that tells it from others."""
    return hashlib.sha256(value if isinstance(value, bytes) else repr(value).encode()).hexdigest()


def _read_json(path: Path) -> tuple[list[str], Iterable[Row]]:
    rows = _parse(path)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} must hold a list of rows, found {'none' if rows == [] else type(rows).__name__}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: expected an object with columns, found {row!r:.200}")
    return list(dict.fromkeys(column for row in rows for column in row)), rows


def _parse(path: Path) -> Any:
    """One JSON value; or JSON lines, also under the name of JSON."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error
    if path.suffix.lower() == ".jsonl" and not text.lstrip().startswith("["):
        return _parse_lines(path, text)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _parse_lines(path, text)
        raise UserError(f"{path} is not valid JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists in lists without end
        raise UserError(f"{path} cannot be read: {error}") from error


def _parse_lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number} is not valid JSON: {error.msg}, column {error.colno}"
                ) from error
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number} cannot be read: {error}") from error
    return rows


def _read_parquet(path: Path) -> tuple[list[str], Iterable[Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def rows(file: pq.ParquetFile) -> Iterator[Row]:
        try:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path} is damaged: {error}") from error

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a Parquet file: {error}") from error
    return file.schema_arrow.names, rows(file)


_READERS = {".json": _read_json, ".jsonl": _read_json, ".parquet": _read_parquet}
