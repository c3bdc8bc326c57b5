"""Training and validation records beside each other."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from firempo_plugin.align import config as configuration
from firempo_plugin.align.split import read
from firempo_plugin.errors import UserError

COLUMNS = {"image": "image", "question": "question", "truth": "answer", "study": "patient"}


@pytest.fixture
def split(tmp_path):
    """Returns a function that reads two tables of (image, patient), a question each; images are made where missing."""

    def split(training, validation, **keys):
        sides = {}
        for name, rows in (("build", training), ("evaluate", validation)):
            for image, _ in rows:
                grey = np.random.default_rng(int(image[0])).integers(0, 255, size=(8, 8), dtype=np.uint8)
                Image.fromarray(grey).save(tmp_path / image)
            table = [{"image": image, "patient": who, "question": "Which?", "answer": "yes"} for image, who in rows]
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
            options = {"file": str(tmp_path / f"{name}.jsonl"), "image_root": str(tmp_path), "columns": COLUMNS}
            sides[name] = {"source": {"name": "table", "options": options}}
        train = {"model_name_or_path": "base"}
        given = {"folder": str(tmp_path / "all"), "train": train, **sides, **keys}
        (tmp_path / "align.yaml").write_text(yaml.safe_dump(given))
        return read(configuration.load(tmp_path / "align.yaml", []))

    return split


def test_what_has_nothing_in_common_is_counted(split):
    found = split([("1.png", "a"), ("2.png", None)], [("3.png", "c"), ("4.png", None)])
    assert not found.shared
    assert found.lines == ["training: 2 records, 0 rows left out", "validation: 2 records, 0 rows left out"]


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        ([("1.png", "a"), ("2.png", "b")], [("1.png", "c"), ("3.png", "d")], "image .*1.png"),
        ([("1.png", None)], [("1.bmp", None), ("2.png", None)], "image .*1.png"),
        ([("1.png", "a")], [("2.png", "a"), ("3.png", "c")], "study a"),
    ],
    ids=["image", "the same pixels in another file", "study"],
)
def test_what_validation_shares_with_training_is_refused_or_told_of(split, training, validation, said):
    with pytest.raises(UserError, match=f"1 of 2 validation records show an image or a study .*{said}; .*overlap"):
        split(training, validation)
    found = split(training, validation, overlap="report")
    assert len(found.shared) == 1
    assert found.lines[-1] == found.note != ""
    assert found.about == (
        f"validation has 2 records, 0 rows left out; {found.note}, so that the metric is not to be believed"
    )


def test_questions_on_one_study_or_image_go_together(split):
    found = split([("1.png", None)], [("2.png", "a"), ("3.png", "a"), ("4.png", None), ("4.png", None)])
    of = list(found.clusters.values())
    assert of[0] == of[1] != of[2] == of[3]
    assert split([("1.png", None)], [("2.png", "a"), ("3.png", "a")]).clusters == {}, "intervals would have no width"


def test_rows_that_are_left_out_are_counted_and_none_is_an_error(split, tmp_path):
    found = split([("1.png", None)], [("2.png", None)])
    empty = json.dumps({"image": "9.png", "question": "", "answer": "no", "patient": None}) + "\n"
    for name in ("build", "evaluate"):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(file.read_text() + empty)
    found = read(configuration.load(tmp_path / "align.yaml", []))
    assert found.lines[0] == "training: 1 records, 1 rows left out"
    assert "1" in found.lines[1]
    (tmp_path / "evaluate.jsonl").write_text(empty)
    with pytest.raises(UserError, match=r"evaluate.source gives no record; rows left out: 1"):
        read(configuration.load(tmp_path / "align.yaml", []))
    (tmp_path / "build.jsonl").unlink()
    with pytest.raises(UserError, match=r"build.source: .*build.jsonl"):
        read(configuration.load(tmp_path / "align.yaml", []))
