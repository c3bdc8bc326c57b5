"""What the reference says of scored tokens, on disk: it never changes, neither in a run nor between runs.

An entry belongs to one cell of a row. It holds the tokens' log-probabilities and, for the KL, the hidden
states from which the output layer makes the reference's logits again: a few kilobytes a token, where
logits would take hundreds.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .plan import ScoredCell
from .tree import Image


@dataclass
class ReferenceScores:
    """The reference's part in the scores of some tokens.

    Attributes:
        logps: [M] float32, log ref of each token.
        hidden: [K, H] last hidden states at the tokens that the KL sums over.
    """

    logps: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Entry:
    """One cell's place in the cache.

    Attributes:
        key: Digest of the cell's tokens, which of them are scored, its images, and the reference.
        scored, in_kl: How many tokens are scored, and over how many the KL sums.
    """

    key: str
    scored: int
    in_kl: int

    @property
    def hidden_name(self) -> str:
        """The KL sums over a cell's phrases or over all its tokens: their number tells which."""
        return f"hidden_{self.in_kl}"


class ReferenceCache:
    """Entries in a folder, one small file each, so that processes and runs can share it.

    Args:
        folder: Exists.
        reference: Digest of the reference's weights and of all else that its numbers depend on.
    """

    def __init__(self, folder: Path, reference: str) -> None:
        self._folder = folder
        self._reference = reference

    def entry(self, cell: ScoredCell) -> Entry:
        """The entry of a cell."""
        images = [image_digest(image) for image in cell.images]
        parts = [self._reference, images, *(list(ids) for ids in (cell.prompt_ids, cell.response_ids, cell.scored))]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return Entry(key, len(cell.scored), len(cell.in_kl))

    def load(self, entries: Iterable[Entry]) -> ReferenceScores | None:
        """The scores of the tokens of some cells, in order; None unless every entry is there and whole."""
        logps, hidden = [], []
        for entry in entries:
            found = self._read(entry.key)
            if "logps" not in found or len(found["logps"]) != entry.scored:
                return None
            logps.append(found["logps"])
            if entry.in_kl:
                if entry.hidden_name not in found:
                    return None
                hidden.append(found[entry.hidden_name])
        return ReferenceScores(torch.cat(logps), torch.cat(hidden) if hidden else torch.empty(0, 0))

    def save(self, entries: Sequence[Entry], scores: ReferenceScores) -> None:
        """Writes the entries of some cells, each under another name first.

        Raises:
            OSError: One cannot be written.
        """
        logps = torch.split(scores.logps.cpu(), [entry.scored for entry in entries])
        hidden = torch.split(scores.hidden.cpu(), [entry.in_kl for entry in entries])
        for entry, own_logps, own_hidden in zip(entries, logps, hidden, strict=True):
            content = self._read(entry.key) | {"logps": own_logps.clone()}
            if entry.in_kl:
                content[entry.hidden_name] = own_hidden.clone()
            write_whole(self._path(entry.key), content)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> dict[str, Tensor]:
        """An entry, or nothing where it is missing or damaged: it is then made again."""
        try:
            return load_file(self._path(key))
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
