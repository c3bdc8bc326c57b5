"""Files of tensors that processes and runs share, and digests of what they are made from."""

import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..files import file_digest
from .tree import Image

CHECKSUM = "checksum"
"""The tensor of a file that vouches for the others."""


class DamagedError(ValueError):
    """A file is there, and is not what was written under its name."""


@dataclass(frozen=True)
class Vectors:
    """What the vectors of a run are like.

    Attributes:
        width: How many numbers each of them has.
        kinds: The types that these may have.
    """

    width: int
    kinds: frozenset[torch.dtype]

    def hold(self, found: Tensor, rows: int) -> bool:
        """Whether a tensor is [rows, width] of them."""
        return found.shape == (rows, self.width) and found.dtype in self.kinds


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; none where it is missing.

    Raises:
        DamagedError: It is no regular file (which is then not opened), cannot be read, is not bit for bit what
            `write_whole` wrote under this name, or holds a number that is not finite.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DamagedError(f"{path} is no regular file")
        content = load(path.read_bytes())
        checksum = content.pop(CHECKSUM)
    except FileNotFoundError:
        return {}
    except DamagedError:
        raise
    except Exception as error:  # damaged bytes break the reader in their own ways
        raise DamagedError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not torch.equal(checksum, _checksum(path.stem, content)):
        raise DamagedError(f"{path} is not what was written")
    if not all(tensor.isfinite().all() for tensor in content.values()):
        raise DamagedError(f"{path} holds a number that is not finite")
    return content


def write_whole(path: Path, content: dict[str, Tensor]) -> None:
    """Writes tensors to a file that other processes see whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(save({**content, CHECKSUM: _checksum(path.stem, content)}))
            part.flush()
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def size_of(path: Path) -> int:
    """Bytes of a regular file; 0 of anything else."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _checksum(name: str, content: dict[str, Tensor]) -> Tensor:
    """CRC-32 of a file's name and of its tensors, bit for bit: [1] int64."""
    value = zlib.crc32(name.encode())
    for piece in _bits(sorted(content.items())):
        value = zlib.crc32(piece, value)
    return torch.tensor([value])


def _bits(named: Iterable[tuple[str, Tensor]]) -> Iterator[bytes | memoryview]:
    """Tensors as bytes, each after its name, dtype and shape."""
    for name, tensor in named:
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        flat = tensor.detach().contiguous().flatten()
        if flat.numel():
            yield flat.view(torch.uint8).cpu().numpy().data


def image_digest(image: Image) -> str:
    """Digest of an image's content: of the file, of the encoded bytes, or of the pixels."""
    if isinstance(image, dict) and image["bytes"] is not None:
        return hashlib.sha256(image["bytes"]).hexdigest()
    path = image["path"] if isinstance(image, dict) else image
    if isinstance(path, str):
        state = os.stat(path)
        return _file_digest(path, state.st_size, state.st_mtime_ns)
    digest = hashlib.sha256(f"{image.mode} {image.size} {image.getpalette()}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=100_000)
def _file_digest(path: str, size: int, modified: int) -> str:
    return file_digest(path)


def weights_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Digest of weights, name by name, bit for bit: of each one's digest, as many at a time as torch has threads."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return hashlib.sha256(b"".join(pool.map(_weight_digest, named))).hexdigest()


def _weight_digest(named: tuple[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for piece in _bits([named]):
        digest.update(piece)
    return digest.digest()
