"""ms-swift's preference form: one JSON line a pair, with `rejected_response` and `rejected_images`.

ms-swift scores the rejected response on `rejected_images`. With them, a row therefore says clean/chosen >
noised/rejected (the objective `mmedpo`); without them, clean/chosen > clean/rejected (`dpo`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import replacing
from ...settings import config_key
from ..pair import Pair
from .common import Claims, ExportResult, Format, Kept, prompt
from .images import Images


@dataclass(frozen=True)
class Options:
    """`export.options` of this format."""

    noised: bool = config_key(True, "score the rejected response on the noised image")
    overwrite: bool = config_key(False, "replace files of the same name even where they are not this export's")


def write(pairs: Kept, folder: Path, name: str, root: Path, images: str, settings: Options) -> ExportResult:
    """Writes `<name>.jsonl`; see `export.export`."""
    file = folder / f"{name}.jsonl"
    Claims(root, "swift").take(file, overwrite=settings.overwrite)
    placed = Images(file, images, overwrite=settings.overwrite)
    rows = (_row(pair, placed.name, noised=settings.noised) for pair in pairs)
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as data:
        data.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    notes = ["ms-swift has no columns for phrases and weights: they are not in this file."]
    if images != "absolute":
        notes.append(f"Image files are named relative to {folder}: run ms-swift there, or set ROOT_IMAGE_DIR to it.")
    return ExportResult((file,), len(pairs), notes=(*notes, *placed.finish()))


def _row(pair: Pair, name_of: Callable[[str], str], *, noised: bool) -> dict[str, Any]:
    """Every row has the same keys, or the reader would guess the columns' types from the first rows."""
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": prompt(pair)},
            {"role": "assistant", "content": pair.chosen},
        ],
        "images": [name_of(image) for image in pair.images],
        "rejected_response": pair.rejected,
    }
    if noised:
        row["rejected_images"] = [name_of(image) for image in pair.rejected_images or pair.images]
    return row


SWIFT = Format(Options, write)
