"""Where the files of a build lie; and the same for work that is done elsewhere and hands over what it would write."""

from collections.abc import Iterable
from pathlib import Path

from ..files import write_bytes


class Place:
    """A folder of files, which are named by their place in it, so that it can be moved.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, *parts: str) -> Path:
        """A path in the folder."""
        return self.folder.joinpath(*parts)

    def relative(self, path: Path) -> str:
        """A file by its place in the folder."""
        return str(path.relative_to(self.folder))

    def absolute(self, path: str) -> str:
        """The file's path; one that is already absolute stays."""
        return str((self.folder / path).absolute())

    def put(self, path: Path, content: Iterable[bytes]) -> None:
        """Writes a file, which others see whole or not at all; content comes part by part."""
        write_bytes(path, content)


class Parcel(Place):
    """The place of a build as seen by one who reads there and writes nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files: dict[str, bytes] = {}

    def put(self, path: Path, content: Iterable[bytes]) -> None:
        """Keeps the file to be handed over."""
        self._files[self.relative(path)] = b"".join(content)

    def taken(self) -> dict[str, bytes]:
        """The files since this was last asked, by their place in the folder."""
        files, self._files = self._files, {}
        return files
