"""Pairs go to Label Studio as tasks, and come back as marks."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.errors import UserError
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.review import decisions


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "clinic"
    folder.mkdir()
    for number, name in enumerate(("Doe_John", "Doe_John_noised")):
        Image.fromarray(np.full((20, 20), 90 + 50 * number, np.uint8)).save(folder / f"{name}.png")
    clean, noised = (str(folder / f"{name}.png") for name in ("Doe_John", "Doe_John_noised"))
    words = {"question": "Which <lung>?", "chosen": "The <left> lung.", "rejected": "The right lung."}
    spans = {"chosen_spans": ((4, 10),), "rejected_spans": ((4, 9),)}
    kept = Pair(id="table:1", images=(clean,), rejected_images=(noised,), truth="left", **words, **spans)
    return [kept, Pair(id="table:2", images=(), rejected_images=(), **words, **spans)]


def tasks_of(pairs, tmp_path):
    result = export("label_studio", pairs, tmp_path / "export", name="look")
    return result, json.loads(result.files[0].read_text(encoding="utf-8"))


def annotated(task, mark, *, at="2026-01-01T00:00:00Z", reason=None, **about):
    result = [{"from_name": "mark", "to_name": "responses", "type": "choices", "value": {"choices": [mark]}}]
    if reason:
        result.append({"from_name": "reason", "to_name": "responses", "type": "textarea", "value": {"text": [reason]}})
    return {"result": result, "created_at": at, "updated_at": at, **about}


def test_a_task_shows_the_pair_and_names_no_file_of_the_clinic(pairs, tmp_path):
    result, tasks = tasks_of(pairs, tmp_path)
    data = tasks[0]["data"]
    assert data["responses"] == (
        "<p><i>chosen</i> The <b>&lt;left&gt;</b> lung.</p><p><i>rejected</i> The <b>right</b> lung.</p>"
        "<p><i>ground truth</i> left</p>"
    )
    for column, file in (("clean", pairs[0].images[0]), ("noised", pairs[0].rejected_images[0])):
        prefix, _, place = data[column].partition("?d=")
        assert prefix == "/data/local-files/"
        with open(file, "rb") as original:
            assert (tmp_path / "export" / place).read_bytes() == original.read()
    assert "Doe" not in result.files[0].read_text()
    assert tasks[1]["data"]["clean"] == ""
    view = ElementTree.parse(result.files[1]).getroot()
    shown = {tag.get("value") for tag in view.iter() if (tag.get("value") or "").startswith("$")}
    assert shown == {f"${key}" for key in data if key not in ("id", "digest")}


def test_marks_come_back(pairs, tmp_path):
    _, tasks = tasks_of(pairs, tmp_path)
    tasks[0]["annotations"] = [
        annotated(tasks[0], "accept"),
        annotated(tasks[0], "reject", at="2026-01-02T00:00:00Z", reason="wrong side"),
        annotated(tasks[0], "accept", at="2026-01-03T00:00:00Z", was_cancelled=True),
    ]
    tasks[1]["annotations"] = []
    (tmp_path / "done.json").write_text(json.dumps(tasks))
    found = decisions.read(tmp_path / "done.json")
    assert found == {"table:1": decisions.Decision("reject", "wrong side", decisions.digest(pairs[0]))}
    verdict = decisions.apply(pairs, found)
    assert [pair.id for pair in verdict.kept] == ["table:2"]
    assert verdict.rejected == {"table:1": "rejected in review: wrong side"}


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([{"data": {"image": "x"}}], "task 0 is none of `export.format: label_studio`"),
        (["text"], "task 0 is none of"),
        (
            [{"data": {"id": "a", "digest": "b"}, "annotations": [annotated(None, "maybe")]}],
            'task 0: expected {"mark": "accept" or "reject"',
        ),
    ],
)
def test_what_is_none_of_ours_is_refused(tasks, said, tmp_path):
    (tmp_path / "done.json").write_text(json.dumps(tasks))
    with pytest.raises(UserError) as error:
        decisions.read(tmp_path / "done.json")
    assert said in str(error.value)
