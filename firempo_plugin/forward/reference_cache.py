"""What the reference says of scored tokens, on disk: it never changes, neither in a run nor between runs.

An entry belongs to one cell of a row. It holds the tokens' log-probabilities and, for the KL, the hidden
states from which the output layer makes the reference's logits again: a few kilobytes a token, where
logits would take hundreds.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .disk import image_digest, read, write_whole
from .plan import ScoredCell


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
            found = read(self._path(entry.key))
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
            content = read(self._path(entry.key)) | {"logps": own_logps.clone()}
            if entry.in_kl:
                content[entry.hidden_name] = own_hidden.clone()
            write_whole(self._path(entry.key), content)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"
