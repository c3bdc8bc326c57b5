"""Records and images that come through the browser: kept in the folder of their build, and nowhere else."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ...errors import UserError
from ...files import private_folder

RECORDS, MARKS = "records", "marks"
QUESTIONS = (".jsonl", ".csv", ".parquet", ".json")


def keep(uploaded: Iterable[str], folder: Path) -> list[Path]:
    """Moves files out of the folder that all uploads come to; archives are unpacked.

    Returns:
        The files, in the order of their coming, those of an archive by name.

    Raises:
        UserError: An archive is broken.
    """
    private_folder(folder)
    kept: list[Path] = []
    for source in map(Path, uploaded):
        if source.suffix.lower() == ".zip":
            kept += _unpacked(source, folder)
            source.unlink()
        else:
            kept.append(Path(shutil.move(source, folder / source.name)))
    return kept


def _unpacked(archive: Path, folder: Path) -> list[Path]:
    try:
        with ZipFile(archive) as content:
            names = sorted(info.filename for info in content.infolist() if not info.is_dir())
            return [Path(content.extract(name, folder)) for name in names]  # which keeps them below the folder
    except (BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, in an unknown form, or with a password
        raise UserError(f"{archive.name} cannot be unpacked: {error}; write a plain zip file") from error


def place(kept: list[Path], folder: Path, *, of_a_file: bool) -> Path | None:
    """What a source is to read of uploaded files: the file of its questions, or the folder that holds them all."""
    if of_a_file:
        return next((file for file in kept if file.suffix.lower() in QUESTIONS), None)
    inner = {file.relative_to(folder).parts[0] for file in kept}
    (only,) = inner if len(inner) == 1 else ("",)
    return folder / only if (folder / only).is_dir() else folder
