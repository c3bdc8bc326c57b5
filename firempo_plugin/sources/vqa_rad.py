"""VQA-RAD as its authors published it: one JSON file, and a folder of radiology images beside it."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from ..records import Record
from ..settings import config_key
from .common import Source
from .fields import closed, image_file, own_id, plain
from .files import Row, read_json_rows

QUESTIONS = "VQA_RAD Dataset Public.json"
IMAGES = "VQA_RAD Image Folder"
_TEST = "test_"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to say about such a data set; the meanings are those that `help` prints."""

    folder: str = config_key(MISSING, f"folder of {QUESTIONS!r} and {IMAGES!r}")
    split: Literal["train", "test", "all"] = config_key("train", "train, test or all; phrase_type tells")
    allow_outside: bool = config_key(False, "read images outside the image folder")


def _rows(options: Options) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(read_json_rows(Path(options.folder) / QUESTIONS)):
        kind = row.get("phrase_type")
        split = "test" if isinstance(kind, str) and kind.startswith(_TEST) else "train"
        if options.split in ("all", split) or kind is None:
            yield own_id(row, "qid", number), row


def _record(record_id: str, row: Row, options: Options) -> Record:
    plain(row.get("phrase_type"), "phrase_type")  # without it the split is not known
    case = row.get("image_case_url")
    return Record(
        id=record_id,
        images=(image_file(Path(options.folder) / IMAGES, row.get("image_name"), allow_outside=options.allow_outside),),
        question=plain(row.get("question"), "question"),
        truth=plain(row.get("answer"), "answer"),
        closed=closed(row.get("answer_type")),
        study=case.strip() if isinstance(case, str) and case.strip() else None,
    )


VQA_RAD = Source("vqa_rad", Options, _rows, _record)
