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

from .disk import DamagedError, Vectors, image_digest, read, write_whole
from .plan import ScoredCell

VERSION = 2
"""Raised when other numbers come of the same cell: by what is saved here, by `score`, `plan`, `tree`, `masks` and
`families`, or by the batch that the host subpackage's collator makes."""


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
        hidden_name: Names the hidden states by the tokens that the KL sums over.
    """

    key: str
    scored: int
    in_kl: int
    hidden_name: str


class ReferenceCache:
    """Entries in a folder, one small file each, so that processes and runs can share it.

    Args:
        folder: Exists.
        reference: Digest of the reference's weights and of all else that its numbers depend on.
        states: What its hidden states are like.
    """

    def __init__(self, folder: Path, reference: str, states: Vectors) -> None:
        self._folder = folder
        self._reference = reference
        self._states = states

    def entry(self, cell: ScoredCell) -> Entry:
        """The entry of a cell."""
        images = [image_digest(image) for image in cell.images]
        places = (list(ids) for ids in (cell.prompt_ids, cell.response_ids, cell.scored))
        return Entry(
            key=_digest([VERSION, self._reference, images, *places]),
            scored=len(cell.scored),
            in_kl=len(cell.in_kl),
            hidden_name=f"hidden_{_digest(sorted(cell.in_kl))}",
        )

    def load(self, entries: Iterable[Entry]) -> tuple[ReferenceScores | None, int]:
        """The scores of the tokens of some cells, in order; None unless every entry is there and whole.

        Returns:
            The scores, and how many entries are damaged.
        """
        known: list[ReferenceScores] = []
        missing = damaged = 0
        for entry in entries:
            try:
                scores = self._load(entry)
            except DamagedError:
                damaged += 1
                continue
            if scores is None:
                missing += 1
            else:
                known.append(scores)
        if missing or damaged:
            return None, damaged
        hidden = [scores.hidden for scores in known if len(scores.hidden)]
        logps = torch.cat([scores.logps for scores in known])
        return ReferenceScores(logps, torch.cat(hidden) if hidden else torch.empty(0, 0)), 0

    def _load(self, entry: Entry) -> ReferenceScores | None:
        """The scores of one cell; None where they are not all known.

        Raises:
            DamagedError: See `disk.read`; or they are not of the shape and kind that was asked for.
        """
        content = read(self._path(entry.key))
        if not content or (entry.in_kl and entry.hidden_name not in content):
            return None
        hidden = content[entry.hidden_name] if entry.in_kl else torch.empty(0, 0)
        scores = ReferenceScores(content.get("logps", torch.empty(0)), hidden)
        if scores.logps.shape != (entry.scored,) or scores.logps.dtype != torch.float32:
            raise DamagedError(f"{entry.key}: log-probabilities of another shape or kind")
        if entry.in_kl and not self._states.hold(scores.hidden, entry.in_kl):
            raise DamagedError(f"{entry.key}: hidden states of another shape or kind")
        return scores

    def save(self, entries: Sequence[Entry], scores: ReferenceScores) -> None:
        """Writes the entries of some cells, each under another name first.

        Raises:
            OSError: One cannot be written.
        """
        logps = torch.split(scores.logps.cpu(), [entry.scored for entry in entries])
        hidden = torch.split(scores.hidden.cpu(), [entry.in_kl for entry in entries])
        for entry, own_logps, own_hidden in zip(entries, logps, hidden, strict=True):
            content = self._rest(entry) | {"logps": own_logps.clone()}
            if entry.in_kl:
                content[entry.hidden_name] = own_hidden.clone()
            write_whole(self._path(entry.key), content)

    def _rest(self, entry: Entry) -> dict[str, Tensor]:
        """What an entry's file holds already, of other settings of the KL."""
        try:
            return read(self._path(entry.key))
        except DamagedError:
            return {}

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
