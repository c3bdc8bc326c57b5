"""Files of tensors that processes and runs share, and digests of what they are made from."""

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .tree import Image


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; none where it is missing or damaged, so that it is made again."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}


def write_whole(path: Path, content: dict[str, Tensor]) -> None:
    """Writes tensors to a file that other processes see whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(save(content))
            part.flush()
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def image_digest(image: Image) -> str:
    """Digest of an image's content: of the file, of the encoded bytes, or of the pixels."""
    if isinstance(image, dict) and image["bytes"] is not None:
        return hashlib.sha256(image["bytes"]).hexdigest()
    path = image["path"] if isinstance(image, dict) else image
    if isinstance(path, str):
        state = os.stat(path)
        return _file_digest(path, state.st_size, state.st_mtime_ns)
    pixels = BytesIO()
    image.save(pixels, format="PNG")
    return hashlib.sha256(pixels.getvalue()).hexdigest()


@lru_cache(maxsize=100_000)
def _file_digest(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Digest of weights, name by name, bit for bit."""
    digest = hashlib.sha256()
    for name, weight in named:
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        flat = weight.detach().contiguous().flatten()
        if flat.numel():
            digest.update(flat.view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()
