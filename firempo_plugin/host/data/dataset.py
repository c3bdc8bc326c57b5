"""The host's pairwise data formats, extended: four more columns, and no row lost on the way.

The host loads, samples, mixes and splits as ever; under `stage: fire_mpo` the two steps between, format
conversion and tokenising, are ours. Each keeps every row: a row that cannot be used carries its problem
along to `admission`, which stops the run or skips and counts it.
"""

import copy
import difflib
import gc
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from importlib.metadata import version
from typing import Any

from ..arguments import STAGE
from . import rows
from .dataset_info import DatasetError, check_entries
from .media import by_image, media_digest
from .processor import processor_settings
from .reasons import RowError, blamed_on_the_row, together
from .row_images import as_stored
from .rows import RowEncoder, encoded_features
from .source_file import explain, explain_early

ON_TEXT = ("chosen_spans", "rejected_spans", "chosen_weights", "rejected_weights", "weight")
COLUMNS = ("rejected_images", *ON_TEXT)
ROWS_PER_PROCESS = 500
LEAST_VAL_SIZE = 1e-6
"""The host splits nothing off for less."""
FOR_PEOPLE = ("id", "finding", "statement", "target", "noise_path", "error_type")
"""Columns that the preprocessor writes beside these, by their own names; no training reads them."""


def extend_parser(module: Any) -> None:
    """Lets dataset_info.json name our columns."""
    base = module.DatasetAttr
    known = {attr.name for attr in fields(base)} | set(COLUMNS)

    def join(self: Any, attr: dict[str, Any]) -> None:
        base.join(self, attr)
        columns = attr.get("columns", {})
        for column in COLUMNS:
            self.set_attr(column, columns)
        self.unknown_columns = sorted(set(columns) - known)

    new_fields: list[Any] = [
        *((column, str | None, None) for column in COLUMNS),
        ("unknown_columns", list, field(default_factory=list)),
        ("stage", str | None, None),
        ("title", str, ""),
        ("sampling", tuple, (None, None)),
    ]
    extended = make_dataclass(
        base.__name__, new_fields, bases=(base,), namespace={"join": join, "__doc__": base.__doc__}, repr=False
    )
    extended.__module__, extended.__qualname__ = base.__module__, base.__qualname__
    module.DatasetAttr = extended


def extend_converter(module: Any) -> None:
    """Converts the rows of our stage's datasets with `RowConverter`; every other dataset as before."""
    align_dataset = module.align_dataset

    def align(dataset: Any, dataset_attr: Any, data_args: Any, training_args: Any) -> Any:
        if dataset_attr.stage != STAGE:
            return align_dataset(dataset, dataset_attr, data_args, training_args)
        if dataset_attr.formatting not in module.DATASET_CONVERTERS:
            raise DatasetError(
                f"dataset {dataset_attr}: formatting: {dataset_attr.formatting} is unknown. "
                f"Write one of: {', '.join(module.DATASET_CONVERTERS)}."
            )
        host = module.DATASET_CONVERTERS[dataset_attr.formatting](dataset_attr, data_args)
        return align_rows(dataset, host, dataset_attr, data_args, training_args)

    module.align_dataset = align


def extend_loader(module: Any) -> None:
    """Adds our stage to the host's `get_dataset`; other stages take the host's own path."""
    merge, preprocess = module._get_merged_dataset, module._get_preprocessed_dataset

    def merged(
        dataset_names: Any, model_args: Any, data_args: Any, training_args: Any, stage: str, return_dict: bool = False
    ) -> Any:
        if stage != STAGE or dataset_names is None:
            return merge(dataset_names, model_args, data_args, training_args, stage, return_dict)
        loaded = load_all(module, dataset_names, model_args, data_args, training_args)
        if return_dict:
            return loaded
        rows = module.merge_dataset(list(loaded.values()), data_args, training_args.seed)
        if dataset_names == data_args.dataset:
            refuse_empty_split(len(rows), data_args.val_size)
        return rows

    def preprocessed(
        dataset: Any,
        data_args: Any,
        training_args: Any,
        stage: str,
        template: Any,
        tokenizer: Any,
        processor: Any = None,
        is_eval: bool = False,
    ) -> Any:
        if stage != STAGE or dataset is None:
            return preprocess(dataset, data_args, training_args, stage, template, tokenizer, processor, is_eval)
        return encode_rows(dataset, data_args, training_args, template, tokenizer, processor, is_eval)

    module._get_merged_dataset = merged
    module._get_preprocessed_dataset = preprocessed


def refuse_empty_split(rows: int, val_size: float) -> None:
    """Refuses a share or number of rows for validation that leaves none to train on.

    Raises:
        DatasetError: Says how many rows there are.
    """
    held_out = int(val_size) if val_size > 1 else math.ceil(val_size * rows)
    if val_size > LEAST_VAL_SIZE and held_out >= rows:
        raise DatasetError(
            f"val_size: {val_size:g} leaves no row to train on, of {rows} that there are. Write a share, for example "
            "`val_size: 0.1`, or fewer rows than there are"
        )


def load_all(module: Any, names: list[str], model_args: Any, data_args: Any, training_args: Any) -> dict[str, Any]:
    """Loads datasets of dataset_info.json with the host's `data.loader`: aligned rows by name, in the order of names.

    Raises:
        DatasetError: See `check_entries` and `load_single`.
    """
    check_entries(names, data_args.dataset_dir)
    attrs = module.get_dataset_list(names, data_args.dataset_dir)
    return {
        name: load_single(module, name, attr, model_args, data_args, training_args)
        for name, attr in zip(names, attrs, strict=True)
    }


def load_single(module: Any, name: str, attr: Any, model_args: Any, data_args: Any, training_args: Any) -> Any:
    """Loads one dataset with the host's loader, whole; `align_rows` then samples it as the host would have.

    Raises:
        DatasetError: dataset_info.json does not fit the stage, or the file cannot be read as rows.
    """
    if not attr.ranking:
        raise DatasetError(
            f'dataset {name}: stage: {STAGE} trains on pairs. Write `"ranking": true` in its dataset_info.json entry.'
        )
    for column in attr.unknown_columns:
        close = difflib.get_close_matches(column, [a.name for a in fields(attr)], n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise DatasetError(f"dataset {name}: dataset_info.json names an unknown column kind {column!r}.{hint}")
    path = os.path.join(str(data_args.dataset_dir), attr.dataset_name)
    attr.stage = STAGE
    attr.title = f"{name} (all files of {attr.dataset_name} together)" if os.path.isdir(path) else name
    attr.sampling = (attr.num_samples, data_args.max_samples)
    attr.num_samples = None
    whole = copy.copy(data_args)
    whole.max_samples = None
    local = attr.load_from == "file"
    if local and os.path.isdir(path) and not os.listdir(path):
        raise DatasetError(f"dataset {name}: the folder {path} is empty; put its files there, or name another")
    if local and (reason := explain_early(path)):
        raise DatasetError(f"dataset {name}: {reason}")
    try:
        return module._load_single_dataset(attr, model_args, whole, training_args)
    except DatasetError as error:
        reason = explain(path, types=False) if local else None
        if reason is None:
            raise
        raise DatasetError(f"dataset {name}: {reason}") from error
    except Exception as error:
        reason = explain(path) if local else None
        if reason is None:
            raise
        raise DatasetError(f"dataset {name}: {reason}") from error


def align_rows(dataset: Any, host: Any, attr: Any, data_args: Any, training_args: Any) -> Any:
    """Maps source rows to prompt, response, images and `_fire`, a JSON string with everything else.

    Never served from a cache on the main process, so that a media file that came or went is seen.
    """
    if len(dataset) == 0:
        raise DatasetError(f"dataset {attr.title}: it has no rows")
    _require_columns(dataset, attr)
    most = attr.sampling[1]
    if most is not None and most < 1:
        raise DatasetError(f"max_samples must be at least 1, found {most}. Remove it to take all rows")
    numbers = _sample(len(dataset), *attr.sampling)
    # Arrow hands images over as they are stored: decoding and encoding them again would change their pixels.
    converted = dataset.select(numbers).with_format("arrow")
    processes = _processes(len(numbers), data_args)
    with _kept_in_common(processes):
        aligned = converted.map(
            RowConverter(host, attr, numbers),
            with_indices=True,
            remove_columns=dataset.column_names,
            features=_aligned_features(dataset, attr),
            num_proc=processes,
            load_from_cache_file=training_args.local_process_index != 0,
            desc="Converting format of dataset",
        )
    return aligned.with_format(None)


def _processes(rows: int, data_args: Any) -> int | None:
    """As many as were asked for, as far as their rows are worth a start; None: this one."""
    processes = min(data_args.preprocessing_num_workers or 1, rows // ROWS_PER_PROCESS)
    return processes if processes > 1 else None


@contextmanager
def _kept_in_common(processes: int | None) -> Iterator[None]:
    """Forked processes share what there is: their garbage collection would write to it, and so copy it."""
    if processes is None or gc.get_freeze_count():  # which somebody else keeps aside
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _sample(rows: int, num_samples: int | None, max_samples: int | None) -> list[int]:
    """The rows that the host would pick, in its order and by its random numbers, so that their numbers stay known."""
    import numpy as np

    numbers = np.arange(rows)
    if num_samples is not None:
        numbers = np.random.permutation(rows)[:num_samples]
        if num_samples > rows:
            numbers = np.concatenate((numbers, np.random.choice(rows, num_samples - rows)))
    return [int(number) for number in numbers[: len(numbers) if max_samples is None else max_samples]]


def _require_columns(dataset: Any, attr: Any) -> None:
    formats = {
        "alpaca": ("prompt", "query", "history"),
        "sharegpt": ("messages",),
        "openai": ("messages",),
    }
    kinds = (*formats.get(attr.formatting, ()), "chosen", "rejected", "images", "system", "tools", *COLUMNS)
    for kind in kinds:
        column = vars(attr)[kind]
        required = kind in ("chosen", "rejected", "messages")
        if column is None and required:
            raise DatasetError(
                f"dataset {attr.title}: its dataset_info.json entry names no column for {kind!r}. "
                f'Write `"columns": {{"{kind}": "<name of the column>", ...}}`.'
            )
        optional_by_host = kind in ("prompt", "query") and column in ("instruction", "input")
        if column is not None and column not in dataset.column_names and not optional_by_host:
            raise DatasetError(
                f"dataset {attr.title}: dataset_info.json says that {kind} is in column {column!r}, but the file has "
                f"the columns {', '.join(dataset.column_names)}"
            )


def _aligned_features(dataset: Any, attr: Any) -> Any:
    from datasets import Features, Value

    messages = [{"role": Value("string"), "content": Value("string")}]
    return Features(
        _prompt=messages,
        _response=messages,
        _system=Value("string"),
        _tools=Value("string"),
        _images=_media_feature(dataset, attr.images),
        _rejected_images=_media_feature(dataset, attr.rejected_images),
        _fire=Value("string"),
    )


def _media_feature(dataset: Any, column: str | None) -> Any:
    """The type of a list of images: that of the source where it holds image data, else paths."""
    from datasets import Image, Sequence, Value
    from pyarrow import types

    if column is not None:
        kind = dataset.features.arrow_schema.field(column).type
        is_list = types.is_list(kind) or types.is_large_list(kind)
        element = kind.value_type if is_list else kind
        if types.is_struct(element) or types.is_binary(element):
            return Sequence(Image(decode=False))
    return Sequence(Value("string"))


@dataclass
class RowConverter:
    """One source row in any of the host's formats -> one aligned row; what is wrong is noted, not dropped."""

    host: Any
    attr: Any
    numbers: list[int]
    version: int = field(default_factory=lambda: rows.VERSION)

    def __call__(self, table: Any, index: int) -> dict[str, Any]:
        """Converts an Arrow table of one row."""
        (example,) = table.to_pylist()
        fire = {
            "dataset": self.attr.title,
            "row": self.numbers[index],
            **{kind: self._value(example, kind) for kind in ON_TEXT},
            "about": {name: example[name] for name in FOR_PEOPLE if isinstance(example.get(name), str)},
        }
        row: dict[str, Any] = {key: [] for key in ("_prompt", "_response", "_images", "_rejected_images")}
        row |= {"_system": "", "_tools": ""}
        problem = together(self._problems(example))
        if not problem:
            try:
                with blamed_on_the_row(f"it cannot be read as {self.attr.formatting}: "):
                    aligned = self.host(example)
                    rejected_images = self.host._find_medias(self._value(example, "rejected_images"))
            except RowError as error:
                problem = str(error)
            else:
                row |= {key: aligned[key] for key in ("_prompt", "_response", "_system", "_tools")}
                row["_images"] = [as_stored(image) for image in aligned["_images"] or []]
                row["_rejected_images"] = [as_stored(image) for image in rejected_images or []]
                problem = together(_turn_problems(row))
        row["_fire"] = json.dumps(fire | {"problem": problem}, default=str, ensure_ascii=False)
        return row

    def _value(self, example: dict[str, Any], kind: str) -> Any:
        column = vars(self.attr)[kind]
        return example[column] if column is not None else None

    def _problems(self, example: dict[str, Any]) -> Iterator[str]:
        content, role = self.attr.content_tag, self.attr.role_tag
        named = " (other names: `tags` in dataset_info.json)"
        for side in ("chosen", "rejected"):
            value = self._value(example, side)
            if self.attr.formatting == "alpaca":
                if not isinstance(value, str):
                    yield f"{side} must be text, found {value!r}"
            elif not isinstance(value, dict) or not isinstance(value.get(content), str) or not value.get(role):
                yield f"{side} must be a message, `{role}` and a text under `{content}`{named}, found {value!r}"
        if self.attr.formatting != "alpaca":
            messages = self._value(example, "messages")
            if not isinstance(messages, list) or not messages:
                yield f"{self.attr.messages} must be a list of messages, found {messages!r}"
            else:
                for number, message in enumerate(messages):
                    if not isinstance(message, dict) or not isinstance(message.get(content), str):
                        where = f"message {number} of {self.attr.messages}"
                        yield f"{where} has no text under `{content}`{named}: {message!r}"
        for kind in ("images", "rejected_images"):
            yield from _media_problems(kind, self._value(example, kind))
        for kind in ("videos", "audios"):
            if self._value(example, kind):
                yield f"it has {kind}; stage: {STAGE} trains on text and images only"


def _media_problems(kind: str, medias: Any) -> Iterator[str]:
    for number, media in enumerate(medias if isinstance(medias, list) else [] if medias is None else [medias]):
        if media is None or media == "":
            yield f"{kind}[{number}] is empty; write null or [] for {kind} where a row has none"
        elif isinstance(media, int | float | list) or (
            isinstance(media, dict) and not media.keys() & {"path", "bytes"}
        ):
            yield f"{kind}[{number}] must be a path or an image, found {media!r}"


def _turn_problems(row: dict[str, Any]) -> Iterator[str]:
    if not row["_prompt"]:
        yield (
            "its messages do not alternate between user and assistant, starting and ending with the user "
            "(a system message may come first); chosen and rejected are the answers to the last of them"
        )
    elif len(row["_response"]) != 2:
        yield "it has no pair of a chosen and a rejected response"
    elif any(not isinstance(message["content"], str) for message in row["_prompt"]):
        yield "a turn of its prompt has no text"
    elif not row["_prompt"][-1]["content"].strip():
        yield "its prompt is empty"


def encode_rows(
    dataset: Any, data_args: Any, training_args: Any, template: Any, tokenizer: Any, processor: Any, is_eval: bool
) -> Any:
    """Tokenises aligned rows with `RowEncoder`; cached by version, template, tokeniser and the media files."""
    encoder = row_encoder(dataset, data_args, template, tokenizer, processor)
    order = by_image(dataset)
    processes = _processes(len(dataset), data_args)
    with _kept_in_common(processes):
        encoded = dataset.select(order).map(
            encoder,
            with_rank=True,
            remove_columns=dataset.column_names,
            features=encoded_features(dataset.features["_images"], dataset.features["_rejected_images"]),
            num_proc=processes,
            load_from_cache_file=(not data_args.overwrite_cache) or training_args.local_process_index != 0,
            desc="Running tokenizer on dataset",
        )
    encoded = encoded.select(sorted(range(len(order)), key=order.__getitem__))
    if training_args.should_log:
        first = next((row for row in encoded.remove_columns(["images", "rejected_images"]) if not row["problem"]), None)
        if first is not None:
            print("eval example:" if is_eval else "training example:")
            print(encoder.describe(first))
    return encoded


def row_encoder(dataset: Any, data_args: Any, template: Any, tokenizer: Any, processor: Any) -> RowEncoder:
    """The encoder of a run for aligned rows.

    Raises:
        DatasetError: The tokeniser is a slow one.
    """
    if not tokenizer.is_fast:
        raise DatasetError(
            "stage: fire_mpo places phrases by a fast tokeniser's offsets, and this one is slow. "
            "Remove `use_fast_tokenizer: false`, or use a checkpoint with a tokenizer.json."
        )
    return RowEncoder(
        template=template,
        tokenizer=tokenizer,
        processor=processor,
        cutoff_len=data_args.cutoff_len,
        media_dir=str(data_args.media_dir),
        code=encoding_fingerprint(data_args, tokenizer, processor),
        media=media_digest(dataset, ("_images", "_rejected_images")),
    )


def encoding_fingerprint(data_args: Any, tokenizer: Any, processor: Any) -> str:
    """Hash of all that turns a row into token ids and pixels, but for the row and its images."""
    text = json.loads(tokenizer.backend_tokenizer.to_str())
    template = ("template", "default_system", "tool_format", "enable_thinking", "preserve_thinking", "cutoff_len")
    settings = {
        "versions": [rows.VERSION, version("llamafactory")],
        "template": [vars(data_args)[key] for key in template] + [tokenizer.chat_template],
        "tokenizer": {key: value for key, value in text.items() if key not in ("truncation", "padding")},
        "special": [tokenizer.special_tokens_map, tokenizer.split_special_tokens],
        "processor": processor_settings(processor),
    }
    return hashlib.sha256(json.dumps(settings, default=str, sort_keys=True).encode()).hexdigest()
