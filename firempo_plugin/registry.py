"""What can be chosen by name: one table for each kind of thing, from which settings take their choices and words."""

from importlib import import_module
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


class Registry(dict[str, tuple[str, str]], Generic[Thing]):
    """By name, where a thing is, and what `--help` says of it, or "" where the name says it all.

    Args:
        package: That the places are relative to.
        entries: A place is `.module:thing`; "" is of a choice that stands for none of the things.
    """

    def __init__(self, package: str, entries: dict[str, tuple[str, str]]) -> None:
        super().__init__(entries)
        self._package = package

    def load(self, name: str) -> Thing:
        """The thing; its module is imported now, and not before."""
        module, _, thing = self[name][0].partition(":")
        found: Any = vars(import_module(module, self._package))
        loaded: Thing = found[thing]
        return loaded

    def __str__(self) -> str:
        """All names with their words, for `--help`."""
        *first, last = [f"{name} ({words})" if words else name for name, (_, words) in self.items()]
        return f"{', '.join(first)} or {last}"
