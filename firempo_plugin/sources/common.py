"""What a source is: its options, its rows, and how a row becomes a record or is left aside with a reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..records import Record, RejectedError
from ..settings import checked
from .ids import Ids

OptionsT = TypeVar("OptionsT")
RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Problem:
    """A row that cannot become a record.

    Attributes:
        id: As the record's would be.
        reason: What is wrong, then a colon and where.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Source(Generic[OptionsT, RowT]):
    """One kind of data set.

    Attributes:
        name: Prefix of its record ids.
        options: Dataclass of what it needs to know; its fields are made by `config_key`.
        rows: Finds the rows, each with the data set's own id, which may repeat. ValueError where a file is broken.
        record: Makes a record of an id, a row and the options. RejectedError where the row cannot be one.
    """

    name: str
    options: type[OptionsT]
    rows: Callable[[OptionsT], Iterable[tuple[str, RowT]]]
    record: Callable[[str, RowT, OptionsT], Record]

    def read(self, options: Mapping[str, Any]) -> Iterator[Record | Problem]:
        """Reads the data set, in its own order; images are looked for, and not decoded.

        Args:
            options: Values by name, as a configuration gives them.

        Raises:
            UserError: An option is unknown, missing or of the wrong kind (at once), or a file is missing (before the
                first record) or broken (when its place is read).
        """
        return self._items(checked(self.options, options, "source.options."))

    def _items(self, options: OptionsT) -> Iterator[Record | Problem]:
        with closing(Ids()) as taken:
            for own, row in self.rows(options):
                record_id = first = _storable(f"{self.name}:{own}")
                count = 1
                while not taken.add(record_id):
                    count += 1
                    record_id = f"{first}#{count}"
                try:
                    yield self.record(record_id, row, options)
                except RejectedError as error:
                    yield Problem(record_id, _storable(str(error)))


def _storable(text: str) -> str:
    """The text with its half characters, which neither file nor database holds, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
