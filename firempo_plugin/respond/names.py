"""The names of responses, which no two records may share."""

from ..sources.ids import Ids


class Names:
    """The names of all items: each record's id, and with "/1", "/2" ... those of its further responses."""

    def __init__(self, samples: int) -> None:
        self._further = [str(number) for number in range(1, samples)]
        self._ids = Ids()

    def add(self, record: str) -> tuple[str, str] | None:
        """Takes a record; where it and an earlier one would have one name: that one's id, and the name."""
        head, _, number = record.rpartition("/")
        if number in self._further and head in self._ids:
            return head, record
        for number in self._further:
            if f"{record}/{number}" in self._ids:
                return f"{record}/{number}", f"{record}/{number}"
        self._ids.add(record)
        return None

    def owner(self, name: str) -> str | None:
        """The record of which a response has this name."""
        head, _, number = name.rpartition("/")
        return name if name in self._ids else head if number in self._further and head in self._ids else None

    def __contains__(self, name: str) -> bool:
        return self.owner(name) is not None

    def is_further(self, name: str) -> bool:
        """Whether it is that of a further response of a record, be it asked for or not."""
        head, _, number = name.rpartition("/")
        return number.isdecimal() and head in self._ids

    def close(self) -> None:
        """Lets the names go."""
        self._ids.close()
