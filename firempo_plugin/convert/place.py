"""Where the target of a conversion appears: whole, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

SPARE = 64 << 20
"""Bytes beside those of the weights that must be free."""


@contextmanager
def new_folder(to: Path, size: int) -> Iterator[Path]:
    """Yields a folder beside the target that takes its place at the end; on failure nothing is left.

    Raises:
        UserError: The target exists and is not empty, there is a folder of a run that was stopped, or no room.
    """
    to = Path(os.path.realpath(to))
    if os.path.ismount(to):
        raise UserError(f"{to} is where a file system is mounted, which nothing can replace; name a folder in it")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} exists and is not an empty folder; name another, or delete it")
    to.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(to.parent).free
    if free < size + SPARE:
        raise UserError(f"{to.parent} has {free / 1e9:.1f} GB free, and the weights take {size / 1e9:.1f} GB")
    part = to.with_name(f".{to.name}.part")
    try:
        part.mkdir()
    except FileExistsError as error:
        raise UserError(f"{part} is of a conversion that was stopped, or that still runs; delete it") from error
    try:
        yield part
        os.replace(part, to)
    except OSError as error:
        error.add_note(f"This was while {to} was written; nothing is left of it.")
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
