"""The files of the Batch API on this side: what is sent, and what is known of what was sent."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..files import write_text


@dataclass(frozen=True)
class BatchLimits:
    """What one batch, and all open ones together, may hold.

    Attributes:
        requests: Of one file.
        size: Of one file, in bytes; a little below the API's 200 MB.
        tokens: Prompt tokens, as estimated, of all open batches; None: no limit. The API has one by account and
            model ("enqueued tokens") and fails the batches that pass it.
    """

    requests: int = 50_000
    size: int = 190_000_000
    tokens: int | None = None


@dataclass
class Part:
    """One batch. A part is on disk from the moment before the API is asked to create it.

    Attributes:
        tag: Ours, in the batch's metadata, by which it is found again.
        model: One for all requests.
        tokens: Prompt tokens, as estimated, by the requests' keys, which are their custom ids.
        most_cost: Of all requests together; 0 where the price is unknown.
        batch_id: The API's; None: not known to have been created.
        status: The API's word, when last asked.
        collected: Whether its results are stored.
    """

    tag: str
    model: str
    tokens: dict[str, int]
    most_cost: float
    batch_id: str | None = None
    status: str = ""
    collected: bool = False


class PartWriter:
    """Fills the JSON lines of a part."""

    def __init__(self, folder: Path, model: str) -> None:
        """An empty part of the model's requests."""
        self.part = Part(uuid.uuid4().hex, model, {}, 0.0)
        self.size = 0
        self._file = lines_file(folder, self.part.tag).open("wb")

    def add(self, line: bytes, key: str, prompt_tokens: int, most_cost: float) -> None:
        """Adds a request."""
        self._file.write(line)
        self.size += len(line)
        self.part.tokens[key] = prompt_tokens
        self.part.most_cost += most_cost

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def lines_file(folder: Path, tag: str) -> Path:
    """The requests of a part; it holds images, and goes once the API has them."""
    return folder / f"{tag}.jsonl"


def read_parts(folder: Path) -> list[Part]:
    """All parts of a folder, by name.

    Raises:
        UserError: A file is none that was written here; without it a batch would be paid for again.
    """
    return [_read_part(path) for path in sorted(folder.glob("*.json"))]


def _read_part(path: Path) -> Part:
    try:
        part = Part(**json.loads(path.read_text(encoding="utf-8")))
        fine = isinstance(part.tag, str) and isinstance(part.tokens, dict) and isinstance(part.most_cost, int | float)
    except (ValueError, TypeError):
        fine = False
    if not fine:
        raise UserError(f"{path} was changed and names no batch any more: restore it, or delete it to pay again")
    return part


def open_parts(folder: Path) -> Iterator[Part]:
    """The parts whose results are not stored yet."""
    return (part for part in read_parts(folder) if not part.collected)


def save_part(folder: Path, part: Part) -> None:
    """Writes a part so that it survives a kill or a power cut at any moment."""
    write_text(folder / f"{part.tag}.json", json.dumps(asdict(part)), lasting=True)


def drop_part(folder: Path, part: Part) -> None:
    """Forgets a part that the API never created; its requests are due again."""
    (folder / f"{part.tag}.json").unlink()


def clean(folder: Path) -> None:
    """Removes what an interrupted submission has left: lines without a part, half-written parts."""
    kept = {part.tag for part in read_parts(folder)}
    for path in (*folder.glob("*.jsonl"), *folder.glob(".*.part")):
        if path.suffix == ".part" or path.stem not in kept:
            path.unlink()
