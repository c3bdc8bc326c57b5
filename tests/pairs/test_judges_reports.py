"""Reports by rules: findings, places and sizes that can be compared are edited in a few words; others are left."""

import pytest

from firempo_plugin.answers.findings import contradictions
from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())
EFFUSION = "Small left pleural effusion with adjacent atelectasis. No pneumothorax. Heart size is normal."
CORRECTED = [
    (EFFUSION, "There is a small right pleural effusion. No pneumothorax.",
     "There is a small left pleural effusion. No pneumothorax."),
    (EFFUSION, "There is a large left pleural effusion. Heart size within normal limits.",
     "There is a small left pleural effusion. Heart size within normal limits."),
    ("Right upper lobe pneumonia. Heart size normal.", "There is pneumonia in the left upper lobe.",
     "There is pneumonia in the right upper lobe."),
    ("Stable cardiomegaly. No pleural effusion.", "The heart size is normal. There is a small left pleural effusion.",
     "The heart size is enlarged. There is no pleural effusion."),
    ("The heart is normal in size. The lungs are clear.", "The heart is mildly enlarged. The lungs are clear.",
     "The heart is normal in size. The lungs are clear."),
    ("No pneumothorax. Heart size is normal.", "The cardiomediastinal silhouette is enlarged. No pneumothorax.",
     "The cardiomediastinal silhouette is normal in size. No pneumothorax."),
    ("No pneumothorax.", "There is a pneumothorax. No acute fracture.", "There is no pneumothorax. No acute fracture."),
    ("The lungs are clear.", "There is consolidation in the left lung.", "There is no consolidation in the left lung."),
    ("Left chest pacemaker. No effusion.", "There is no pacemaker.", "There is a left chest pacemaker."),
]  # fmt: skip
CONSOLIDATION = "There is a large consolidation in the right lower lung. No pneumothorax."
DESCRIBED = [
    (CONSOLIDATION, "There is no consolidation.", "There is a large consolidation in the right lower lung."),
    (CONSOLIDATION, "There is no focal consolidation.", "There is a large consolidation in the right lower lung."),
    (CONSOLIDATION, "No consolidation is seen.", "A large consolidation in the right lower lung is seen."),
    (CONSOLIDATION, "No consolidation in the lungs.", "There is a large consolidation in the right lower lung."),
    (CONSOLIDATION, "There is a small consolidation in the right lower lung.",
     "There is a large consolidation in the right lower lung."),
    (EFFUSION, "There is no pleural effusion.", "There is a small left pleural effusion."),
    ("Moderate bilateral pleural effusions.", "There is no pleural effusion.",
     "There are moderate bilateral pleural effusions."),
    ("Small stable left pleural effusion with adjacent atelectasis.", "No pleural effusion.",
     "There is a small left pleural effusion."),
    ("Small effusion and left pneumothorax.", "No pneumothorax.", "There is a left pneumothorax."),
    ("Stable small apical right pneumothorax.", "No pneumothorax.", "There is a small apical right pneumothorax."),
    ("Pleural effusion, which is very odd.", "No pleural effusion.", None),
]  # fmt: skip
SILENT = "There is a small right pleural effusion."
NOT_MENTIONED = [
    "There is no pacemaker.",
    "No pneumothorax is seen.",
    "There is no pneumothorax, pacemaker, or displaced rib fracture.",
    "No foo bar.",
    "There is no evidence of hiatal hernia.",
    "No cardiomegaly.",
    "No large pneumothorax. No scoliosis.",
]


@pytest.mark.parametrize("denial", NOT_MENTIONED)
def test_a_denial_of_what_the_truth_does_not_mention_stays_as_it_is(denial):
    record = Record("r", (), "Write a report.", "Small left pleural effusion.", kind="report")
    edit = JUDGE.judge(record, f"{SILENT} {denial}")
    assert not isinstance(edit, Abstain), edit.reason
    assert (edit.was_correct, edit.chosen) == (False, f"There is a small left pleural effusion. {denial}")
    for error in error_of("Small right pleural effusion.", f"{SILENT} {denial}"):
        assert error.endswith(denial)


UNCLEAR = [
    ("Pacer in place.", "There is no pacemaker."),
    ("Left subclavian AICD.", "There is no pacemaker."),
    ("Airspace disease in the right base.", "No pneumonia."),
    ("Borderline heart size.", "No cardiomegaly."),
    ("Prominent cardiac contours.", "No cardiomegaly."),
    ("Mild enlargement.", "No cardiomegaly."),
    ("Calcified aortic valve.", "No prosthetic valve."),
    ("The ribs are intact.", "No rib fracture."),
    ("A foo is seen.", "No foo."),
    ("", "There is a pacemaker."),
    ("", "No acute abnormality."),
    ("", "No change."),
    ("", "No pneumothorax but a rib fracture."),
    ("", "No evidence of disease."),
    ("", "No pneumothorax and a mass."),
    ("", "No pneumothorax, which is new."),
    ("", "No definite pneumothorax cannot be excluded."),
    ("Moderate right pneumothorax.", "No large pneumothorax."),
    ("Right lower lobe consolidation.", "No consolidation in the left lung."),
    ("Right lower lobe consolidation.", "The left lung shows no consolidation."),
]


@pytest.mark.parametrize(("also", "sentence"), UNCLEAR)
def test_a_report_with_another_unclear_sentence_is_left_alone(also, sentence):
    record = Record("r", (), "Write a report.", f"Small left pleural effusion. {also}", kind="report")
    assert isinstance(JUDGE.judge(record, f"{SILENT} {sentence}"), Abstain)


@pytest.mark.parametrize(("truth", "response", "described"), DESCRIBED)
def test_what_is_affirmed_is_described_as_the_truth_describes_it(truth, response, described):
    record = Record("r", (), "Write a report.", truth, kind="report")
    edit = JUDGE.judge(record, response)
    assert (None if isinstance(edit, Abstain) else edit.chosen) == described


@pytest.mark.parametrize(("truth", "response", "corrected"), CORRECTED)
def test_what_the_truth_denies_is_corrected(truth, response, corrected):
    record = Record("r", (), "Write a report.", truth, kind="report")
    edit = JUDGE.judge(record, response)
    assert not isinstance(edit, Abstain), edit.reason
    assert (edit.was_correct, edit.chosen) == (False, corrected)


LEFT = [
    ("Right upper lobe pneumonia.", "The lungs are clear."),
    ("Moderate right pneumothorax. No pleural effusion.", "No pneumothorax or pleural effusion."),
    (
        "Small right pneumothorax. Lungs are clear.",
        "The lungs are clear. The bones are intact. No pneumothorax is seen.",
    ),
    ("No acute cardiopulmonary abnormality.", "There is mild pulmonary edema."),
    ("There is a pleural effusion.", "There is a large pleural effusion."),
    ("There is a mass in the left upper lobe.", "There is a mass in the left lower lung and the liver."),
    ("Borderline cardiomegaly. Clear lungs.", "The heart is normal in size."),
    ("Moderate bilateral pleural effusions.", "Small bilateral pleural effusions."),
    ("The trachea is midline. No pneumothorax.", "The trachea is deviated to the right. No pneumothorax."),
    ("No displaced rib fracture.", "There is a displaced rib fracture."),
    ("No pneumothorax.", "No pneumothorax. The aorta is tortuous."),
]


@pytest.mark.parametrize(("truth", "response"), LEFT)
def test_what_cannot_be_compared_is_left_alone(truth, response):
    record = Record("r", (), "Write a report.", truth, kind="report")
    assert isinstance(JUDGE.judge(record, response), Abstain)


@pytest.mark.parametrize(
    ("truth", "response", "judged"),
    [
        ("The left effusion has increased.", "The left effusion has decreased.", False),
        ("The left effusion is decreased in size.", "The left effusion is increased in size.", False),
        ("New left effusion. Stable cardiomegaly.", "Stable left effusion. Heart size is enlarged.", False),
        ("Small left effusion.", "Small left effusion, unchanged.", False),
        ("Stable cardiomegaly.", "Increased cardiomegaly.", False),
        ("Stable small left effusion.", "Small stable left effusion.", True),
        ("The left effusion has increased.", "There is a left effusion.", True),
        ("Small left effusion.", "Stable small right effusion.", False),
    ],
)
def test_how_a_finding_was_before_is_not_taken_for_right_unless_the_truth_says_so(truth, response, judged):
    """What the rules call correct becomes chosen as it is."""
    edit = JUDGE.judge(Record("r", (), "Write a report.", truth, kind="report"), response)
    assert isinstance(edit, Abstain) != judged


def test_an_error_contradicts_what_the_truth_says():
    truth = "Moderate right pneumothorax. Heart size is normal."
    response = "There is a moderate right pneumothorax. The heart is normal in size."
    errors = set()
    for number in range(40):
        record = Record(str(number), (), "Write a report.", truth, kind="report")
        errors.add(JUDGE.judge(record, response).rejected)
    assert response.replace("right", "left") in errors
    assert response.replace("normal in size", "enlarged") in errors
    assert response.replace("a moderate right", "no") in errors


@pytest.mark.parametrize(
    "denial", ["The left lung shows no consolidation.", "No consolidation in the left lung.", "No upper consolidation."]
)
def test_what_is_denied_in_one_place_is_not_denied_in_another(denial):
    assert not contradictions(denial, "Right lower lobe consolidation.", "en", load_vocabulary())
    assert not contradictions("Right lower lobe consolidation.", denial, "en", load_vocabulary())
    assert contradictions("No consolidation.", "Right lower lobe consolidation.", "en", load_vocabulary())


def error_of(truth: str, response: str) -> set[str]:
    """Every report with one error that some record gets; empty where the rules abstain."""
    errors = set()
    for number in range(30):
        record = Record(str(number), (), "Write a report.", truth, kind="report")
        edit = JUDGE.judge(record, response)
        if not isinstance(edit, Abstain):
            assert edit.was_correct
            errors.add(edit.rejected)
    return errors


HEARTS = [
    ("The heart is mildly enlarged. No pleural effusion.", "The heart is normal in size. No pleural effusion."),
    ("The heart is mildly to moderately enlarged.", None),
    ("The heart is enlarged in size.", "The heart is normal in size."),
    ("The heart size is enlarged.", "The heart size is normal."),
    ("**Impression:** Mild cardiomegaly.", None),
]


@pytest.mark.parametrize(("response", "corrected"), HEARTS)
def test_the_size_of_the_heart_is_exchanged(response, corrected):
    record = Record("r", (), "Write a report.", "No pleural effusion. Heart size is normal.", kind="report")
    edit = JUDGE.judge(record, response)
    assert (None if isinstance(edit, Abstain) else edit.chosen) == corrected


def test_a_heart_within_normal_limits_becomes_an_enlarged_one():
    heart = "The heart size is within normal limits."
    assert error_of(heart, heart) == {"The heart size is enlarged."}


CONTRADICTORY = [
    ("Cardiomegaly. No pneumothorax.", "There is a pneumothorax. Normal chest radiograph."),
    ("Right lower lobe consolidation. Heart size is normal.", "No focal opacity is seen. The heart is enlarged."),
    ("Right lower lobe consolidation. Heart size is normal.", "The lung fields are clear. The heart is enlarged."),
    ("No pneumothorax.", "There is a pneumothorax. It is not large."),
    ("No pneumothorax. Degenerative changes of the spine.", "There is a pneumothorax. Bones are unremarkable."),
    ("Cardiomegaly. No effusion.", "Enlarged heart. No abnormality."),
    ("No pneumothorax. Rib fracture.", "There is a pneumothorax. No acute fracture is seen."),
    ("No pneumothorax. No acute abnormality.", "There is no pneumothorax. No acute cardiopulmonary abnormality."),
    ("No consolidation. No opacity.", "There is no consolidation. No opacity is seen."),
    ("No pneumothorax.", "There is stable streaky basilar pneumothorax which is new. No effusion."),
    ("Moderate right pleural effusion.", "No pleural effusions are identified."),
]


@pytest.mark.parametrize(("truth", "response"), CONTRADICTORY)
def test_an_edit_that_another_sentence_would_contradict_is_not_made(truth, response):
    record = Record("r", (), "Write a report.", truth, kind="report")
    assert isinstance(JUDGE.judge(record, response), Abstain)


@pytest.mark.parametrize(
    "report",
    [
        "No pneumothorax. No acute abnormality.",
        "No consolidation. No opacity.",
        "There is atelectasis and pleural effusion.",
        "No pneumothorax. It is a normal study.",
    ],
)
def test_an_error_that_another_sentence_would_contradict_is_not_made(report):
    assert not error_of(report, report)


def test_what_is_said_twice_is_changed_twice_or_not_at_all():
    truth = "Small left pleural effusion. Left effusion. No pneumothorax."
    once = "There is a small left pleural effusion."
    for again in ("A left effusion is seen.", "There is also a left pleural effusion, as before."):
        for error in error_of(truth, f"{once} {again} No pneumothorax."):
            assert ("left" in error) != ("right" in error) or "no pleural" not in error
            assert not ("left" in error and "right" in error)
    for error in error_of(truth, f"{once} There is no pneumothorax. No mass, nodule, or pneumothorax."):
        assert "a pneumothorax" not in error


PLAIN_ENGLISH = [
    ("Streaky right basilar airspace disease.", "There is streaky right basilar airspace disease."),
    ("Heart size is normal.", "Normal heart size."),
    ("No consolidation. No pleural effusion. No pneumothorax.", "No consolidation, pleural effusion, or pneumothorax."),
]


@pytest.mark.parametrize(("truth", "response"), PLAIN_ENGLISH)
def test_a_denial_leaves_no_half_of_a_description(truth, response):
    for error in error_of(truth, response):
        assert "no streaky" not in error
        assert "no right" not in error
        assert "lobe airspace" not in error
        assert "nlarged heart size" not in error


def test_a_report_in_another_language_is_left_to_a_model():
    record = Record("r", (), "请写报告。", "没有气胸。", kind="report", language="zh")
    assert "in English only" in JUDGE.judge(record, "有气胸。").reason
