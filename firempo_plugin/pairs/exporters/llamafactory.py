"""LLaMA-Factory's form: the dataset file, its entry in dataset_info.json, and a training YAML for `stage: fire_mpo`."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from ...chat_templates import images_of
from ...errors import UserError
from ...files import replacing, write_text
from ...settings import config_key
from ..pair import Pair
from .common import Claims, ExportResult, Format, Kept, prompt, write_parquet
from .images import REMEDY, Images

COLUMNS = ("chosen", "rejected", "images", "rejected_images", "chosen_spans", "rejected_spans", "weight")
_PEOPLE = ("id", "noise_path", "target", "judge")
_COLUMNS = ("conversations", *COLUMNS, *_PEOPLE)
FORMAT, MADE_BY = "llamafactory", "firempo build"
FILE_FORMATS = ("json", "parquet")

_PLAIN_YAML = re.compile(r"\.|[A-Za-z/][A-Za-z0-9_./-]*")
_YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")


@dataclass(frozen=True)
class Options:
    """`export.options` of this format."""

    file_format: str = config_key("json", f"of: {', '.join(FILE_FORMATS)}", choices=FILE_FORMATS)
    overwrite: bool = config_key(
        False, "replace files and an entry of dataset_info.json of the same name even where they are not this export's"
    )
    model: str = config_key("Qwen/Qwen3-VL-4B-Instruct", "for the training YAML: a model's name or folder")
    template: str = config_key(
        "qwen3_vl_nothink",
        "the model's chat template; it also decides how the training YAML takes images, and what follows them",
    )
    objective: str = config_key(
        "fire_mpo", "for the training YAML: fire_objective; the default is that of the build's recipe"
    )
    processor: str | None = config_key(None, "where to load the processor from, for a model that ships none")


def write(pairs: Kept, folder: Path, name: str, root: Path, images: str, settings: Options) -> ExportResult:
    """Writes `<name>.json` (or `.parquet`), dataset_info.json and `<name>.yaml`; see `export.export`."""
    data_file, info_file, yaml_file = (
        folder / f"{name}.{settings.file_format}",
        folder / "dataset_info.json",
        folder / f"{name}.yaml",
    )
    refuse_taken(folder, name, root, settings)
    entries = _read_entries(info_file)
    Claims(root, FORMAT).take(data_file, overwrite=settings.overwrite)
    placed = Images(data_file, images, overwrite=settings.overwrite)
    rows = (_blank(pairs.told) | row(pair, placed.name, settings.template) for pair in pairs)
    with replacing(data_file) as temporary:
        _WRITERS[settings.file_format](temporary, rows, pairs.told)
        # In ASCII: the host opens dataset_info.json in the machine's own encoding.
        write_text(info_file, json.dumps(entries | {name: entry(data_file.name)}, indent=2) + "\n")
    place = str(folder.resolve()) if images == "absolute" else "."
    notes = _write_training(yaml_file, training(name, place, settings), settings)
    return ExportResult((data_file, info_file, yaml_file), len(pairs), notes=(*notes, *placed.finish()))


def refuse_taken(folder: Path, name: str, root: Path, settings: Options) -> None:
    """Raises UserError where a folder has a data set of the name that is no export of the build at `root`."""
    data_file, claims = folder / f"{name}.{settings.file_format}", Claims(root, FORMAT)
    existing = _read_entries(folder / "dataset_info.json").get(name)
    _refuse_other_entry(existing, name, data_file, claims, overwrite=settings.overwrite)
    claims.refuse_others(data_file, overwrite=settings.overwrite)


def row(pair: Pair, name_of: Callable[[str], str], template: str) -> dict[str, Any]:
    """A pair as a row; the columns from `id` on are for people."""
    return {
        "conversations": [{"from": "human", "value": prompt(pair, template)}],
        "chosen": {"from": "gpt", "value": pair.chosen},
        "rejected": {"from": "gpt", "value": pair.rejected},
        "images": [name_of(image) for image in pair.images],
        "rejected_images": [name_of(image) for image in pair.rejected_images] or None,
        "chosen_spans": [list(span) for span in pair.chosen_spans],
        "rejected_spans": [list(span) for span in pair.rejected_spans],
        "weight": pair.weight,
        "id": pair.id,
        "noise_path": pair.noise_path,
        "target": pair.target,
        "judge": pair.judge,
        **pair.told,
    }


def _blank(told: Iterable[str]) -> dict[str, Any]:
    """A row of nothing: all have the same keys, or the reader might take those of the first rows for all."""
    return dict.fromkeys((*_COLUMNS, *told))


def entry(file_name: str) -> dict[str, Any]:
    """The dataset_info.json entry of a dataset file; `made_by` marks it as ours and is not read by the host."""
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations"} | {column: column for column in COLUMNS},
        "made_by": MADE_BY,
    }


def training(name: str, dataset_dir: str, settings: Options) -> str:
    """The training YAML; the host looks for a relative `dataset_dir` from the folder where it is run."""
    text = files(__package__).joinpath("training.yaml").read_text(encoding="utf-8")
    processor = "" if settings.processor is None else f"\nprocessor_name_or_path: {_yaml(settings.processor)}"
    images = images_of(settings.template)
    # The host looks for a folder from where it is run, which is not where the build is run.
    model = os.path.abspath(settings.model) if os.path.isdir(settings.model) else settings.model
    return Template(text).substitute(
        name=_yaml(name),
        command=shlex.quote(f"{name}.yaml"),
        model=_yaml(model),
        processor=processor,
        images="\n".join(images.keys),
        cutoff_len=images.cutoff_len,
        folder=_yaml(dataset_dir),
        template=_yaml(settings.template),
        objective=_yaml(settings.objective),
        output=_yaml(f"saves/{name}"),
    )


def _yaml(text: str) -> str:
    """A YAML scalar; quoted, as in JSON, where it is not plainly a word or a path."""
    plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


def _read_entries(info_file: Path) -> dict[str, Any]:
    if not info_file.exists():
        return {}
    try:
        entries = json.loads(info_file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{info_file} is not valid JSON: {error}; repair it, or export to another folder") from error
    if not isinstance(entries, dict):
        raise UserError(f"{info_file} must hold an object of datasets, found {type(entries).__name__}; repair it")
    return entries


def _refuse_other_entry(existing: Any, name: str, data_file: Path, claims: Claims, *, overwrite: bool) -> None:
    """Raises ValueError where dataset_info.json has another dataset of that name."""
    if existing is None or overwrite:
        return
    file_name = existing.get("file_name") if isinstance(existing, dict) else None
    if not isinstance(file_name, str) or not claims.has(data_file.parent / file_name):
        raise UserError(f"dataset_info.json in {data_file.parent} has another dataset {name!r}; {REMEDY}")


def _write_json(file: Path, rows: Iterator[dict[str, Any]], told: Sequence[str]) -> None:
    with file.open("w", encoding="utf-8") as data:
        data.write("[\n")
        for number, row in enumerate(rows):
            data.write((",\n" if number else "") + _encode(row))
        data.write("\n]\n")


def _write_parquet(file: Path, rows: Iterator[dict[str, Any]], told: Sequence[str]) -> None:
    import pyarrow as pa

    message = pa.struct([("from", pa.string()), ("value", pa.string())])
    names, spans = pa.list_(pa.string()), pa.list_(pa.list_(pa.int32()))
    kinds = {
        "conversations": pa.list_(message),
        "chosen": message,
        "rejected": message,
        "images": names,
        "rejected_images": names,
        "chosen_spans": spans,
        "rejected_spans": spans,
        "weight": pa.float64(),
    }
    known = [name for name in ("error_type", "finding", "statement") if name in told]
    people = dict.fromkeys((*_PEOPLE, *known), pa.string())
    write_parquet(file, rows, pa.schema(kinds | people))


def _write_training(file: Path, text: str, settings: Options) -> tuple[str, ...]:
    """Writes the YAML unless a person has changed it; returns what to say about that."""
    if file.exists() and file.read_text(encoding="utf-8") != text and not settings.overwrite:
        return (f"{file} differs from what this export would write and was kept; delete it to have it written anew.",)
    write_text(file, text)
    return ()


_Writer = Callable[[Path, Iterator[dict[str, Any]], Sequence[str]], None]
_encode = json.JSONEncoder(ensure_ascii=False).encode
_WRITERS: dict[str, _Writer] = {
    "json": _write_json,
    "parquet": _write_parquet,
}


LLAMAFACTORY = Format(Options, write)
