"""A set of ids that may be millions."""


class Ids:
    """Ids, in a file of SQLite's own that is gone with it."""

    def __init__(self) -> None:
        import sqlite3

        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def add(self, name: str) -> bool:
        """Takes an id; False where it was there already."""
        return self._db.execute("INSERT OR IGNORE INTO ids VALUES (?)", (name,)).rowcount == 1

    def __contains__(self, name: str) -> bool:
        return self._db.execute("SELECT 1 FROM ids WHERE id = ?", (name,)).fetchone() is not None

    def close(self) -> None:
        """Lets the file go."""
        self._db.close()
