"""Tables of every format, with the map that says which column holds what."""

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.errors import UserError
from firempo_plugin.records import Record
from firempo_plugin.sources.common import Problem
from firempo_plugin.sources.reading import read_source
from firempo_plugin.sources.registry import SOURCES
from firempo_plugin.sources.settings import SourceConfig


def read(file: Path, **options: Any) -> tuple[list[Record], list[Problem]]:
    """Records and problems of a table whose images lie beside it."""
    items = list(SOURCES.load("table").read({"file": str(file), "image_root": str(file.parent), **options}))
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Problem)]


def reason(problems: list[Problem]) -> str:
    (problem,) = problems
    return problem.reason


def picture(path: Path) -> Path:
    Image.fromarray(np.zeros((9, 12, 3), dtype=np.uint8)).save(path)
    return path


COLUMNS = {"id": "key", "image": "file", "question": "ask", "truth": "gold"}
EVERYTHING = {**COLUMNS, "response": "said", "kind": "what", "language": "lang", "closed": "shut"}
ROWS: list[dict[str, Any]] = [
    {
        "key": 1,
        "file": "a.png",
        "ask": "Is it, so?",
        "gold": "yes",
        "said": "No.",
        "what": "vqa",
        "lang": "en",
        "shut": True,
    },
    {
        "key": 2,
        "file": "a.png",
        "ask": "报告",
        "gold": 'A "b"\nc',
        "said": None,
        "what": "report",
        "lang": "zh",
        "shut": False,
    },
    {"key": 3, "file": "a.png", "ask": "Count?", "gold": 5, "said": None, "what": None, "lang": None, "shut": None},
    {"key": 4, "file": "a.png", "ask": None, "gold": "x", "said": None, "what": None, "lang": None, "shut": None},
]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    texts = [{**row, "gold": str(row["gold"])} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), path)
    return path


WRITERS = {".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}


def test_a_column_may_say_whose_images_they_are(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = [{"q": "Is it?", "t": "yes", "i": "a.png", "p": patient} for patient in ("p1 ", 12, "", None)]
    columns = {"question": "q", "truth": "t", "image": "i", "study": "p"}
    records, _ = read(write_jsonl(tmp_path / "t.jsonl", rows), columns=columns)
    assert [record.study for record in records] == ["p1", "12", None, None]


@pytest.mark.parametrize("suffix", WRITERS)
def test_tables_of_every_format_are_read_alike(tmp_path: Path, suffix: str) -> None:
    image = str(picture(tmp_path / "a.png").resolve())
    file = WRITERS[suffix](tmp_path / f"t{suffix}", ROWS)
    records, problems = read(file, columns=EVERYTHING)
    assert records == [
        Record("table:1", (image,), "Is it, so?", "yes", "vqa", "en", True, "No."),
        Record("table:2", (image,), "报告", 'A "b"\nc', "report", "zh", False),
        Record("table:3", (image,), "Count?", "5", "vqa", "en", None),
    ]
    assert problems[0].id == "table:4"
    assert reason(problems).startswith(("field is missing: question", "field is empty: question"))


def test_numbers_of_any_column_type_become_text(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    picture(tmp_path / "a.png")
    decimal = pyarrow.decimal128(12, 2)
    for kind, truths in ((pyarrow.float64(), [4, 2.5, None]), (decimal, ["4.00", "2.50", None]), (pyarrow.int8(), [4])):
        values = pyarrow.array([Decimal(v) if isinstance(v, str) else v for v in truths], kind)
        columns = {"file": ["a.png"] * len(truths), "ask": ["Q?"] * len(truths), "gold": values}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "T.PARQUET")
        records, problems = read(tmp_path / "T.PARQUET", columns={"image": "file", "question": "ask", "truth": "gold"})
        assert [float(record.truth) for record in records] == [4, 2.5][: len(records)]
        assert records[0].truth == "4"
        assert [problem.reason for problem in problems] == ["field is missing: truth"] * (len(truths) - len(records))


@pytest.mark.parametrize("suffix", WRITERS)
def test_tables_with_several_images(tmp_path: Path, suffix: str) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    lists: list[Any] = [["b.png", "a.png"], []]
    rows = [{"ask": "Q?", "gold": "x", "all": json.dumps(names) if suffix == ".csv" else names} for names in lists]
    file = WRITERS[suffix](tmp_path / f"t{suffix}", rows)
    columns = {"images": "all", "question": "ask", "truth": "gold"}
    (record,), problems = read(file, columns=columns, kind="report", language="zh")
    assert [Path(image).name for image in record.images] == ["b.png", "a.png"]
    assert (record.id, record.kind, record.language) == ("table:row0", "report", "zh")
    assert reason(problems).startswith("images are no list of paths")


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"what": "essay"}, "kind is none of vqa, report: 'essay'"),
        ({"lang": "fr"}, "language is none of en, zh: 'fr'"),
        ({"shut": "perhaps"}, "answer type is neither"),
        ({"file": {"bytes": "x", "path": None}}, "image is not named by a path"),
        ({"file": "../a.png"}, "path leaves its folder"),
        ({"said": "see <image>"}, "text holds <image>: response"),
    ],
)
def test_cells_that_no_record_can_have_are_problems(tmp_path: Path, cells: dict[str, Any], why: str) -> None:
    picture(tmp_path / "a.png")
    file = write_jsonl(tmp_path / "t.jsonl", [{**ROWS[0], **cells}])
    assert reason(read(file, columns=EVERYTHING)[1]).startswith(why)


def test_a_list_of_images_in_csv_is_json(tmp_path: Path) -> None:
    columns = {"images": "all", "question": "ask", "truth": "gold"}
    rows = [{"ask": "Q?", "gold": "x", "all": cell} for cell in ('["a.png"', "a.png", '["a.png", 3]')]
    file = write_csv(tmp_path / "t.csv", rows)
    picture(tmp_path / "a.png")
    _, problems = read(file, columns=columns)
    starts = [problem.reason[:26] for problem in problems]
    assert starts == ["images are no list of path", "images are no list of path", "image is not named by a pa"]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({**COLUMNS, "picture": "file"}, "columns.picture: 'file' is unknown; fields are id, image"),
        ({**COLUMNS, "truth": 3}, "source.options.columns.truth must be text, found 3"),
        ({"image": "file", "question": "ask"}, "columns.truth is missing"),
        ({"question": "ask", "truth": "gold"}, "either image .* or images"),
        ({**COLUMNS, "images": "file"}, "either image .* or images"),
        ({**COLUMNS, "truth": "golden"}, "has no column 'golden' for truth; it has: key, file, ask, gold"),
    ],
)
@pytest.mark.parametrize("suffix", WRITERS)
def test_column_maps_are_checked(tmp_path: Path, suffix: str, columns: dict[str, Any], why: str) -> None:
    file = WRITERS[suffix](tmp_path / f"t{suffix}", ROWS)
    with pytest.raises(ValueError, match=why):
        read(file, columns=columns)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_rows_are_read_as_they_are_asked_for(tmp_path: Path, suffix: str) -> None:
    """A table may be larger than memory: of one that is broken in its last row, the first ones come."""
    picture(tmp_path / "a.png")
    rows = [{"key": number, "file": "a.png", "ask": "Is it?", "gold": "yes"} for number in range(30_000)]
    file = WRITERS[suffix](tmp_path / f"t{suffix}", rows)
    content = bytearray(file.read_bytes())
    place = content.rindex(b"Is it?")
    content[place : place + 6] = b'"\n\n"[,'
    file.write_bytes(content)
    options = {"file": str(file), "image_root": str(tmp_path), "columns": COLUMNS}
    items = SOURCES.load("table").read(options)
    assert [next(items).id for _ in range(1000)] == [f"table:{number}" for number in range(1000)]
    with pytest.raises(UserError, match=file.name):
        list(items)


def test_a_column_may_begin_in_a_later_row(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows: list[dict[str, Any]] = [{"key": 1, "file": "a.png", "ask": "Is it?", "gold": "yes"}]
    file = write_jsonl(tmp_path / "t.jsonl", [*rows, {**rows[0], "key": 2, "said": "No."}])
    first, second = read(file, columns={**COLUMNS, "response": "said"})[0]
    assert (first.response, second.response) == (None, "No.")
    with pytest.raises(UserError, match="has no column 'lang' for language; it has: key, file, ask, gold, said"):
        read(file, columns={**COLUMNS, "language": "lang"})


def test_ids_are_told_apart_whatever_their_number(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = [{"key": number % 3, "file": "a.png", "ask": "Is it?", "gold": "yes"} for number in range(7)]
    records, _ = read(write_jsonl(tmp_path / "t.jsonl", rows), columns=COLUMNS)
    names = ["0", "1", "2", "0#2", "1#2", "2#2", "0#3"]
    assert [record.id for record in records] == [f"table:{name}" for name in names]


def test_a_limit_counts_records_and_not_the_rows_that_are_none(tmp_path: Path) -> None:
    """What is read ends with the last of them, problems before it included."""
    picture(tmp_path / "a.png")
    rows = [{"key": n, "file": "a.png", "ask": "Q?" if n % 2 else None, "gold": "x"} for n in range(8)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"file": str(tmp_path / "t.jsonl"), "image_root": str(tmp_path), "columns": COLUMNS}
    found = read_source(SourceConfig("table", options, limit=2))
    assert [record.id for record in found.records] == ["table:1", "table:3"]
    assert list(found.problems) == ["table:0", "table:2"]
