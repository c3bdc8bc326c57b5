"""A folder that `datasets.load_dataset` reads as it is: Parquet files with the images inside, and a card.

The rows are those of the format `llamafactory`, so that they train from there, too. The folder is whole whenever it
exists; an earlier export of the same name is taken away when the new one is there.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ...files import file_digest, private_folder
from ...settings import config_key
from ...sources.ids import Ids
from ..pair import Pair
from .common import Claims, ExportResult, Format, Kept
from .images import carries_more, content_name
from .llamafactory import entry, row

_TEXT = {"dtype": "string", "_type": "Value"}
_MESSAGE = {"from": _TEXT, "value": _TEXT}
_IMAGES = {"feature": {"_type": "Image"}, "_type": "Sequence"}
_NUMBERS = {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "Sequence"}
_SPANS = {"feature": _NUMBERS, "_type": "Sequence"}
FEATURES: dict[str, Any] = {
    "conversations": [_MESSAGE],
    "chosen": _MESSAGE,
    "rejected": _MESSAGE,
    "images": _IMAGES,
    "rejected_images": _IMAGES,
    "chosen_spans": _SPANS,
    "rejected_spans": _SPANS,
    "weight": {"dtype": "float64", "_type": "Value"},
    **dict.fromkeys(("id", "noise_path", "target", "judge", "error_type", "finding", "statement"), _TEXT),
}
"""Columns as the library knows them."""


@dataclass(frozen=True)
class Options:
    """`export.options` of this format."""

    rows_per_file: int = config_key(2000, "rows in a Parquet file", least=1)
    template: str = config_key("qwen3_vl_nothink", "the model's chat template; it decides what follows an image")
    license: str = config_key("other", "for the card: of the source's images and texts, as the hub writes it")
    overwrite: bool = config_key(False, "replace a folder of the same name even where it is not this export's")


def write(pairs: Kept, folder: Path, name: str, root: Path, images: str, settings: Options) -> ExportResult:
    """Writes `<name>/data/train-*.parquet` and its README.md; see `export.export`. Images always lie inside."""
    target = folder / name
    Claims(root, "hub").take(target, overwrite=settings.overwrite)
    partial = folder / f".{name}.part"  # a build exports in one process at a time
    shutil.rmtree(partial, ignore_errors=True)
    private_folder(partial / "data")
    starts = range(0, len(pairs), settings.rows_per_file)
    left = iter(pairs)
    for number in range(len(starts)):
        file = partial / "data" / f"train-{number:05}-of-{len(starts):05}.parquet"
        _write_rows(file, list(islice(left, settings.rows_per_file)), settings.template)
    (partial / "README.md").write_text(card(pairs, name, settings.license), encoding="utf-8")
    _put(partial, target)
    shown = Ids()
    new = (file for pair in pairs for file in (*pair.images, *pair.rejected_images) if shown.add(file))
    carrying = sum(carries_more(Path(file)) for file in new)
    notes = [f"Images are inside the files. Load them with datasets.load_dataset({str(target)!r})."]
    if carrying:
        notes.append(
            f"{carrying} of {len(shown)} images carry more than pixels (EXIF, comments or text of their originals): "
            "look at it before the folder leaves your house."
        )
    written = [*sorted(target.glob("data/*.parquet")), target / "README.md"]
    return ExportResult(tuple(written), len(pairs), notes=tuple(notes))


def _put(partial: Path, target: Path) -> None:
    """Puts a whole folder in another's place; one of the same files stays, with their times."""
    if target.is_dir() and _files(partial) == _files(target):
        shutil.rmtree(partial)
        return
    before = target.with_name(f".{target.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.rename(before)
    partial.rename(target)
    shutil.rmtree(before, ignore_errors=True)


def _files(folder: Path) -> dict[str, str]:
    """The digests of all files, by their places."""
    return {str(file.relative_to(folder)): file_digest(file) for file in folder.rglob("*") if file.is_file()}


def _write_rows(file: Path, pairs: Sequence[Pair], template: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, message = pa.string(), pa.struct([("from", pa.string()), ("value", pa.string())])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {
        "conversations": pa.list_(message),
        **dict.fromkeys(("chosen", "rejected"), message),
        **dict.fromkeys(("images", "rejected_images"), pa.list_(image)),
        **dict.fromkeys(("chosen_spans", "rejected_spans"), pa.list_(pa.list_(pa.int64()))),
        "weight": pa.float64(),
    }
    schema = pa.schema(
        [(name, kinds.get(name, text)) for name in FEATURES],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    rows = [_row(pair, template) for pair in pairs]
    pq.write_table(pa.Table.from_pylist(rows, schema), file, row_group_size=100)


def _row(pair: Pair, template: str) -> dict[str, Any]:
    found = row(pair, str, template)
    for column in ("images", "rejected_images"):
        found[column] = [_image(Path(file)) for file in found[column] or ()]
    return found


def _image(file: Path) -> dict[str, Any]:
    """An image by its bytes, named by its content: file names often are patients' names."""
    return {"bytes": file.read_bytes(), "path": content_name(file)}


def card(pairs: Collection[Pair], name: str, licence: str) -> str:
    """What a reader of the data set has to know."""
    head = {
        "license": licence,
        "task_categories": ["visual-question-answering"],
        "tags": ["preference-optimisation", "medical", "firempo-plugin"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    counts: dict[str, Counter[str]] = {
        "pairs": Counter({"all": len(pairs)}),
        "whose response was right": Counter(str(pair.was_correct).lower() for pair in pairs),
        "judged by": Counter(pair.judge for pair in pairs),
        "noise": Counter(pair.noise_path or "no noised image" for pair in pairs),
        "kind of error": Counter(pair.error_type for pair in pairs if pair.error_type),
    }
    lines = [(what, *found) for what, those in counts.items() for found in those.most_common()]
    template = files(__package__).joinpath("card.md").read_text(encoding="utf-8")
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n" + Template(template).substitute(
        name=name,
        counts="\n".join(f"| {what} | {which} | {count} |" for what, which, count in lines),
        columns=json.dumps({name: entry(name) | {"file_name": "data"}}, indent=2),
    )


HUB = Format(Options, write)
