"""Question files in the style of LLaVA-Med: JSON lines of question_id, image, text, gpt4_answer and answer_type."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from ..records import Record
from ..settings import config_key
from .common import Source
from .fields import closed, image_file, own_id, plain, without_image_mark
from .files import Row, read_jsonl


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    file: str = config_key(MISSING, "JSON-lines file of the questions")
    image_root: str = config_key(MISSING, "folder that the image paths start from")
    language: Literal["en", "zh"] = config_key("en", "en or zh: the language of the questions")
    allow_outside: bool = config_key(False, "read images outside image_root")


def _rows(options: Options) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(read_jsonl(Path(options.file))):
        yield own_id(row, "question_id", number), row


def _record(record_id: str, row: Row, options: Options) -> Record:
    return Record(
        id=record_id,
        images=(image_file(Path(options.image_root), row.get("image"), allow_outside=options.allow_outside),),
        question=plain(without_image_mark(row.get("text")), "text"),
        truth=plain(row.get("gpt4_answer"), "gpt4_answer"),
        language=options.language,
        closed=closed(row.get("answer_type")),
    )


LLAVA_MED = Source("llava_med", Options, _rows, _record)
