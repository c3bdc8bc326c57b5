"""Records and images that come through the browser: kept in the folder of their build, and nowhere else."""

import lzma
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ...errors import UserError
from ...files import private_folder

RECORDS, MARKS = "records", "marks"
DAMAGED = (BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, lzma.LZMAError)
"""Of an archive: broken, in an unknown form, or with a password."""
OF_MACOS = "__MACOSX"
"""The folder of an archive that macOS adds, whose files are named as those beside it."""
QUESTIONS = (".jsonl", ".csv", ".parquet", ".json")


def keep(uploaded: Iterable[str], folder: Path) -> list[Path]:
    """Moves files out of the folder that all uploads come to, where none stays; archives are unpacked.

    Returns:
        The files, in the order of their coming, those of an archive by name.

    Raises:
        UserError: An archive is broken or too large, files have the same name, or the folder cannot be written.
    """
    sources = [Path(source) for source in uploaded]
    try:
        private_folder(folder)
        return _kept(sources, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        for source in sources:
            source.unlink(missing_ok=True)


def _kept(sources: list[Path], folder: Path) -> list[Path]:
    kept: list[Path] = []
    for source in sources:
        archive = source.suffix.lower() == ".zip"
        kept += _unpacked(source, folder) if archive else [Path(shutil.move(source, folder / source.name))]
    for file, number in Counter(kept).items():
        if number > 1:
            raise UserError(
                f"{number} files are named {file.relative_to(folder)}, and one is left; rename, upload again"
            )
    return kept


def _unpacked(archive: Path, folder: Path) -> list[Path]:
    try:
        with ZipFile(archive) as content:
            files = [
                info for info in content.infolist() if not info.is_dir() and OF_MACOS not in Path(info.filename).parts
            ]
            size, free = sum(info.file_size for info in files), shutil.disk_usage(folder).free
            if size > free:
                raise UserError(f"{archive.name} unpacks to {size:,} bytes; {folder} has room for {free:,}")
            names = sorted(info.filename for info in files)
            return [Path(content.extract(name, folder)) for name in names]  # which keeps them below the folder
    except DAMAGED as error:
        raise UserError(f"{archive.name} cannot be unpacked: {error}; write a plain zip file") from error


def place(kept: list[Path], folder: Path, *, of_a_file: bool) -> Path | None:
    """What a source is to read of uploaded files: the file of its questions, or the folder that holds them all."""
    if of_a_file:
        return next((file for file in kept if file.suffix.lower() in QUESTIONS), None)
    inner = {file.relative_to(folder).parts[0] for file in kept}
    (only,) = inner if len(inner) == 1 else ("",)
    return folder / only if (folder / only).is_dir() else folder
