"""The image files of an export: in its own folder and named by their content, so that it can be moved and published.

They lie in `images/<dataset file>/`. Neither a patient's name in a file name nor a path of this machine leaves with
them; what a JPEG or PNG file carries beside its pixels does, byte for byte. Images that the build made, of DICOM files
among them, are PNG files that carry nothing.
"""

import os
import re
import shutil
from functools import lru_cache
from pathlib import Path

from ...errors import UserError
from ...files import private_folder
from ...sources.ids import Ids

REMEDY = "choose another export.name, or set export.options.overwrite: true"

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_OURS = re.compile(r"([0-9a-f]{32})(\.[a-z0-9]{1,5})?")
_CARRIED = ("exif", "comment", "xmp", "photoshop", "iptc")
_ID_LENGTH = 32


class Images:
    """Puts the images of one dataset file in place, and says how its rows name them.

    Args:
        data_file: The dataset file, which is this build's own.
        place: `copy`; `link`, hard links, or copies where the file system has none: who changes one then changes the
            original; `absolute`, nothing is placed and the originals are named.
        overwrite: Replace a file that is in the way.
    """

    def __init__(self, data_file: Path, place: str, *, overwrite: bool) -> None:
        self._base = data_file.parent
        self._folder = self._base / "images" / data_file.name
        self._place = place
        self._overwrite = overwrite
        self._names, self._kept = Ids(), Ids()
        self.name = lru_cache(10_000)(self._name)

    def _name(self, file: str) -> str:
        """How a row names an image file, which is in place then.

        Raises:
            UserError: The file cannot be read, or another one or a link is where it belongs.
        """
        real = os.path.realpath(file)
        if self._place == "absolute":
            return real
        name = self._names.get(real)
        if name is None:
            name = self._put(Path(real)).relative_to(self._base).as_posix()
            self._names.add(real, name)
            self._kept.add(name)
        return name

    def finish(self) -> tuple[str, ...]:
        """Takes away what an earlier export put here and no row names any more; returns what to say of the others.

        Only after the dataset file is written: a kill before leaves every image that either of the two files names.
        """
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            ours = _OURS.fullmatch(file.name)
            named = file.relative_to(self._base).as_posix() in self._kept
            if ours and not named and not file.is_symlink() and _content(file)[:_ID_LENGTH] == ours[1]:
                file.unlink()
        carrying, kept = sum(carries_more(self._base / name) for name in self._kept), len(self._kept)
        if not carrying:
            return ()
        return (
            f"{carrying} of {kept} images carry more than pixels (EXIF, comments or text of their originals): "
            "look at it before the folder leaves your house.",
        )

    def _put(self, source: Path) -> Path:
        content = _content(source)
        target = self._folder / content_name(source)
        for folder in (self._folder.parent, self._folder):
            if folder.is_symlink():
                raise UserError(f"{folder} is a link to another place; remove it, or choose another export.folder")
        if os.path.lexists(target):
            plain = target.is_file() and not target.is_symlink()
            linked = plain and target.samefile(source)
            if plain and (linked or _content(target) == content) and not (linked and self._place == "copy"):
                return target
            if not linked and not self._overwrite:
                raise UserError(f"{target} exists and is not the image that belongs there; {REMEDY}")
        private_folder(self._folder)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self._write(source, temporary)
            if _content(temporary) != content:
                raise UserError(f"{source} has changed while it was exported; run the same command again")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def _write(self, source: Path, target: Path) -> None:
        if self._place == "link":
            try:
                os.link(source, target)
            except OSError:
                pass  # another file system, or one without hard links
            else:
                return
        shutil.copyfile(source, target)


def content_name(file: Path) -> str:
    """A name for an image file by its content alone."""
    suffix = file.suffix.lower()
    return f"{_content(file)[:_ID_LENGTH]}{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def _content(file: Path) -> str:
    from ...images.pixels import content_id

    return content_id(file)


def carries_more(file: Path) -> bool:
    """Whether an image file holds anything beside its pixels."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return any(key.lower() in _CARRIED or isinstance(value, str) for key, value in image.info.items())
    except OSError:
        return False
