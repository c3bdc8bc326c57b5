"""Preference files of MMedPO and its relatives: JSON of id, image, conversations, rejected_conversations and
weighted_score.

The answer of `conversations` is the ground truth. The rejected one was written to be wrong, by another model; it is
nobody's own answer, and is not read. The score is the row's weight; the loss sees nothing of a row that weighs 0.
"""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

from ..records import Record, RejectedError
from ..settings import config_key
from .common import Source
from .fields import image_file, own_id, plain, without_image_mark
from .files import Row, read_json_rows


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    file: str = config_key(MISSING, "JSON file of the preferences")
    image_root: str = config_key(MISSING, "folder that the image paths start from")
    kind: Literal["vqa", "report"] = config_key("vqa", "vqa, or report for a file whose answers are reports")
    language: Literal["en", "zh"] = config_key("en", "en or zh: the language of the questions")
    allow_outside: bool = config_key(False, "read images outside image_root")


def _rows(options: Options) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(read_json_rows(Path(options.file))):
        yield own_id(row, "id", number), row


def _record(record_id: str, row: Row, options: Options) -> Record:
    question, answer = _turns(row.get("conversations"))
    return Record(
        id=record_id,
        images=(image_file(Path(options.image_root), row.get("image"), allow_outside=options.allow_outside),),
        question=plain(without_image_mark(question), "conversations, human"),
        truth=plain(answer, "conversations, gpt"),
        kind=options.kind,
        language=options.language,
        weight=_weight(row.get("weighted_score")),
    )


def _weight(score: Any) -> float | None:
    """The row's weight, where it has one.

    Raises:
        RejectedError: It is 0, or no number that can weigh a row.
    """
    if score is None:
        return None
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if not number or not 0 <= score <= sys.float_info.max:
        raise RejectedError(f"weighted_score is not a number from 0: {score!r:.80}")
    if score == 0:
        raise RejectedError("weighted_score is 0: the row has no share in the loss")
    return float(score)


def _turns(conversation: Any) -> tuple[Any, Any]:
    """What the two turns of a conversation say."""
    turns = conversation if isinstance(conversation, list) else []
    speakers = [turn.get("from") if isinstance(turn, dict) else None for turn in turns]
    if speakers != ["human", "gpt"]:
        raise RejectedError(f"conversation is not one human and one gpt turn: {speakers!r:.80}")
    return turns[0].get("value"), turns[1].get("value")


MMEDPO = Source("mmedpo", Options, _rows, _record)
