"""Reports split by finding: what becomes of an edit, of its target, of a build's rows."""

import json

import numpy as np
import pytest
import yaml
from pairs_building import written
from pairs_server import PairsServer, well
from PIL import Image
from pyarrow.parquet import read_table

from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.errors import UserError
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.config import load
from firempo_plugin.pairs.findings import refuse_alike, split
from firempo_plugin.pairs.judges.targets import statement_target
from firempo_plugin.records import Edit, Finding, Record
from firempo_plugin.store.engine import Item

RIGHT = (
    "There is a small nodule in the left lung. The heart is normal in size.\nNo pleural effusion. Old rib fractures."
)
WRONG = (
    "There is a small nodule in the right lung. The heart is normal in size.\nA pleural effusion. Old rib fractures."
)


def item(chosen=RIGHT, rejected=WRONG, kind="report"):
    record = Record("table:7", ("a.png",), "Describe the image.", RIGHT, kind=kind)
    return Item(record, edit=Edit(chosen, rejected, False, "", "rules"))


def test_each_changed_statement_becomes_a_preference_of_its_own():
    first, second = split([item()])
    assert first.finding == Finding(
        1, 2, "There is a small nodule in the left lung.", "There is a small nodule in the right lung."
    )
    assert (first.edit.chosen, second.edit.chosen) == (RIGHT, RIGHT)
    assert first.edit.rejected == RIGHT.replace("left", "right")
    assert second.edit.rejected == RIGHT.replace("No pleural", "A pleural")
    assert [one.name for one in (first, second)] == ["table:7#1", "table:7#2"]
    assert (first.is_local, item().is_local) == (True, False)


def test_one_changed_statement_is_one_finding():
    (one,) = split([item(rejected=RIGHT.replace("left", "right"))])
    assert (one.finding.number, one.finding.among) == (1, 1)
    assert one.edit == item(rejected=RIGHT.replace("left", "right")).edit


def test_a_statement_that_the_report_repeats_is_one():
    """As of findings and impression."""
    (one,) = split([item("No mass. Old fractures. No mass.", "A mass. Old fractures. A mass.")])
    assert (one.edit.rejected, one.finding.among) == ("A mass. Old fractures. A mass.", 1)
    first, second = split([item("No mass. No effusion. No mass.", "A mass. An effusion. A mass.")])
    assert [each.edit.rejected for each in (first, second)] == [
        "A mass. No effusion. A mass.", "No mass. An effusion. No mass.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("again", "turned"),
    [
        ("IMPRESSION: No pneumothorax.", "IMPRESSION: A left pneumothorax."),
        ("2. No pneumothorax.", "2. A left pneumothorax."),
        ("There is no pneumothorax.", "There is a left pneumothorax."),
        ("There is no pneumothorax.", "There is a right pneumothorax."),
        ("No pneumothorax or pleural effusion.", "Left pneumothorax and pleural effusion."),
    ],
)
def test_a_statement_repeated_in_other_words_is_one(again, turned):
    chosen, rejected = f"No pneumothorax. Clear. {again}", f"A left pneumothorax. Clear. {turned}"
    (one,) = split([item(chosen, rejected)])
    assert one.edit.rejected == rejected, "turned in one place alone, the report would contradict itself"
    assert (one.finding.right, one.finding.wrong) == ("No pneumothorax.", "A left pneumothorax.")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Left upper nodule.", "Right upper nodule."), ("Left lower nodule.", "Right lower nodule.")),
        (("A 2 mm nodule in the left lung.", "A 9 mm nodule in the left lung."), ("A 5 mm nodule.", "A 7 mm nodule.")),
        (("A small left effusion.", "A large left effusion."), ("A left effusion.", "A right effusion.")),
        (("Heart: Normal.", "Heart: Abnormal."), ("Bones: Normal.", "Bones: Abnormal.")),
        (("A left nodule.", "No nodule."), ("A right nodule.", "No nodules.")),
        (("Stable left effusion.", "New left effusion."), ("Trace left effusion.", "Focal left effusion.")),
        (("No left pneumothorax.", "Left pneumothorax."), ("No right pneumothorax.", "Right pneumothorax.")),
    ],
)  # fmt: skip
def test_statements_of_different_things_stay_apart(one, other):
    parts = split([item(f"{one[0]} Clear. {other[0]}", f"{one[1]} Clear. {other[1]}")])
    assert [(part.finding.right, part.finding.wrong) for part in parts] == [one, other]


def test_phrases_are_the_words_of_the_statement_itself():
    """A diff of whole reports that repeat themselves sees them in other places."""
    chosen = "There is no edema. There is no pneumothorax. No pneumothorax. No pneumothorax."
    rejected = "There is no edema. There is a pneumothorax. A pneumothorax. No pneumothorax."
    (one,) = split([item(chosen, rejected)])
    assert one.edit.rejected == rejected
    words = [[text[slice(*span)] for span in side] for text, side in zip((chosen, rejected), one.spans, strict=True)]
    assert words == [["no", "No"], ["a", "A"]]
    assert one.spans == (((28, 30), (45, 47)), ((28, 29), (44, 45)))


def test_a_vocabulary_of_ones_own_says_what_is_the_same(tmp_path):
    report = item("No zebra. Clear. There is no zebra.", "A zebra. Clear. There is a zebra.")
    assert len(split([report])) == 2
    (tmp_path / "own.yaml").write_text("groups: {finding: {terms: {zebra: {en: [zebra], organ: lung}}}}")
    assert len(split([report], str(tmp_path / "own.yaml"))) == 1


@pytest.mark.parametrize(
    "whole",
    [
        item(kind="vqa"),
        item(rejected="One sentence."),
        Item(item().record),
        item(rejected=RIGHT.replace(" heart", " Heart")),
    ],
)
def test_what_is_no_report_of_the_same_sentences_stays_whole(whole):
    assert split([whole]) == [whole]


@pytest.mark.parametrize(
    ("right", "wrong", "phrase"),
    [
        ("There is a mass in the right lower lung.", "There is a mass in the left lower lung.", "right mass"),
        ("There is no pleural effusion.", "There is a left pleural effusion.", "left lung"),
        ("No pneumothorax.", "There is a pneumothorax.", "lung"),
        ("The heart is normal in size.", "The heart is enlarged.", "heart"),
        ("The heart is enlarged.", "The heart is normal in size.", "heart"),
        ("There is no fracture of the left clavicle.", "There is a fracture of the left clavicle.", "left clavicle"),
        ("There is no pacemaker.", "There is a pacemaker.", "chest"),
        ("The lungs are clear.", "There is consolidation in the right lung.", "right lung"),
        (
            "Small left pleural effusion, unchanged.",
            "Small right pleural effusion, unchanged.",
            "left pleural effusion",
        ),
        (
            "The effusion has increased since the prior study.",
            "The effusion has decreased since the prior study.",
            None,
        ),
        ("The patient is rotated.", "The patient is upright.", None),
        ("Heart size is normal and the lungs are clear.", "Heart size is normal and the lungs are hazy.", "lung"),
        ("There is cardiomegaly but no pulmonary edema.", "There is cardiomegaly and pulmonary edema.", "lung"),
        (
            "Left atelectasis with a small right effusion.",
            "Left atelectasis with a large right effusion.",
            "right effusion",
        ),
        (
            "Left atelectasis with a small right effusion.",
            "Right atelectasis with a small right effusion.",
            "left atelectasis",
        ),
        ("No consolidation, pneumothorax, or mass.", "No consolidation, effusion, or mass.", "lung"),
        (
            "A mass with smooth borders in the left lung.",
            "A mass with spiculated borders in the left lung.",
            "left mass",
        ),
        ("The right hemidiaphragm is elevated.", "The left hemidiaphragm is elevated.", "right hemidiaphragm"),
        ("The trachea is midline.", "The trachea is deviated to the right.", "trachea"),
        ("There is no acute intracranial hemorrhage.", "There is an acute intracranial hemorrhage.", None),
        ("The trachea is midline.", "The trachea is deviated right.", "trachea"),
        ("No displaced rib fractures.", "Displaced left rib fractures.", "left rib"),
        (
            "Left greater than right pleural effusions.",
            "Right greater than left pleural effusions.",
            "pleural effusion",
        ),
    ],
)
def test_a_statement_points_to_its_evidence_or_to_where_there_is_none(right, wrong, phrase):
    target = statement_target(right, wrong, "en", load_vocabulary())
    assert target.phrase == phrase, target
    assert target.reason


@pytest.mark.parametrize(
    ("right", "wrong", "phrase"),
    [
        ("No pneumothorax, but small right effusion.", "No pneumothorax, but small left effusion.", "right effusion"),
        ("No pneumothorax; small right effusion.", "No pneumothorax; small left effusion.", "right effusion"),
        ("No effusion, and the right lung is clear.", "No effusion, and the left lung is clear.", "right lung"),
        ("No effusion, mass, or nodule, or edema.", "No effusion, mass, or cyst, or edema.", "lung"),
        ("No right pneumothorax.", "No left pneumothorax.", "lung"),
        ("The left mass has no cavity.", "The right mass has no cavity.", "left mass"),
        ("A pneumothorax is not seen.", "A left pneumothorax is seen.", "left lung"),
        ("No change in the right mass.", "No change in the left mass.", "right mass"),
    ],
)
def test_a_denial_reaches_as_far_as_its_list(right, wrong, phrase):
    """Of what a statement denies, nothing is there for a segmenter to find."""
    assert statement_target(right, wrong, "en", load_vocabulary()).phrase == phrase


@pytest.mark.parametrize(
    ("right", "wrong", "phrase"),
    [
        ("Dual lead pacemaker with leads in the right atrium and right ventricle.", "Single lead pacemaker with leads "
         "in the right atrium and right ventricle.", "pacemaker"),
        ("Central line tip in the right atrium.", "Central line tip in the SVC.", "central line"),
        ("Left subclavian central line with tip in the right atrium.", "Right subclavian central line with tip in the "
         "right atrium.", "left central line"),
        ("Chest tube in the right hemithorax.", "Chest tube in the left hemithorax.", "right chest tube"),
        ("The left atrium is enlarged.", "The left atrium is normal.", "left atrium"),
    ],
)  # fmt: skip
def test_a_device_is_on_no_side_for_the_chamber_that_it_ends_in(right, wrong, phrase):
    assert statement_target(right, wrong, "en", load_vocabulary()).phrase == phrase


@pytest.mark.parametrize(
    ("right", "wrong", "phrase"),
    [
        ("Stable cardiomegaly.", "Increased cardiomegaly.", None),
        ("The effusion is larger compared to prior.", "The effusion is smaller compared to prior.", None),
        ("No change in right pleural effusion.", "Interval increase in right pleural effusion.", None),
        ("Stable small right effusion.", "Stable large right effusion.", "right effusion"),
        ("Right upper lobe opacity has resolved.", "Right lower lobe opacity has resolved.", "right lung"),
        ("Right PICC has been removed.", "Left PICC has been removed.", "chest"),
    ],
)
def test_what_was_before_is_nowhere_on_the_image(right, wrong, phrase):
    assert statement_target(right, wrong, "en", load_vocabulary()).phrase == phrase


REPORT = "There is a mass in the left lung. There is no pneumothorax. The heart is enlarged."
TRUTH = "There is a mass in the right lung. There is no pneumothorax. The heart is normal in size."


@pytest.fixture
def build(tmp_path):
    """Returns a function that writes and runs a build of one report with masks of its parts, and returns its rows."""
    grain = np.random.default_rng(1).integers(40, 200, (64, 80), dtype=np.uint8)
    Image.fromarray(grain).save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    for name, columns in (("right_mass", slice(10, 20)), ("heart", slice(40, 60))):
        mask = np.zeros((64, 80), np.uint8)
        mask[20:40, columns] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"a_{name}.png")
    record = {"image": "a.png", "question": "Describe the image.", "answer": TRUTH, "model_answer": REPORT}
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")

    def run(**edit):
        columns = {"image": "image", "question": "question", "truth": "answer", "response": "model_answer"}
        options = {"file": str(tmp_path / "records.jsonl"), "columns": columns, "image_root": str(tmp_path)}
        config = {
            "workspace": str(tmp_path / "work"),
            "source": {"name": "table", "options": options | {"kind": "report"}},
            "edit": {"judge": "rules", **edit},
            "segment": {"by": "file", "options": {"folder": str(tmp_path / "masks")}},
        }
        (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
        assert commands.build(tmp_path / "build.yaml", []) == 0
        return json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text()), tmp_path / "work"

    return run


def noised_columns(row, work):
    clean, noised = (
        np.asarray(Image.open(work / "export" / row[key][0]).convert("L")) for key in ("images", "rejected_images")
    )
    return set(np.nonzero((clean != noised).any(axis=0))[0].tolist())


def test_a_build_noises_each_finding_where_it_is(build):
    (whole,), work = build()
    assert whole["noise_path"] == "report"
    assert len(noised_columns(whole, work)) == 80
    rows, work = build(report="findings")
    assert [row["id"] for row in rows] == ["table:row0#1", "table:row0#2"]
    assert {row["chosen"]["value"] for row in rows} == {TRUTH}
    assert len({row["images"][0] for row in rows}) == 1
    for row, target, columns in zip(rows, ("right mass", "heart"), ((10, 20), (40, 60)), strict=True):
        assert (row["target"], row["noise_path"]) == (target, "lesion")
        assert noised_columns(row, work) <= set(range(*columns))
        assert len(noised_columns(row, work)) > 8
        spans = [row["chosen"]["value"][start:end] for start, end in row["chosen_spans"]]
        assert spans in (["right"], ["normal in size"])


def test_a_row_says_which_statement_of_how_many_it_is_about(build):
    (whole,), _ = build()
    assert "finding" not in whole
    rows, _ = build(report="findings")
    assert [(row["finding"], row["statement"]) for row in rows] == [
        ("1 of 2", "There is a mass in the right lung."), ("2 of 2", "The heart is normal in size."),
    ]  # fmt: skip


def test_no_judge_is_asked_where_a_statement_is_what_only_an_earlier_examination_tells(tmp_path):
    truth = "The left effusion has increased. There is a mass in the right lung."
    wrong = "The left effusion has decreased. There is a mass in the left lung."

    def script(call):
        edited = json.dumps({"all_correct": False, "rewritten_report": truth})
        return well(edited if "rewritten_report" in call.text else "left effusion")

    with PairsServer(script) as server:
        edit = {"judge": "endpoint", "report": "findings", "endpoint": {"base_url": server.url, "model": "judge"}}
        path = written(tmp_path, [("Describe it.", truth, wrong, "report")], edit=edit, target={"by": "judge"})
        assert commands.build(path, []) == 0
        assert [text.count("has increased") for text in server.texts() if "rewritten_report" not in text] == [0]
    rows = json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text())
    assert [row["target"] for row in rows] == [None, "left effusion"]


@pytest.mark.parametrize("file_format", ["json", "parquet"])
def test_questions_beside_reports_have_the_same_columns(tmp_path, file_format):
    rows = [("Is there a mass?", "No", "Yes, there is a mass."), ("Describe it.", TRUTH, REPORT, "report")]
    path = written(tmp_path, rows, edit={"report": "findings"}, export={"options": {"file_format": file_format}})
    assert commands.build(path, []) == 0
    file = tmp_path / "work" / "export" / f"fire_mpo_pairs.{file_format}"
    found = json.loads(file.read_text()) if file_format == "json" else read_table(file).to_pylist()
    assert [row["finding"] for row in found] == [None, "1 of 2", "2 of 2"]
    assert len({tuple(row) for row in found}) == 1


@pytest.mark.parametrize(
    ("ids", "samples", "alike"),
    [
        (("1", "1#1"), 1, "'table:1' and 'table:1#1'"),
        (("1", "1/1#2"), 2, "'table:1' and 'table:1/1#2'"),
        (("1", "1#a", "2#1"), 1, None),
    ],
)
def test_a_record_named_as_a_finding_of_another_is_refused(ids, samples, alike):
    records = [Record(f"table:{one}", (), "", "", kind="report") for one in ids]
    if alike is None:
        refuse_alike(lambda: records, samples)
        return
    with pytest.raises(UserError, match=f"the records {alike} cannot be told apart where edit.report is findings"):
        refuse_alike(lambda: records, samples)


def test_findings_need_minimal_edits_scored_by_words(tmp_path):
    base = {"workspace": str(tmp_path), "source": {"name": "table"}, "edit": {"report": "findings"}}
    for change in ({"edit": {"report": "findings", "how": "priors"}}, {"spans": {"of": "sentences"}}):
        (tmp_path / "b.yaml").write_text(yaml.safe_dump(base | change))
        with pytest.raises(ValueError, match=r"edit\.report: findings needs edit\.how: minimal and spans\.of: words"):
            load(tmp_path / "b.yaml", [])
