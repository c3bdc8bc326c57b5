"""Ids that may be millions, with a value each."""

from collections.abc import Iterator


class Ids:
    """Ids, in a file of SQLite's own that is gone with it."""

    def __init__(self) -> None:
        import sqlite3

        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, value BLOB NOT NULL)")
        self._db.execute("BEGIN")

    def add(self, name: str, value: str = "") -> bool:
        """Takes an id, with a value; False where it was there already."""
        return self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (_plain(name), _plain(value))).rowcount == 1

    def get(self, name: str) -> str | None:
        """An id's value; None where it is not there."""
        found = self._db.execute("SELECT value FROM ids WHERE id = ?", (_plain(name),)).fetchone()
        return None if found is None else _text(found[0])

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def items(self) -> Iterator[tuple[str, str]]:
        """Ids and their values, in the order in which they were taken."""
        rows = self._db.execute("SELECT id, value FROM ids ORDER BY rowid")
        return ((_text(name), _text(value)) for name, value in rows)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM ids").fetchone()[0])

    def close(self) -> None:
        """Lets the file go."""
        self._db.close()


def _plain(text: str) -> bytes:
    """A text as SQLite can hold it: names of files may have halves of characters."""
    return text.encode(errors="surrogatepass")


def _text(plain: bytes) -> str:
    return plain.decode(errors="surrogatepass")
