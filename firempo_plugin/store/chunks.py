"""The records of a build by chunks, and what became of each: no more than one is ever in memory.

A chunk whose records, files and settings are those of its last walk is finished: its counts and pairs are taken as they
lie here. What lies here is only found again of what the store knows: lost or changed, it is made anew by a walk that
asks nobody. Who looks into a folder in which another may work keeps what differs in a temporary file of SQLite's own.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..records import Record, Region
from .reasons import Reasons
from .workspace import Workspace, dump

AT_ONCE, ASKED_AT_ONCE, MOST = 4000, 16_000, 16_000_000
"""Records of a chunk; of one about which a model is asked, which waits for its slowest call; and their characters."""
_TABLE = """CREATE {temporary} TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY, content TEXT NOT NULL, amount INTEGER NOT NULL, settings TEXT, digest TEXT,
    counts TEXT, files BLOB, pairs BLOB, problems BLOB, records BLOB)"""
_TRIGGER = """CREATE TRIGGER IF NOT EXISTS outcome_{event} AFTER {event} ON outcomes
    BEGIN UPDATE notes SET value = value + 1 WHERE name = 'touched'; END"""
"""A person deletes outcomes to have them made again."""

Source = Record | tuple[str, str]
"""A record, or the id and the reason of a row that is none."""


@dataclass(frozen=True)
class Chunk:
    """Records in a row.

    Attributes:
        number: Its place, from 0.
        start: How many records stand before it.
        amount: Its own.
        place: The schema in which its row lies.
    """

    number: int
    start: int
    amount: int
    place: str


class Chunks:
    """The chunks of a workspace.

    Args:
        workspace: Where they are kept.
        asked: Whether a model is asked about them.

    Attributes:
        amount: Records of all chunks.
        problems: Rows of the source that are no records.
    """

    def __init__(self, workspace: Workspace, *, asked: bool = False) -> None:
        self._workspace = workspace
        self._at_once = ASKED_AT_ONCE if asked else AT_ONCE
        self._own = "temp" if workspace.look else "main"
        self._chunks: list[Chunk] = []
        self.amount = 0
        self.problems = Reasons()
        if workspace.look:
            workspace.query("BEGIN")  # what is read belongs together, whatever another process writes meanwhile
            workspace.query(_TABLE.format(temporary="TEMPORARY"))
        else:
            with workspace.transaction() as db:
                db.execute(_TABLE.format(temporary=""))
                db.execute("INSERT OR IGNORE INTO notes VALUES ('touched', '0')")
                for event in ("DELETE", "UPDATE"):
                    db.execute(_TRIGGER.format(event=event))
        self._known = bool(workspace.query("SELECT 1 FROM main.sqlite_master WHERE name = 'chunks'"))
        self._touched = workspace.query("SELECT value FROM notes WHERE name = 'touched'")

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)

    # the reading ---------------------------------------------------------------------------------------------

    def take(self, rows: Iterable[Source]) -> None:
        """Takes a new reading of the source, all of it or nothing."""
        if self._workspace.look:
            self._take(rows)
            return
        with self._workspace.transaction() as db:
            changed = self._take(rows)
            gone = db.execute("DELETE FROM chunks WHERE number >= ?", (len(self),)).rowcount
            readings = self._workspace.query("SELECT value FROM notes WHERE name IN ('reading', 'reading of chunks')")
            if changed or gone or len(readings) < 2 or readings[0] != readings[1]:
                self._workspace.put_texts(self._texts(), self._problems())
                db.execute(
                    "INSERT OR REPLACE INTO notes SELECT 'reading of chunks', value FROM notes WHERE name = 'reading'"
                )

    def _take(self, rows: Iterable[Source]) -> bool:
        """Keeps the chunks that differ from what is there; whether there is one."""
        changed = False
        for records, problems in _cut(rows, self._at_once):
            number, texts = len(self), "\n".join(dump([name, reason]) for name, reason in problems)
            lines = "\n".join(records)
            content = hashlib.sha256(f"{len(records)}\n{lines}\n{texts}".encode()).hexdigest()
            same = self._known and self._workspace.query(
                "SELECT 1 FROM main.chunks WHERE number = ? AND content = ?", number, content
            )
            if not same:
                changed = True
                self._workspace.query(
                    f"INSERT OR REPLACE INTO {self._own}.chunks (number, content, amount, problems, records) "
                    "VALUES (?, ?, ?, ?, ?)",
                    *(number, content, len(records), _packed(texts), _packed(lines)),
                )
            self._chunks.append(Chunk(number, self.amount, len(records), "main" if same else self._own))
            self.amount += len(records)
            for name, reason in problems:
                self.problems.add(name, reason)
        return changed

    def _texts(self) -> Iterator[tuple[str, str]]:
        for chunk in self:
            for line in self._lines(chunk, "records"):
                yield json.loads(line)["id"], line

    def _problems(self) -> Iterator[tuple[str, str]]:
        for chunk in self:
            for line in self._lines(chunk, "problems"):
                name, reason = json.loads(line)
                yield name, reason

    def _lines(self, chunk: Chunk, column: str) -> list[str]:
        ((packed,),) = self._workspace.query(
            f"SELECT {column} FROM {chunk.place}.chunks WHERE number = ?", chunk.number
        )
        text = zlib.decompress(packed).decode() if packed else ""
        return text.split("\n") if text else []

    def among(self, chunk: Chunk) -> str:
        """Which records a chunk holds, in words; "" where it holds all."""
        first, last = chunk.start + 1, chunk.start + chunk.amount
        return f"records {first:,} to {last:,} of {self.amount:,}" if len(self) > 1 else ""

    def records(self, chunk: Chunk) -> list[Record]:
        """The records of a chunk."""
        return [_record(json.loads(line)) for line in self._lines(chunk, "records")]

    # what became of them -------------------------------------------------------------------------------------

    def finished(self, chunk: Chunk, settings: str, identity: Callable[[str], str | None]) -> Any:
        """The counts of a chunk of whose steps nothing is due; None where it has to be walked.

        Args:
            chunk: Which.
            settings: Digest of all that decides beside records and files.
            identity: Names a file by its content; None where there is none.
        """
        query = f"SELECT counts, digest, files, pairs FROM {chunk.place}.chunks WHERE number = ? AND settings = ?"
        for counts, digest, files, pairs in self._workspace.query(query, chunk.number, self._settings(settings)):
            if digest == _digest(counts, files, pairs):
                known = json.loads(zlib.decompress(files))
                if all(identity(file) == content for file, content in known.items()):
                    return json.loads(counts)
        return None

    def put(
        self, chunk: Chunk, settings: str | None, counts: Any, files: Mapping[str, str | None], pairs: Sequence[str]
    ) -> None:
        """Keeps what became of a chunk; with settings, it is finished."""
        values = dump(counts), _packed(dump(files)), _packed("\n".join(pairs))
        row = (settings and self._settings(settings), _digest(*values), *values, chunk.number)
        columns = "settings = ?, digest = ?, counts = ?, files = ?, pairs = ?"
        if chunk.place != self._own:
            self._workspace.query(
                f"INSERT INTO {self._own}.chunks (number, content, amount) VALUES (?, '', ?)",
                *(chunk.number, chunk.amount),
            )
            self._chunks[chunk.number] = replace(chunk, place=self._own)
        self._workspace.query(f"UPDATE {self._own}.chunks SET {columns} WHERE number = ?", *row)

    def pairs(self, chunk: Chunk) -> list[str]:
        """The pairs of a chunk, each as it was put."""
        return self._lines(self._chunks[chunk.number], "pairs")

    def _settings(self, settings: str) -> str:
        return f"{settings} {self._touched}"


def _cut(rows: Iterable[Source], most: int) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Rows by chunks: records as JSON, and problems."""
    records: list[str] = []
    problems: list[tuple[str, str]] = []
    size = 0
    for row in rows:
        if isinstance(row, tuple):
            problems.append(row)
            size += sum(map(len, row))
        else:
            records.append(dump({**vars(row), "regions": [vars(region) for region in row.regions]}))
            size += len(records[-1])
        if len(records) >= most or len(problems) >= most or size >= MOST:
            yield records, problems
            records, problems, size = [], [], 0
    if records or problems:
        yield records, problems


def _record(plain: dict[str, Any]) -> Record:
    regions = tuple(
        Region(
            **{
                **region,
                "box": region["box"] and tuple(region["box"]),
                "values": tuple(tuple(value) for value in region["values"]),
            }
        )
        for region in plain["regions"]
    )
    return Record(**{**plain, "images": tuple(plain["images"]), "regions": regions})


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


def _digest(counts: str, files: bytes, pairs: bytes) -> str | None:
    try:
        return hashlib.sha256(counts.encode() + files + pairs).hexdigest()
    except (AttributeError, TypeError):  # changed by another hand
        return None
