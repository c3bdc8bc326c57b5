"""A page of many items as several: an index, and parts of 2,000 items each in the folder beside it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from .viewer import Folder

Item = TypeVar("Item")
PAGE = 2000
"""Items on one page: more would take hundreds of megabytes in a browser."""
_NAME = re.compile(r"page-\d{3,}\.html")


@dataclass(frozen=True)
class Part(Generic[Item]):
    """One of the pages.

    Attributes:
        path: Its file.
        items: What it shows.
        address: From the index; "" for the only page.
        place: For the page's script: `number` and `of`, counting from 1, and the addresses of the pages around it;
            None for the only page.
    """

    path: Path
    items: Sequence[Item]
    address: str
    place: dict[str, Any] | None


class Book(Generic[Item]):
    """The pages of a list, in its order, and the folder of their pictures.

    Args:
        path: The HTML file that a person opens: the only page, or the index.
        items: All of them.
    """

    def __init__(self, path: Path, items: Sequence[Item]) -> None:
        self.path = path
        self._items = items
        self._folder = path.with_name(f"{path.stem}_files")
        self._number = -(-len(items) // PAGE)
        self.has_index = self._number > 1
        self.pictures = Folder(self._folder, "" if self.has_index else f"{quote(self._folder.name)}/")

    @property
    def folder_name(self) -> str:
        return self._folder.name

    def parts(self) -> Iterator[Part[Item]]:
        if not self.has_index:
            yield Part(self.path, self._items, "", None)
            return
        for number in range(1, self._number + 1):
            name, first = _name(number), (number - 1) * PAGE
            place = {
                "number": number,
                "of": self._number,
                "index": f"../{quote(self.path.name)}",
                "previous": _name(number - 1) if number > 1 else None,
                "next": _name(number + 1) if number < self._number else None,
            }
            address = f"{quote(self._folder.name)}/{name}"
            yield Part(self._folder / name, self._items[first : first + PAGE], address, place)

    def sweep(self) -> None:
        """Removes what earlier pages have left: pages and pictures that are on none now. To be called at the end."""
        self.pictures.sweep()
        kept = {part.path.name for part in self.parts()}
        for file in self._folder.glob("page-*.html"):
            if _NAME.fullmatch(file.name) and file.name not in kept:
                file.unlink()


def _name(number: int) -> str:
    return f"page-{number:03d}.html"
