"""Files that others see whole or not at all, folders for their owner alone, and texts that a file can hold."""

import fcntl
import filecmp
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from .errors import UserError

_SURROGATES = re.compile("[\ud800-\udfff]")


def private_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for its owner alone."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def locked(folder: Path) -> IO[str]:
    """A folder's lock, held as long as the file is open; the folder is made if need be.

    Raises:
        UserError: Another process holds it.
    """
    private_folder(folder)
    file = open(folder / "lock", "a+", encoding="utf-8", opener=lambda path, how: os.open(path, how, 0o600))  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"another firempo run works in {folder}; wait for it, or use another folder") from error
    return file


@contextmanager
def replacing(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """Yields a temporary path that takes the file's place when all is written; on failure the old file stays.

    A file with the same content stays too, and so does its time, by which trainers know their cached datasets. A
    symbolic link stays, and what it leads to is replaced.

    Args:
        path: The file; a folder that is missing is made.
        lasting: Whether it has to survive a power cut, too.

    Raises:
        UserError: There is something else, such as a folder or /dev/null, which must not be replaced.
        OSError: It cannot be written.
    """
    path = Path(os.path.realpath(path))
    _refuse_other_things(path)
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield temporary
        if not path.exists() or not filecmp.cmp(temporary, path, shallow=False):
            if lasting:
                _sync(temporary)
            os.replace(temporary, path)
            if lasting:
                _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_other_things(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no plain file; name another one to write to")


def refuse_unwritable(path: Path) -> None:
    """Refuses a file that `replacing` could not write, before anything is computed for it.

    Raises:
        UserError: Names the file and the cause.
    """
    path = Path(os.path.realpath(path))
    _refuse_other_things(path)
    try:
        private_folder(path.parent)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; name another file") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: Iterable[bytes]) -> None:
    """Writes a file part by part, as `replacing` does."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(content)


def write_text(path: Path, text: str, *, lasting: bool = False) -> None:
    """Writes a UTF-8 file as `replacing` does."""
    with replacing(path, lasting=lasting) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The JSON object of a file that this package has written.

    Args:
        path: The file.
        advice: What to do where somebody has changed it.

    Raises:
        UserError: It holds none.
        OSError: It cannot be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} was changed, and holds no JSON object any more; {advice}")
    return found


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which no UTF-8 file can hold."""
    return _SURROGATES.search(text) is None


def plain(text: str) -> str:
    """A text that can be written down: halves of surrogate pairs replaced."""
    return _SURROGATES.sub("\ufffd", text)
