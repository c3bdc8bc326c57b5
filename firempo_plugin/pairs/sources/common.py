"""What a source is: its options, its rows, and how a row becomes a record or is left aside with a reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ...errors import UserError
from ..records import Record, RejectedError

OptionsT = TypeVar("OptionsT")
RowT = TypeVar("RowT")

_UNIONS = (Union, UnionType)


@dataclass(frozen=True)
class Problem:
    """A row that cannot become a record.

    Attributes:
        id: As the record's would be.
        reason: What is wrong, then a colon and where.
    """

    id: str
    reason: str


def option(meaning: str, default: Any = MISSING) -> Any:
    """A field of a source's options, with its meaning for people; required where it has no default."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Source(Generic[OptionsT, RowT]):
    """One kind of data set.

    Attributes:
        name: Prefix of its record ids.
        options: Dataclass of what it needs to know; its fields are made by `option`.
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
            UserError: An option is unknown, missing or of the wrong kind (at once), or a file is missing or broken
                (before the first record).
        """
        return self._items(parse(self.options, options))

    def _items(self, options: OptionsT) -> Iterator[Record | Problem]:
        taken: set[str] = set()
        for own, row in self.rows(options):
            record_id = first = _storable(f"{self.name}:{own}")
            count = 1
            while record_id in taken:
                count += 1
                record_id = f"{first}#{count}"
            taken.add(record_id)
            item: Record | Problem
            try:
                item = self.record(record_id, row, options)
            except RejectedError as error:
                item = Problem(record_id, _storable(str(error)))
            yield item


def _storable(text: str) -> str:
    """The text with its half characters, which neither file nor database holds, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Checks a source's options against the dataclass that describes them.

    Raises:
        UserError: Names the option, what was found and what to write.
    """
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UserError(f"source.options: {name} is unknown; this source knows: {', '.join(known)}")
    for name, part in known.items():
        if name not in given and part.default is MISSING and part.default_factory is MISSING:
            raise UserError(f"source.options: {name} is missing; write the {part.metadata['help']}")
    hints = get_type_hints(kind)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            raise UserError(f"source.options: {name} must be {_describe(hints[name])}, found {value!r}")
    return kind(**given)


def _fits(value: Any, hint: Any) -> bool:
    kind = get_origin(hint)
    if kind is Literal:
        return value in get_args(hint)
    if kind in _UNIONS:
        return any(_fits(value, choice) for choice in get_args(hint))
    return isinstance(value, kind or hint)


def _describe(hint: Any) -> str:
    kind, choices = get_origin(hint), get_args(hint)
    if kind is Literal:
        return "one of " + ", ".join(choices)
    if kind in _UNIONS:
        return " or ".join(_describe(choice) for choice in choices)
    names = {str: "text", bool: "true or false", dict: "keys and values", type(None): "null"}
    return names[kind or hint]
