"""Rows as the trainer encodes them, told for people. The tokens and phrases are the encoder's own."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...objectives.settings import Settings
from .. import validate
from ..arguments import STAGE, settings_of
from ..data.admission import problem_of
from ..data.dataset import load_all, row_encoder
from ..data.rows import RowEncoder, Side
from .seen import Kind, Piece, SeenRow
from .watch import end_with_parent

PROCESSES = 4
"""At most; no more than there are cores."""
ROWS_PER_PROCESS = 50
"""A process more is not worth its start for fewer rows."""
CHUNK = 4


@dataclass(frozen=True)
class Seen:
    """What `see` found.

    Attributes:
        total: Rows of all data sets.
        builtin_tokenizer: Whether no model was named, so that token borders are not those of a model.
        rows: In the order of the data sets and of their rows.
    """

    total: int
    builtin_tokenizer: bool
    rows: Iterator[SeenRow]


def see(config: dict[str, Any], scratch: Path) -> Seen:
    """Encodes the rows of a training configuration as training does; loads no model.

    Args:
        config: A training YAML's content. Without `model_name_or_path` a small built-in tokeniser is used, and
            `cutoff_len` is not checked.
        scratch: A folder for images that lie inside the data; they must be there as long as the rows are looked at.

    Raises:
        UserError: The configuration or a data set cannot be read, with the words of training.
    """
    from llamafactory.data import loader

    if config.get("stage") != STAGE:
        raise UserError(f"expected a training configuration with `stage: {STAGE}`, found {config.get('stage')!r}")
    builtin = not config.get("model_name_or_path")
    config = {**config, "preprocessing_num_workers": None}
    if builtin:
        config |= validate.builtin_tokenizer(scratch)
    run = validate.start(config, str(scratch))
    settings = settings_of(run.finetuning_args)
    names = [*(run.data_args.dataset or []), *(run.data_args.eval_dataset or [])]
    loaded = load_all(loader, list(dict.fromkeys(names)), run.model_args, run.data_args, run.training_args)
    parts = [
        Part(rows, row_encoder(rows, run.data_args, run.template, **run.tokens), settings, scratch / f"images_{number}")
        for number, rows in enumerate(loaded.values())
    ]
    return Seen(sum(len(part.rows) for part in parts), builtin, _in_order(parts))


class Part:
    """One data set: index of a row -> the row.

    Args:
        rows: Aligned.
        encoder: Of the run.
        settings: The objective.
        folder: For images that lie inside the data.
    """

    def __init__(self, rows: Any, encoder: RowEncoder, settings: Settings, folder: Path) -> None:
        self.rows = rows
        self._encoder = encoder
        self._settings = settings
        self._folder = folder

    def __call__(self, index: int) -> SeenRow:
        aligned = self.rows[index]
        encoded, sides = self._encoder.encode(aligned)
        problem = problem_of(encoded, self._settings)
        chosen = rejected = None
        if sides is not None and not problem:
            chosen, rejected = (
                pieces_of(side, set(encoded[f"{name}_phrase"]), len(encoded[f"{name}_ids"]), self._encoder.tokenizer)
                for side, name in zip(sides, ("chosen", "rejected"), strict=True)
            )
        raw = [(Piece(message["content"] or "", "text"),) for message in aligned["_response"]] + [(), ()]
        turns = aligned["_prompt"]
        return SeenRow(
            place=encoded["source"],
            problem=problem,
            question=_plain(turns[-1]["content"]) if turns else "",
            earlier=_earlier(aligned),
            prompt="" if problem else self._encoder.decode(encoded["prompt_ids"]),
            chosen=raw[0] if chosen is None else chosen,
            rejected=raw[1] if rejected is None else rejected,
            images=self._paths(aligned, index, "images"),
            rejected_images=self._paths(aligned, index, "rejected_images"),
            weight=encoded["weight"],
            truncated=encoded["truncated"],
            prompt_tokens=len(encoded["prompt_ids"]),
            about=json.loads(aligned["_fire"])["about"],
        )

    def _paths(self, aligned: dict[str, Any], index: int, name: str) -> tuple[str, ...]:
        """Paths of a row's images; one that lies inside the data is written to a file."""
        return tuple(
            image if isinstance(image, str) else self._file(image, f"{index}_{name}_{number}")
            for number, image in enumerate(aligned[f"_{name}"])
        )

    def _file(self, image: dict[str, Any], name: str) -> str:
        if image["bytes"] is None:
            return str(image["path"])
        self._folder.mkdir(exist_ok=True)
        file = self._folder / (name + Path(image["path"] or "").suffix)
        file.write_bytes(image["bytes"])
        return str(file)


def pieces_of(side: Side, phrase: set[int], kept: int, tokenizer: Any) -> tuple[Piece, ...]:
    """A response token by token.

    Args:
        side: The response before it was shortened.
        phrase: Positions of the tokens that are scored.
        kept: Tokens that `cutoff_len` leaves. What the template adds beyond them is left out.
        tokenizer: Writes the tokens that the template adds.
    """
    pieces: list[Piece] = []
    added: list[int] = []
    written = 0
    for first, last, end in _groups(side):
        if end is None:
            if first < kept:
                before = tokenizer.decode(added)
                added.append(side.ids[first])
                pieces.append(Piece(tokenizer.decode(added)[len(before) :], "template"))
            continue
        added.clear()
        scored = any(place in phrase for place in range(first, last + 1))
        kind: Kind = "phrase" if scored else "text" if first < kept else "cut"
        pieces.append(Piece(side.text[written:end], kind, side.weights[first] if side.weights else 1.0))
        written = end
    return tuple(piece for piece in pieces if piece.text)


def _groups(side: Side) -> Iterator[tuple[int, int, int | None]]:
    """First and last position of the tokens that make a piece, and where in the text it ends: None outside of it.

    Tokens that share a character make one piece. Characters that no token names, such as a space that a tokeniser
    counts to none, belong to the piece after them, and to the last one at the end of the text.
    """
    inside = [
        (position, max(start, 0), min(end, len(side.text)))
        for position, (start, end) in enumerate(side.offsets)
        if max(start, 0) < min(end, len(side.text))
    ]
    merged: list[tuple[int, int, int]] = []
    for position, start, end in inside:
        if merged and start < merged[-1][2]:
            merged[-1] = (merged[-1][0], position, max(end, merged[-1][2]))
        else:
            merged.append((position, position, end))
    by_first = {first: (last, end) for first, last, end in merged}
    if merged:
        by_first[merged[-1][0]] = (merged[-1][1], len(side.text))
    within = {position for position, _, _ in inside}
    for position in range(len(side.ids)):
        if position in by_first:
            yield (position, *by_first[position])
        elif position not in within:
            yield position, position, None


def _plain(text: str) -> str:
    from llamafactory.extras.constants import IMAGE_PLACEHOLDER

    return text.replace(IMAGE_PLACEHOLDER, "").strip()


def _earlier(aligned: dict[str, Any]) -> str:
    system = [{"role": "system", "content": aligned["_system"]}] if aligned["_system"] else []
    turns = [*system, *aligned["_prompt"][:-1]]
    return "\n".join(f"{turn['role']}: {_plain(turn['content'])}" for turn in turns)


def _in_order(parts: list[Part]) -> Iterator[SeenRow]:
    jobs = [(number, index) for number, part in enumerate(parts) for index in range(len(part.rows))]
    processes = min(os.cpu_count() or 1, PROCESSES, len(jobs) // ROWS_PER_PROCESS)
    if processes < 2:
        yield from (parts[number](index) for number, index in jobs)
        return
    with get_context("fork").Pool(processes, _enter, (parts,)) as pool:
        yield from pool.imap(_see_one, jobs, CHUNK)


_entered: list[Part] = []
"""The data sets, in a process of the pool."""


def _enter(parts: list[Part]) -> None:
    import torch

    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    torch.set_num_threads(1)  # a forked process has none of the parent's threads
    _entered.extend(parts)


def _see_one(job: tuple[int, int]) -> SeenRow:
    number, index = job
    return _entered[number](index)
