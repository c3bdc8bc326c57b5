"""One folder is one build: an append-only SQLite store of every record, outcome, request and reply, and the images.

A reply is committed before the next is asked for, and what is worked out of it within half a second, many outcomes
together: a kill at any moment loses nothing that was paid for, and no more than that half second of anything else. An
outcome is kept under the hash of everything it depends on: after a setting changes, what was made under
the old one stays where it is and is found again if the setting comes back.
"""

import hashlib
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from ..files import is_unicode, locked, plain, private_folder
from ..records import Record
from .place import Place

VERSION = 1
"""Of the tables below, kept as `user_version`; 0, which had no digests, is brought up to it."""
_TABLES = {"records", "problems", "outcomes", "requests", "notes"}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, position INTEGER NOT NULL, data TEXT NOT NULL, reading INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS problems (
    id TEXT PRIMARY KEY, reason TEXT NOT NULL, reading INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (
    step TEXT NOT NULL, record TEXT NOT NULL, sample INTEGER NOT NULL, key TEXT NOT NULL,
    data TEXT, reason TEXT, at REAL NOT NULL, digest TEXT,
    PRIMARY KEY (step, record, sample, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, payload TEXT NOT NULL, began REAL NOT NULL,
    reply TEXT, error TEXT, permanent INTEGER, ended REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


CACHE = 32_000
"""KiB of the store's pages that are kept in memory."""
AT_ONCE, WITHIN = 1000, 0.5
"""Most outcomes that are committed together, and the seconds for which they may wait for others."""
CHANGED = (
    "the stored outcome was changed or cannot be read; delete its row from the table outcomes of store.sqlite to make "
    "it again"
)


@dataclass(frozen=True)
class Outcome:
    """What a step made of an item: data, or the reason why it goes no further.

    `vouched` is whether what was stored is known to be what was written.
    """

    data: dict[str, Any] | None
    reason: str | None
    vouched: bool = field(default=False, compare=False)


class Workspace(Place):
    """The store of one build. One process works in it at a time, while others may look; its threads share it.

    Args:
        folder: Made if need be, for its owner alone, as the store is.
        look: Only look: nothing can be written.

    Attributes:
        look: As above.

    Raises:
        UserError: Another process works in the folder, or its store is not one of ours, of another version, cannot be
            written, or is not there to look at.
    """

    def __init__(self, folder: Path, *, look: bool = False) -> None:
        super().__init__(folder)
        self.look = look
        self._mutex = threading.RLock()
        self._lock_file: IO[str] | None = None
        self._waiting: list[tuple[Any, ...]] = []
        self._committed = -math.inf
        store = folder / "store.sqlite"
        if look and not store.is_file():
            raise UserError(f"{folder} holds no build yet; run `firempo build` first")
        if not look:
            self._lock_file = locked(folder)
            os.close(os.open(store, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would make it readable for everybody
        try:
            self._db = sqlite3.connect(_address(store, look), uri=True, check_same_thread=False, isolation_level=None)
            self._check_version(store, look)
        except sqlite3.OperationalError as error:
            raise UserError(f"the store {store} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{store} is not a store of firempo: {error}") from error

    def _check_version(self, store: Path, look: bool) -> None:
        """Makes the tables of a new store, or brings those of an older one up to date.

        Raises:
            UserError: They are not ours, are newer than this package, or too old to look at.
        """
        ((version,),) = self._db.execute("PRAGMA user_version")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version > VERSION:
            raise UserError(
                f"{store} was written by a newer firempo (tables of version {version}, this one knows {VERSION}): "
                "update firempo-plugin, or use another folder"
            )
        if tables and not tables >= _TABLES:
            raise UserError(f"{store} is not a store of firempo: it lacks the tables {_TABLES - tables}")
        if look and version < VERSION:
            raise UserError(f"{store} was written by an older firempo; run `firempo build`, which brings it up to date")
        if look:
            return
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA cache_size=-{CACHE}")
        with self.transaction() as db:
            if version == 0 and tables:
                db.execute("ALTER TABLE outcomes ADD COLUMN digest TEXT")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Closes the store and lets other processes in."""
        with self._mutex:
            try:
                self.commit()
            finally:
                self._db.close()
                if self._lock_file is not None:
                    self._lock_file.close()

    def path(self, *parts: str) -> Path:
        """A path in the workspace, whose folder is made."""
        path = super().path(*parts)
        private_folder(path.parent)
        return path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def query(self, query: str, *values: Any) -> list[Any]:
        """The rows that a query finds."""
        with self._mutex:
            return self._db.execute(query, values).fetchall()

    def note(self, name: str, content: Any) -> None:
        """Keeps something of the build as a whole, in the place of what was kept under that name."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, dump(content)))

    def noted(self, name: str) -> Any:
        """What is kept under a name; None where nothing is that can be read."""
        for (content,) in self.query("SELECT value FROM notes WHERE name = ?", name):
            try:
                return json.loads(content)
            except ValueError:
                return None
        return None

    # records -------------------------------------------------------------------------------------------------

    def put_records(self, records: Iterable[Record], problems: Mapping[str, str]) -> None:
        """Takes a new reading of the source: what it holds now counts, what it no longer holds is left aside."""
        with self.transaction():
            self.put_texts(((record.id, dump(asdict(record))) for record in records), problems.items())

    def put_texts(self, records: Iterable[tuple[str, str]], problems: Iterable[tuple[str, str]]) -> None:
        """`put_records` within a transaction, of records as JSON and problems by their ids."""
        last = self.query("SELECT value FROM notes WHERE name = 'reading'")
        reading = int(last[0][0]) + 1 if last else 1
        self._db.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "position = excluded.position, data = excluded.data, reading = excluded.reading",
            ((name, place, data, reading) for place, (name, data) in enumerate(records)),
        )
        self._db.executemany(
            "INSERT INTO problems VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "reason = excluded.reason, reading = excluded.reading",
            ((name, reason, reading) for name, reason in problems),
        )
        self._db.execute("INSERT OR REPLACE INTO notes VALUES ('reading', ?)", (str(reading),))

    # outcomes ------------------------------------------------------------------------------------------------

    def outcomes(self, step: str) -> dict[tuple[str, int, str], Outcome]:
        """Everything that a step ever made, by record, sample and key; `CHANGED` for what is no more as it was made."""
        self.commit()
        rows = self.query("SELECT record, sample, key, data, reason, digest FROM outcomes WHERE step = ?", step)
        return {(record, sample, key): _outcome(*stored) for record, sample, key, *stored in rows}

    def found(self, step: str, keys: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int, str], Outcome]:
        """What a step made of these records, samples and keys; see `outcomes`."""
        self.commit()
        query = "SELECT data, reason, digest FROM outcomes WHERE step = ? AND record = ? AND sample = ? AND key = ?"
        with self._mutex:
            rows = ((key, self._db.execute(query, (step, *key)).fetchone()) for key in keys)
            return {key: _outcome(*stored) for key, stored in rows if stored is not None}

    def put_outcome(self, step: str, record: str, sample: int, key: str, outcome: Outcome) -> None:
        """Keeps an outcome, with others that come soon; one that is there already under this key stays as it is."""
        data = dump(outcome.data) if outcome.data is not None else None
        reason = plain(outcome.reason) if outcome.reason is not None else None
        with self._mutex:
            self._waiting.append((step, record, sample, key, data, reason, time.time(), _digest(data, reason)))
            if len(self._waiting) >= AT_ONCE or time.monotonic() - self._committed >= WITHIN:
                self.commit()

    def commit(self) -> None:
        """Writes the outcomes that still wait."""
        with self._mutex:
            if not self._waiting:
                return
            rows, self._waiting = self._waiting, []
            with self.transaction() as db:
                db.executemany("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._committed = time.monotonic()


def _address(store: Path, look: bool) -> str:
    """SQLite's URI; one who looks into a folder that he may not write cannot share the log of one who works there."""
    address = store.absolute().as_uri()
    if not look:
        return address
    return f"{address}?mode=ro" if os.access(store.parent, os.W_OK) else f"{address}?immutable=1"


def later(**versions: int) -> dict[str, int]:
    """Versions as a part of a key: those above 1 only, since what was stored before they were counted is of 1."""
    return {name: version for name, version in versions.items() if version > 1}


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def dump(data: Any) -> str:
    """Data as JSON that a file can hold."""
    text = _encode(data)
    # Names of files that are not UTF-8 hold such halves, and must come back as they were.
    return json.dumps(data, sort_keys=True) if not is_unicode(text) else text


def _digest(data: str | None, reason: str | None) -> str:
    return hashlib.sha256(f"{data}\n{reason}".encode()).hexdigest()[:32]


def _outcome(data: Any, reason: Any, digest: str | None) -> Outcome:
    """What is stored, if it is as it was made; older stores have no digest."""
    try:
        found = None if data is None else json.loads(data)
        whole = digest is None or digest == _digest(data, reason)
    except (ValueError, TypeError, RecursionError):
        return Outcome(None, CHANGED)
    readable = isinstance(found, dict) if data is not None else isinstance(reason, str)
    return Outcome(found, reason, digest is not None) if whole and readable else Outcome(None, CHANGED)
