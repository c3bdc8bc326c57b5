"""The viewer of images, and the pictures in full resolution that it loads when somebody looks at them."""

import html
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:  # a page of texts loads no image library
    from ..images.pixels import Pixels

SCRIPTS = ("viewer_stage.js", "viewer.js")
STYLE = "viewer.css"
_NAME = re.compile(r"[0-9a-f]{24}\.png")


@cache
def words_in(language: str) -> dict[str, str]:
    """The viewer's words by name, in one of the languages of the table beside this file."""
    table = yaml.safe_load(files(__package__).joinpath("viewer.yaml").read_text(encoding="utf-8"))
    return {name: by_language[language] for name, by_language in table.items()}


def attributes(language: str = "en") -> str:
    """What an element carries whose pictures the viewer is to show: its language and the viewer's words."""
    return f'lang="{language}" data-firempo-words="{html.escape(json.dumps(words_in(language)))}"'


def script() -> str:
    """The viewer as JavaScript, for a document that nobody gave it yet."""
    return "\n".join(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)


def style() -> str:
    """Its style sheet."""
    return files(__package__).joinpath(STYLE).read_text(encoding="utf-8")


class Folder:
    """A folder of pictures in full resolution: pixels alone, without headers, under names made of the pixels.

    Args:
        path: The folder; made when the first picture is written.
        address: Where the page finds it: what stands before the name of a picture.
    """

    def __init__(self, path: Path, address: str) -> None:
        self.path = path
        self._address = address
        self._names: set[str] = set()
        self._lock = Lock()

    def add(self, pixels: "Pixels") -> str:
        """Writes a picture that is not there yet, as PNG, without loss; any thread may call it.

        Returns:
            Its address.
        """
        from ..images.pixels import pixel_id, write_png

        name = f"{pixel_id(pixels)[:24]}.png"
        with self._lock:
            known = name in self._names
            self._names.add(name)
        if not known and not (self.path / name).exists():
            write_png(pixels, self.path / name)
        return self._address + name

    def sweep(self) -> None:
        """Removes the pictures that were written for an earlier page and are on no page now."""
        for file in self.path.glob("*.png"):
            if _NAME.fullmatch(file.name) and file.name not in self._names:
                file.unlink()
