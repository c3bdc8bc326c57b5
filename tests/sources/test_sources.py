"""The readers: synthetic oddities, refused options and broken files."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sources_reading import read, reason

from firempo_plugin.errors import UserError
from firempo_plugin.records import Region
from firempo_plugin.sources.registry import SOURCES

COLUMNS = {"id": "key", "image": "file", "question": "ask", "truth": "gold"}


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    return path


def dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


# --- VQA-RAD ---------------------------------------------------------------------------------------------------------


def vqa_rad(folder: Path, *rows: dict[str, Any]) -> Path:
    picture(folder / "VQA_RAD Image Folder" / "a.jpg")
    whole = {"phrase_type": "freeform", "image_name": "a.jpg", "question": "Q?", "answer": "yes", "answer_type": "OPEN"}
    dump(folder / "VQA_RAD Dataset Public.json", [{**whole, **row} for row in rows])
    return folder


def test_vqa_rad_splits_by_phrase_type(tmp_path: Path) -> None:
    kinds = ("freeform", "test_freeform", "para", "test_para")
    folder = vqa_rad(tmp_path, *({"qid": number, "phrase_type": kind} for number, kind in enumerate(kinds)))
    ids = {
        split: [record.id[-1] for record in read("vqa_rad", folder=folder, split=split)[0]]
        for split in ("train", "test", "all")
    }
    assert ids == {"train": ["0", "2"], "test": ["1", "3"], "all": ["0", "1", "2", "3"]}


def test_vqa_rad_oddities(tmp_path: Path) -> None:
    folder = vqa_rad(
        tmp_path,
        {"qid": 7, "answer": 3, "answer_type": "CLOSED "},
        {"qid": "7", "answer": 2.5, "question": " Wide\t? "},
        {"qid": 7, "answer_type": None},
        {"answer": "no id"},
    )
    records, problems = read("vqa_rad", folder=folder)
    assert not problems
    assert [(record.id, record.truth, record.closed) for record in records] == [
        ("vqa_rad:7", "3", True),
        ("vqa_rad:7#2", "2.5", False),
        ("vqa_rad:7#3", "yes", None),
        ("vqa_rad:row3", "no id", False),
    ]
    assert records[1].question == "Wide\t?"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"answer": None}, "field is missing: answer"),
        ({"answer": "  "}, "field is empty: answer"),
        ({"answer": float("nan")}, "field is empty: answer"),
        ({"answer": float("inf")}, "field is empty: answer"),
        ({"answer": True}, "field is no text: answer"),
        ({"question": ["a"]}, "field is no text: question"),
        ({"question": "Look at <image> here"}, "text holds <image>: question"),
        ({"answer": "half \ud83d"}, "text holds half a character: answer"),
        ({"answer_type": "MAYBE"}, "answer type is neither CLOSED nor OPEN: 'MAYBE'"),
        ({"phrase_type": None}, "field is missing: phrase_type"),
        ({"image_name": None}, "image is not named by a path: None"),
        ({"image_name": "b.jpg"}, "image not found: b.jpg"),
        ({"image_name": "."}, "image not found: ."),
        ({"image_name": "x" * 5000}, "image not found: xxx"),
        ({"image_name": "half \udc80.jpg"}, "image name holds half a character"),
        ({"image_name": "a\0.jpg"}, "path cannot be followed"),
        ({"image_name": "../secret.jpg"}, "path leaves its folder: '../secret.jpg'"),
        ({"image_name": "/etc/hostname"}, "path leaves its folder: '/etc/hostname'"),
        ({"image_name": "link.jpg"}, "path leaves its folder: 'link.jpg'"),
    ],
)
def test_a_row_that_cannot_be_a_record_is_a_problem(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    folder = tmp_path / "data"
    (folder / "VQA_RAD Image Folder").mkdir(parents=True)
    (folder / "VQA_RAD Image Folder" / "link.jpg").symlink_to(picture(tmp_path / "secret.jpg"))
    picture(folder / "secret.jpg")
    picture(folder / "VQA_RAD Image Folder" / "a.jpg")
    whole = {"phrase_type": "para", "image_name": "a.jpg", "question": "Q?", "answer": "yes", "answer_type": "OPEN"}
    text = json.dumps([{"qid": 1, **whole}, {"qid": 2, **whole, **row}, {"qid": 3, **whole}])
    (folder / "VQA_RAD Dataset Public.json").write_text(text, encoding="utf-8")
    records, problems = read("vqa_rad", folder=folder)
    assert [record.id for record in records] == ["vqa_rad:1", "vqa_rad:3"]
    assert [problem.id for problem in problems] == ["vqa_rad:2"]
    assert reason(problems).startswith(why)


def test_paths_may_leave_the_folder_where_that_is_allowed(tmp_path: Path) -> None:
    outside = picture(tmp_path / "outside.jpg")
    folder = vqa_rad(tmp_path / "data", {"image_name": "../../outside.jpg"}, {"image_name": str(outside)})
    records, problems = read("vqa_rad", folder=folder, allow_outside=True)
    assert not problems
    assert {record.images for record in records} == {(str(outside.resolve()),)}


def test_reading_twice_gives_the_same_ids_and_order(tmp_path: Path) -> None:
    folder = vqa_rad(tmp_path, *({"qid": number % 3} for number in range(9)))
    assert read("vqa_rad", folder=folder) == read("vqa_rad", folder=folder)


def test_ids_and_reasons_can_be_stored_whatever_they_quote(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"qid": 1}, {"qid": 3.0, "answer": 4.0}, {"qid": 10**400, "answer": 10**400}]
    folder = vqa_rad(tmp_path, *rows)
    file = tmp_path / "VQA_RAD Dataset Public.json"
    file.write_text(file.read_text().replace('"qid": 1}', '"qid": "half \\ud83d"}'))
    records, problems = read("vqa_rad", folder=folder)
    assert not problems
    assert [record.id for record in records] == ["vqa_rad:half \\ud83d", "vqa_rad:3", f"vqa_rad:{10**400}"]
    assert [record.truth for record in records[1:]] == ["4", str(10**400)]


def test_an_id_that_looks_like_a_repeated_one_stays_unique(tmp_path: Path) -> None:
    folder = vqa_rad(tmp_path, {"qid": "7#2"}, {"qid": 7}, {"qid": 7}, {"qid": 7})
    ids = [record.id for record in read("vqa_rad", folder=folder)[0]]
    assert ids == ["vqa_rad:7#2", "vqa_rad:7", "vqa_rad:7#3", "vqa_rad:7#4"]


# --- SLAKE -----------------------------------------------------------------------------------------------------------


def slake(folder: Path, boxes: Any = None, **row: Any) -> Path:
    picture(folder / "imgs" / "xmlab1" / "source.jpg")
    if boxes is not None:
        dump(folder / "imgs" / "xmlab1" / "detection.json", boxes)
    whole = {"img_name": "xmlab1/source.jpg", "q_lang": "en", "base_type": "vqa", "answer_type": "OPEN", "qid": 1}
    dump(folder / "train.json", [{**whole, "question": "Where?", "answer": "Lung", **row}])
    return folder


def test_slake_boxes_become_corners(tmp_path: Path) -> None:
    folder = slake(tmp_path, [{"Left Lung": [1, 2, 3.5, 4]}, {"Heart": [0, 0, 12, 9], "Liver": [5, 5, 1, 1]}])
    (record,), problems = read("slake", folder=folder)
    assert not problems
    assert record.regions == (
        Region("Left Lung", box=(1, 2, 4.5, 6)),
        Region("Heart", box=(0, 0, 12, 9)),
        Region("Liver", box=(5, 5, 6, 6)),
    )


def test_slake_masks_have_the_names_that_the_options_give(tmp_path: Path) -> None:
    folder = slake(tmp_path, [])
    mask = picture(tmp_path / "imgs" / "xmlab1" / "mask.png")
    assert read("slake", folder=folder)[0][0].regions == ()
    names = {"lung": [3, 4], "heart": [[255, 0, 10]]}
    (record,), _ = read("slake", folder=folder, mask_names=names)
    assert record.regions == (
        Region("lung", mask=str(mask.resolve()), values=((3,), (4,))),
        Region("heart", mask=str(mask.resolve()), values=((255, 0, 10),)),
    )


@pytest.mark.parametrize("names", [{"lung": []}, {"lung": 3}, {"lung": ["3"]}, {"lung": [[1, 2]]}, {"lung": [-1]}])
def test_slake_mask_names_are_checked(tmp_path: Path, names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"source\.options\.mask_names\.lung must be a list"):
        read("slake", folder=slake(tmp_path), mask_names=names)


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, None], {"x": 1}, [1, 2, 3, float("inf")], 5])
def test_slake_broken_boxes_are_a_problem(tmp_path: Path, box: Any) -> None:
    records, problems = read("slake", folder=slake(tmp_path, [{"Lung": box}]))
    assert not records
    assert reason(problems).startswith("box is not [x, y, width, height]: Lung of ")


@pytest.mark.parametrize("text", ["{", '{"Lung": [1, 2, 3, 4]}', "[[1, 2, 3, 4]]"])
def test_slake_unreadable_boxes_are_a_problem(tmp_path: Path, text: str) -> None:
    folder = slake(tmp_path, [])
    (tmp_path / "imgs" / "xmlab1" / "detection.json").write_text(text)
    assert reason(read("slake", folder=folder)[1]).startswith("boxes cannot be read: ")


def test_slake_rows_must_say_their_language(tmp_path: Path) -> None:
    assert reason(read("slake", folder=slake(tmp_path, q_lang=None))[1]) == "field is missing: q_lang"
    assert reason(read("slake", folder=slake(tmp_path, q_lang="fr"), language="all")[1]).startswith("language is")
    assert read("slake", folder=slake(tmp_path, q_lang="zh")) == ([], [])


def test_slake_files_beside_an_image_cannot_lead_outside(tmp_path: Path) -> None:
    folder = slake(tmp_path / "data", [])
    mask = folder / "imgs" / "xmlab1" / "mask.png"
    mask.symlink_to(picture(tmp_path / "secret.png"))
    assert reason(read("slake", folder=folder, mask_names={"lung": [1]})[1]).startswith("path leaves its folder")


# --- IU-Xray ---------------------------------------------------------------------------------------------------------


def open_i(folder: Path, name: str, body: str) -> Path:
    (folder / "ecgen-radiology").mkdir(parents=True, exist_ok=True)
    text = f"<?xml version='1.0'?><eCitation><uId id='CXR{name}'/>{body}</eCitation>"
    (folder / "ecgen-radiology" / f"{name}.xml").write_text(text, encoding="utf-8")
    return folder


FINDINGS = "<AbstractText Label='FINDINGS'>Clear\n   lungs.</AbstractText>"


def test_open_i_studies_without_report_or_image_are_problems(tmp_path: Path) -> None:
    picture(tmp_path / "NLMCXR_png" / "CXR1.png")
    shown = "<parentImage id='CXR1'/>"
    bodies = {
        "1": FINDINGS + shown + "<parentImage id='gone'/>",
        "2": "<AbstractText Label='FINDINGS'/>" + shown,
        "3": "<AbstractText Label='IMPRESSION'>Fine.</AbstractText>" + shown,
        "4": FINDINGS,
        "5": FINDINGS + "<parentImage id='gone'/><parentImage id='lost'/>",
        "6": FINDINGS + "<parentImage id='../../secret'/>" + shown,
        "7": FINDINGS + "<broken>",
        "10": FINDINGS + shown,
    }
    for name, body in bodies.items():
        open_i(tmp_path, name, body)
    records, problems = read("iu_xray", folder=tmp_path)
    assert [(record.id, record.truth, len(record.images)) for record in records] == [
        ("iu_xray:1", "Clear lungs.", 1),
        ("iu_xray:10", "Clear lungs.", 1),
    ]
    assert {problem.id[-1]: problem.reason.split(":")[0] for problem in problems} == {
        "2": "report has no section",
        "3": "report has no section",
        "4": "study names no image",
        "5": "image not found",
        "6": "path leaves its folder",
        "7": "report cannot be read",
    }
    impressions, _ = read("iu_xray", folder=tmp_path, sections="impression")
    assert [(record.id, record.truth) for record in impressions] == [("iu_xray:3", "Fine.")]


def test_r2gen_layout(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        picture(tmp_path / "images" / name)
    rows = {
        "train": [{"id": "a", "report": "Clear .", "image_path": ["a/0.png", "a/1.png"], "split": "train"}],
        "val": [{"id": "b", "report": "xxxx heart", "image_path": ["b/0.png", "b/1.png"], "split": "val"}],
        "test": [
            {"id": "c", "report": "x", "image_path": ["c/0.png"]},
            {"id": "d", "report": "", "image_path": ["b/0.png"]},
            {"id": "e", "report": "x", "image_path": "b/0.png"},
            {"id": "f", "report": "x", "image_path": [None, "b/0.png"]},
        ],
    }
    dump(tmp_path / "annotation.json", rows)
    (train,), _ = read("iu_xray", folder=tmp_path, layout="r2gen")
    assert (train.id, train.truth, len(train.images), train.kind) == ("iu_xray:a", "Clear .", 2, "report")
    (val,), _ = read("iu_xray", folder=tmp_path, layout="r2gen", split="val", views="first")
    assert len(val.images) == 1
    assert reason(read("iu_xray", folder=tmp_path, layout="r2gen", split="val", deidentified="reject")[1])
    records, problems = read("iu_xray", folder=tmp_path, layout="r2gen", split="all")
    assert [record.id for record in records] == ["iu_xray:a", "iu_xray:b"]
    assert [problem.reason.split(":")[0] for problem in problems] == [
        "image not found",
        "field is empty",
        "study names no image",
        "image is not named by a path",
    ]


def test_the_layouts_options_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is for layout: r2gen"):
        read("iu_xray", folder=tmp_path, split="val")
    with pytest.raises(ValueError, match="sections is for layout: open_i"):
        read("iu_xray", folder=tmp_path, layout="r2gen", sections="impression")
    dump(tmp_path / "annotation.json", {})
    with pytest.raises(ValueError, match=r"holds no XML file; .*layout: r2gen"):
        read("iu_xray", folder=tmp_path)
    with pytest.raises(ValueError, match="must hold an object with the lists train, val, test"):
        read("iu_xray", folder=tmp_path, layout="r2gen")
    dump(tmp_path / "annotation.json", {"train": [3]})
    with pytest.raises(ValueError, match=r"annotation\.json, train, row 0: must be an object, found 3"):
        read("iu_xray", folder=tmp_path, layout="r2gen")


# --- LLaVA-Med and MMedPO --------------------------------------------------------------------------------------------


def test_llava_med_rows(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    rows = [
        {"question_id": "0", "text": "Is it?\n<image>", "gpt4_answer": "Yes", "answer_type": "CLOSED "},
        {"question_id": 0, "text": "<image>\nHow many?", "gpt4_answer": 4, "answer_type": "OPEN"},
        {"question_id": 2, "text": "\n<image>", "gpt4_answer": "x"},
    ]
    file = tmp_path / "a.jsonl"
    file.write_text("\n\n".join(json.dumps({"image": "a.jpg", **row}) for row in rows) + "\n", encoding="utf-8")
    records, problems = read("llava_med", file=file, image_root=tmp_path, language="zh")
    assert [(r.id, r.question, r.truth, r.closed, r.language) for r in records] == [
        ("llava_med:0", "Is it?", "Yes", True, "zh"),
        ("llava_med:0#2", "How many?", "4", False, "zh"),
    ]
    assert reason(problems) == "field is empty: text"


def test_mmedpo_rows(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    human, gpt = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": " An MRI"}
    conversations = [
        [human, gpt],
        [gpt, human],
        [human],
        [human, gpt, human, gpt],
        None,
        [human, "x"],
        [human, {"from": "gpt"}],
    ]
    file = dump(tmp_path / "a.json", [{"id": 5, "image": "a.jpg", "conversations": turns} for turns in conversations])
    (record,), problems = read("mmedpo", file=file, image_root=tmp_path)
    assert (record.id, record.question, record.truth, record.kind) == ("mmedpo:5", "What?", "An MRI", "vqa")
    assert [problem.id for problem in problems] == [f"mmedpo:5#{number}" for number in range(2, 8)]
    assert {problem.reason.split(":")[0] for problem in problems[:-1]} == {
        "conversation is not one human and one gpt turn"
    }
    assert problems[-1].reason == "field is missing: conversations, gpt"


def test_mmedpo_scores_become_weights_and_reports_are_reports(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    turns = [{"from": "human", "value": "Describe."}, {"from": "gpt", "value": "The lungs are clear."}]
    scores = [0.25, 1, 0.0, -0.1, math.nan, math.inf, True, "0.5", 10**400]
    rows = [{"image": "a.jpg", "conversations": turns, "weighted_score": score} for score in scores]
    file = dump(tmp_path / "a.json", [*rows, {"image": "a.jpg", "conversations": turns}])
    records, problems = read("mmedpo", file=file, image_root=tmp_path, kind="report")
    assert [(record.kind, record.weight) for record in records] == [("report", 0.25), ("report", 1.0), ("report", None)]
    reasons = [problem.reason for problem in problems]
    assert reasons[0] == "weighted_score is 0: the row has no share in the loss"
    assert {text.split(":")[0] for text in reasons[1:]} == {"weighted_score is not a number from 0"}


# --- What ends a run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("vqa_rad", {}, "folder is missing; write the folder of 'VQA_RAD Dataset Public.json'"),
        (
            "vqa_rad",
            {"folder": ".", "spilt": "train"},
            "unknown key source.options.spilt; did you mean source.options.split",
        ),
        ("vqa_rad", {"folder": ".", "split": "dev"}, "split must be one of train, test, all, found 'dev'"),
        ("vqa_rad", {"folder": 3}, "folder must be text, found 3"),
        ("vqa_rad", {"folder": ".", "allow_outside": "yes"}, "allow_outside must be true or false, found 'yes'"),
        ("slake", {"folder": ".", "mask_names": ["lung"]}, "mask_names must be keys and values"),
        ("slake", {"folder": ".", "language": "fr"}, "language must be one of en, zh, all"),
        ("iu_xray", {"folder": ".", "split": "dev"}, "split must be one of train, val, test, all or null"),
        ("table", {"file": "t.xlsx", "image_root": ".", "columns": COLUMNS}, "none of the tables"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(SOURCES.load(name).read(options))


def test_options_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="folder is missing"):
        SOURCES.load("vqa_rad").read({})


JSON_READERS: list[tuple[str, Callable[[Path], dict[str, Any]], str]] = [
    ("vqa_rad", lambda folder: {"folder": folder}, "VQA_RAD Dataset Public.json"),
    ("slake", lambda folder: {"folder": folder}, "train.json"),
    ("iu_xray", lambda folder: {"folder": folder, "layout": "r2gen"}, "annotation.json"),
    ("mmedpo", lambda folder: {"file": folder / "m.json", "image_root": folder}, "m.json"),
    ("llava_med", lambda folder: {"file": folder / "l.jsonl", "image_root": folder}, "l.jsonl"),
    ("table", lambda folder: {"file": folder / "t.jsonl", "image_root": folder, "columns": COLUMNS}, "t.jsonl"),
    ("table", lambda folder: {"file": folder / "t.csv", "image_root": folder, "columns": COLUMNS}, "t.csv"),
    ("table", lambda folder: {"file": folder / "t.parquet", "image_root": folder, "columns": COLUMNS}, "t.parquet"),
]


@pytest.mark.parametrize(("name", "options", "file"), JSON_READERS, ids=[f"{n}_{f}" for n, _, f in JSON_READERS])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"{broken", b"[1, 2", b'"text"\n', b"\xff\xfe\x00bad", b"[" * 100_000, b"9" * 5000],
    ids=range(8),
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, options: Callable[[Path], dict[str, Any]], file: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=file.replace(".", r"\.")) as caught:
        read(name, **options(tmp_path))
    assert type(caught.value) is UserError


def test_the_place_in_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "VQA_RAD Dataset Public.json").write_text('[{"qid": 1}, 3]')
    with pytest.raises(ValueError, match="row 1: must be an object, found 3"):
        read("vqa_rad", folder=tmp_path)
    (tmp_path / "VQA_RAD Dataset Public.json").write_text('[\n{"qid": 1},\n{"qid" 2}]')
    with pytest.raises(ValueError, match="line 3 column 8"):
        read("vqa_rad", folder=tmp_path)
    for line, why in (('{"a": 1', "line 3: is not valid JSON"), ("[1]", r"line 3: must be an object, found \[1\]")):
        (tmp_path / "l.jsonl").write_text('{"image": "a"}\n\n' + line + "\n")
        with pytest.raises(ValueError, match=why):
            read("llava_med", file=tmp_path / "l.jsonl", image_root=tmp_path)
    columns = {"image": "a", "question": "b", "truth": "b"}
    for text, why in (
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but 2 columns"),
        ('a,b\n1,"2"3\n', "line 2: is not valid CSV"),
        ("a,a\n1,2\n", "two columns have one name"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=why):
            read("table", file=tmp_path / "t.csv", image_root=tmp_path, columns=columns)


# --- The package -----------------------------------------------------------------------------------------------------


def test_importing_the_sources_is_light() -> None:
    heavy = ("numpy", "PIL", "cv2", "torch", "transformers", "pyarrow", "pydicom")
    code = (
        "import sys; from firempo_plugin.sources.registry import SOURCES; list(map(SOURCES.load, SOURCES));"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
