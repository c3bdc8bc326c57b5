"""Why items go no further: counted by kind, with an example of each, whatever their number."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

LONGEST_REASON = 160
FIRST = 20
"""Reasons that are kept by name."""


class Reasons:
    """Reasons of many items. A kind is the reason up to its first colon.

    Attributes:
        first: The first reasons, by item name.
    """

    def __init__(self, reasons: Mapping[str, str] | None = None) -> None:
        self.first: dict[str, str] = {}
        self._kinds: dict[str, tuple[int, str, bool]] = {}
        for name, reason in (reasons or {}).items():
            self.add(name, reason)

    def __len__(self) -> int:
        return sum(count for count, _, _ in self._kinds.values())

    def add(self, name: str, reason: str) -> None:
        """Counts an item's reason."""
        if len(self.first) < FIRST:
            self.first[name] = reason
        self._count(1, reason, True)

    def _count(self, more: int, reason: str, same: bool) -> None:
        kind = reason.partition(":")[0]
        count, example, alike = self._kinds.get(kind, (0, reason, True))
        self._kinds[kind] = (count + more, example, alike and same and reason == example)

    def update(self, more: Self) -> None:
        """Counts what another has counted, behind what is here."""
        for name, reason in more.first.items():
            if len(self.first) < FIRST:
                self.first[name] = reason
        for count, example, same in more._kinds.values():
            self._count(count, example, same)

    def lines(self) -> list[str]:
        """A line for each kind, the most frequent first: how often, and the reason or an example of it."""
        lines = []
        for kind, (count, example, same) in sorted(self._kinds.items(), key=lambda found: -found[1][0]):
            text = example if same else f"{kind}, such as{example[len(kind) :]}"
            lines.append(f"{count:6}  {text[:LONGEST_REASON]}")
        return lines

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"first": list(self.first.items()), "kinds": list(self._kinds.values())}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """From `plain`."""
        found = cls()
        found.first = dict(plain["first"])
        for count, example, same in plain["kinds"]:
            found._count(count, example, same)
        return found


def lines_by_kind(reasons: Iterable[str]) -> list[str]:
    """`Reasons.lines` of reasons without names."""
    found = Reasons()
    for reason in reasons:
        found.add("", reason)
    return found.lines()
