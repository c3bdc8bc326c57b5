"""TRL's preference form: conversational `prompt`, `chosen` and `rejected`, and `images`, as Parquet.

The Parquet file carries the column types of the `datasets` library, so that it opens the images by itself:
`load_dataset("parquet", data_files="<name>.parquet")`, in its folder. It holds their paths, not their bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import replacing
from ...settings import config_key
from ..pair import Pair
from .common import Claims, ExportResult, Format, Kept, question, write_parquet
from .images import Images

_TEXT = {"dtype": "string", "_type": "Value"}
_MESSAGES = [{"role": _TEXT, "content": [{"type": _TEXT, "text": _TEXT}]}]
_FEATURES = {
    "prompt": _MESSAGES,
    "chosen": _MESSAGES,
    "rejected": _MESSAGES,
    "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
}


@dataclass(frozen=True)
class Options:
    """`export.options` of this format."""

    overwrite: bool = config_key(False, "replace files of the same name even where they are not this export's")


def write(pairs: Kept, folder: Path, name: str, root: Path, images: str, settings: Options) -> ExportResult:
    """Writes `<name>.parquet`; see `export.export`."""
    import pyarrow as pa

    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part))]))
    schema = pa.schema(
        [
            ("prompt", messages),
            ("chosen", messages),
            ("rejected", messages),
            ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
    )
    file = folder / f"{name}.parquet"
    Claims(root, "trl").take(file, overwrite=settings.overwrite)
    placed = Images(file, images, overwrite=settings.overwrite)
    with replacing(file) as temporary:
        write_parquet(temporary, (_row(pair, [placed.name(image) for image in pair.images]) for pair in pairs), schema)
    notes = ["TRL has no columns for noised images, phrases and weights: they are not in this file."]
    if images != "absolute":
        notes.append(f"Image files are named relative to {folder}: run TRL there.")
    return ExportResult((file,), len(pairs), notes=(*notes, *placed.finish()))


def _row(pair: Pair, images: list[str]) -> dict[str, Any]:
    placeholders = [{"type": "image", "text": None} for _ in images]
    return {
        "prompt": [{"role": "user", "content": [*placeholders, _text(question(pair))]}],
        "chosen": [{"role": "assistant", "content": [_text(pair.chosen)]}],
        "rejected": [{"role": "assistant", "content": [_text(pair.rejected)]}],
        "images": [{"bytes": None, "path": image} for image in images],
    }


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


TRL = Format(Options, write)
