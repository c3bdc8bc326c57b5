"""Items of one model under one measure, in a JSON-lines file: written as they come, found again, and read by anyone.

    {"key": ..., "protocol": {...}}      the first line: what the items depend on
    {"id": ..., "kind": ..., ...}        an item each
    {"complete": true, ...}              the last line: what of all of them together is known, and what is missing

A file whose key is no longer that of the configuration is put aside under its key, and comes back with it.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import private_folder, read_object, write_text
from ..records import Record


@dataclass(frozen=True)
class Measured:
    """A question, a report, an image with boxes, or a pair, as one model did on it.

    Attributes:
        id: The same for every model, so that models are compared item by item.
        kind: What results are also shown for apart, such as "closed" and "open"; "" for nothing.
        values: By metric; a metric that could not be computed is absent.
        skipped: Why there are no values; "" where there are.
        detail: What a person needs to check the values: the answer, the verdict, the protocol's odd cases.
        of: What it is drawn together with where the folder's clusters do not say it: its image; "" for nothing.
    """

    id: str
    kind: str
    values: dict[str, float]
    skipped: str = ""
    detail: str = ""
    of: str = ""


@dataclass
class Stored:
    """What a file holds.

    Attributes:
        key: Hash of what the items depend on.
        protocol: Choices that a reader of the numbers must know.
        items: In their order.
        complete: Whether all are there, with all of their values.
        corpus: Figures of all items together, by metric.
        missing: Metrics that could not be computed, and why.
    """

    key: str = ""
    protocol: dict[str, Any] = field(default_factory=dict)
    items: list[Measured] = field(default_factory=list)
    complete: bool = False
    corpus: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


CLUSTERS = "clusters.json"


def write_clusters(workspace: Path, records: Iterable[Record]) -> None:
    """Keeps which items are of one study or image."""
    private_folder(workspace / "items")
    found = {record.id: record.cluster for record in records}
    names = {cluster: str(number) for number, cluster in enumerate(dict.fromkeys(found.values()))}
    write_text(workspace / "items" / CLUSTERS, json.dumps({item: names[cluster] for item, cluster in found.items()}))


def read_clusters(workspace: Path) -> dict[str, str]:
    """By item, what it is of; empty for a folder that does not say.

    Raises:
        UserError: It does not say it any more.
    """
    file = workspace / "items" / CLUSTERS
    return read_object(file, "evaluate again, which writes it anew") if file.is_file() else {}


class ItemFile:
    """The items of one model under one measure."""

    def __init__(self, workspace: Path, measure: str, model: str) -> None:
        self.path = workspace / "items" / measure / f"{model}.jsonl"

    def read(self) -> Stored:
        """What is there; a line that a kill cut short is left out.

        Raises:
            UserError: A line is no item.
        """
        stored = Stored()
        if not self.path.is_file():
            return stored
        for number, line in enumerate(self._whole().split("\n")[:-1], start=1):  # texts may hold other line ends
            try:
                row = json.loads(line)
                if "key" in row:
                    stored.key, stored.protocol = row["key"], row["protocol"]
                elif "complete" in row:
                    stored.complete, stored.corpus, stored.missing = row["complete"], row["corpus"], row["missing"]
                else:
                    stored.items.append(Measured(**row))
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path}, line {number} is no item: {error}; delete the file to measure again"
                ) from error
        return stored

    def _whole(self) -> str:
        """The file's lines, without one that lacks its end."""
        content = self.path.read_bytes()
        return content[: content.rfind(b"\n") + 1].decode("utf-8")

    def open(self, key: str, protocol: dict[str, Any]) -> Stored:
        """Makes the file of these settings the current one; says what it holds already."""
        stored = self.read()
        if stored.key == key:
            write_text(self.path, self._whole())  # without a line that a kill cut short
            return stored
        private_folder(self.path.parent)
        if stored.key:
            os.replace(self.path, self._aside(stored.key))
        if self._aside(key).is_file():
            os.replace(self._aside(key), self.path)
            return self.open(key, protocol)
        write_text(self.path, _line({"key": key, "protocol": protocol}))
        return Stored(key, protocol)

    def _aside(self, key: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{key[:16]}.aside.jsonl")

    def append(self, item: Measured) -> None:
        """Keeps an item; it survives a kill from now on."""
        self._append(_line(asdict(item)))

    def finish(self) -> None:
        """Says that all items are there."""
        self._append(_end({}, {}))

    def _append(self, line: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def write(self, key: str, protocol: dict[str, Any], found: Stored) -> None:
        """Writes all items at once, where they are cheap to make again; complete where nothing is missing."""
        lines = [{"key": key, "protocol": protocol}, *map(asdict, found.items)]
        write_text(self.path, "".join(map(_line, lines)) + _end(found.corpus, found.missing))


def _end(corpus: dict[str, float], missing: dict[str, str]) -> str:
    return _line({"complete": not missing, "corpus": corpus, "missing": missing})


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
