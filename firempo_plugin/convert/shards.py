"""Checkpoints read and written tensor by tensor, by their bytes: no more of one is in memory than a piece.

Of a `.bin` shard, which torch maps from its file, at most that shard.
"""

import json
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UserError

PIECE = 1 << 24
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")
DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""By their names in safetensors, the types' names in torch and their sizes in bytes."""


DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, RuntimeError),
    *(AssertionError, AttributeError, LookupError, TypeError, ValueError),
)
"""What torch raises of a file that is damaged, or none of its own."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a shard.

    Attributes:
        name: Its name there.
        file: The shard.
        dtype: As safetensors calls it.
        shape: Its sizes.
        start: Where its bytes start in the file; None in a `.bin` shard.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int | None

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * DTYPES[self.dtype][1]

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Its bytes, in order, in pieces.

        Raises:
            UserError: The file ends before.
        """
        if self.start is None:
            yield from self._pieces_of_bin()
            return
        with self.file.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise UserError(f"{self.file} ends within {self.name}: download it anew")
                left -= len(piece)
                yield piece

    def load(self) -> Any:
        """It itself, in torch."""
        import torch

        flat = torch.frombuffer(bytearray(b"".join(self.pieces())), dtype=getattr(torch, DTYPES[self.dtype][0]))
        return flat.view(self.shape)

    def _pieces_of_bin(self) -> Iterator[memoryview]:
        import torch

        flat = _shard(self.file)[self.name].contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, flat.numel(), PIECE):
            yield flat[start : start + PIECE].numpy().data


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, shard by shard in their order; only heads of files are read.

    Raises:
        UserError: There is none, a shard is missing, damaged, or holds other tensors than the index says.
    """
    index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
    if index is None:
        single = next((folder / name for name in SINGLE if (folder / name).is_file()), None)
        if single is None:
            raise UserError(f"{folder} holds no weights: expected one of {', '.join((*INDEXES, *SINGLE))}")
        return {tensor.name: tensor for tensor in _head(single)}
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise UserError(f"{index} has no weight_map")
    found: dict[str, Tensor] = {}
    for shard in dict.fromkeys(places.values()):
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise UserError(f"{index} names a shard outside its folder: {shard}")
        for tensor in _head(folder / shard):
            if places.get(tensor.name) != shard:
                raise UserError(f"{folder / shard} holds {tensor.name}, of which {index.name} says otherwise")
            found[tensor.name] = tensor
    lacking = [f"{name} ({places[name]})" for name in places if name not in found]
    if lacking:
        raise UserError(f"{folder} lacks tensors that {index.name} lists: {some(lacking)}")
    return found


def read_json(file: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        UserError: It is missing or something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing") from error
    except ValueError as error:
        raise UserError(f"{file} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{file} must hold an object, found {type(value).__name__}")
    return value


def some(names: Iterable[str]) -> str:
    """Names for a sentence, the first ten and how many more."""
    names = list(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


@dataclass(frozen=True)
class Entry:
    """A tensor to be written.

    Attributes:
        name: In the target.
        source: Where its bytes come from.
        rows: Its number of rows; fewer than the source's leaves out the last ones.
        appended: Bytes of the rows behind those of the source.
    """

    name: str
    source: Tensor
    rows: int | None = None
    appended: bytes = b""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes in the target."""
        return self.source.shape if self.rows is None else (self.rows, *self.source.shape[1:])

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * DTYPES[self.source.dtype][1]

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Its bytes, in order, in pieces."""
        left = self.size - len(self.appended)
        for piece in self.source.pieces():
            yield piece[:left]
            left -= min(left, len(piece))
        if self.appended:
            yield self.appended


def write(folder: Path, shards: list[list[Entry]]) -> None:
    """Writes shards in the safetensors format with their index, to the disk itself, and reads them again.

    Raises:
        OSError: They cannot be written.
        RuntimeError: What is read is not what was written.
    """
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    sums: dict[str, int] = {}
    for name, entries in zip(names, shards, strict=True):
        sums |= _write_shard(folder / name, entries)
    places = {entry.name: name for name, entries in zip(names, shards, strict=True) for entry in entries}
    total = sum(entry.size for entries in shards for entry in entries)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEXES[0]).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for tensor in read(folder).values():
        if check_sum(tensor.pieces()) != sums.pop(tensor.name):
            raise RuntimeError(f"{tensor.file} does not hold what was written as {tensor.name}")


def check_sum(pieces: Iterable[bytes | memoryview]) -> int:
    """CRC-32 of bytes in pieces."""
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return total


def mean_row(tensor: Tensor) -> bytes:
    """The mean of a matrix's rows, in its own type."""
    import torch

    dtype = getattr(torch, DTYPES[tensor.dtype][0])
    columns = tensor.shape[1]
    row_size, rest = columns * DTYPES[tensor.dtype][1], b""
    total = torch.zeros(columns, dtype=torch.float64)
    for piece in tensor.pieces():
        rest += bytes(piece)
        whole = len(rest) // row_size * row_size
        if whole:
            rows = torch.frombuffer(bytearray(rest[:whole]), dtype=dtype).view(-1, columns)
            for start in range(0, len(rows), 1024):
                total += rows[start : start + 1024].double().sum(0)
        rest = rest[whole:]
    return bytes((total / tensor.shape[0]).to(dtype).view(torch.uint8).numpy().data)


def _write_shard(file: Path, entries: list[Entry]) -> Mapping[str, int]:
    """Writes one shard; returns the check sums of its tensors by name."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        head[entry.name] = {
            "dtype": entry.source.dtype,
            "shape": list(entry.shape),
            "data_offsets": [end, end + entry.size],
        }
        end += entry.size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    sums = {}
    with file.open("xb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            total = 0
            for piece in entry.pieces():
                out.write(piece)
                total = zlib.crc32(piece, total)
            sums[entry.name] = total
        out.flush()
        os.fsync(out.fileno())
    return sums


def _head(file: Path) -> list[Tensor]:
    if not file.is_file():
        raise UserError(f"{file} is missing, a shard of the weights")
    return _head_of_bin(file) if file.suffix == ".bin" else _head_of_safetensors(file)


def _head_of_safetensors(file: Path) -> list[Tensor]:
    tensors, end = [], 0
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(size) if size < file.stat().st_size else b"")
        head.pop("__metadata__", None)
        for name, about in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
            tensor = Tensor(name, file, about["dtype"], tuple(about["shape"]), 8 + size + end)
            if tensor.dtype not in DTYPES:
                raise ValueError(f"{name} is {tensor.dtype}, expected one of {', '.join(DTYPES)}")
            if about["data_offsets"] != [end, end + tensor.size]:
                raise ValueError(f"{name} is not where the tensor before it ends, or not as long as its shape")
            tensors.append(tensor)
            end += tensor.size
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file} is not a readable safetensors file: {error}") from error
    if file.stat().st_size != 8 + size + end:
        told = f"{file.stat().st_size} bytes, and its head tells of {8 + size + end}"
        raise UserError(f"{file} is damaged: it has {told}; download it anew")
    return tensors


def _head_of_bin(file: Path) -> list[Tensor]:
    import torch

    names = {getattr(torch, name): dtype for dtype, (name, _) in DTYPES.items()}
    tensors = []
    for name, value in _shard(file).items():
        if not isinstance(value, torch.Tensor) or value.dtype not in names:
            found = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(f"{file}: {name} is {found}, expected a tensor of {', '.join(map(str, names))}")
        tensors.append(Tensor(name, file, names[value.dtype], tuple(value.shape), None))
    return tensors


def load_bin(file: Path) -> dict[str, Any]:
    """What torch saved in a file: tensors by name, mapped from the file where it allows that.

    Raises:
        UserError: It holds something else, or cannot be read without running code of its own.
    """
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except DAMAGED as error:
        # torch also tells how to run the file's code all the same
        told = [line.strip() for line in str(error).splitlines() if line.strip() and "weights_only" not in line]
        reason = told[0].split(". ")[0] if told else type(error).__name__
        raise UserError(f"{file} cannot be read as a file of weights alone: {reason}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file} must hold tensors by name, found {type(loaded).__name__}")
    return loaded


_shard = lru_cache(maxsize=1)(load_bin)
"""A `.bin` shard; one at a time is kept."""
