"""Reports by rules: findings, places and sizes that can be compared are edited in a few words; others are left."""

import pytest

from firempo_plugin.pairs.judges.contract import EditBounds, accept_report
from firempo_plugin.pairs.judges.rules import Abstain, RuleJudge
from firempo_plugin.pairs.records import Record

JUDGE = RuleJudge()
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
    ("The lungs are clear.", "There is consolidation in the left lung.", "There is no consolidation in the left lung."),
    ("Moderate right pneumothorax. No pleural effusion.", "No pneumothorax or pleural effusion.",
     "A pneumothorax but no pleural effusion."),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "response", "corrected"), CORRECTED)
def test_what_the_truth_denies_is_corrected(truth, response, corrected):
    record = Record("r", (), "Write a report.", truth, kind="report")
    reply = JUDGE.edit(record, response)
    assert not isinstance(reply, Abstain), reply.reason
    assert (reply.all_correct, reply.rewritten_report) == (False, corrected)
    assert accept_report(record, response, reply, EditBounds(), "rules").chosen == corrected


LEFT = [
    ("Right upper lobe pneumonia.", "The lungs are clear."),
    ("No acute cardiopulmonary abnormality.", "There is mild pulmonary edema."),
    ("Borderline cardiomegaly. Clear lungs.", "The heart is normal in size."),
    ("Moderate bilateral pleural effusions.", "Small bilateral pleural effusions."),
    ("The trachea is midline. No pneumothorax.", "The trachea is deviated to the right. No pneumothorax."),
    ("No displaced rib fracture.", "There is a displaced rib fracture."),
    ("No pneumothorax.", "No pneumothorax. The aorta is tortuous."),
]


@pytest.mark.parametrize(("truth", "response"), LEFT)
def test_what_cannot_be_compared_is_left_alone(truth, response):
    record = Record("r", (), "Write a report.", truth, kind="report")
    assert isinstance(JUDGE.edit(record, response), Abstain)


def test_an_error_contradicts_what_the_truth_says():
    truth = "Moderate right pneumothorax. Heart size is normal."
    response = "There is a moderate right pneumothorax. The heart is normal in size. No effusion is seen."
    errors = set()
    for number in range(40):
        record = Record(str(number), (), "Write a report.", truth, kind="report")
        errors.add(accept_report(record, response, JUDGE.edit(record, response), EditBounds(), "rules").rejected)
    assert response.replace("right", "left") in errors
    assert response.replace("normal in size", "enlarged") in errors
    assert all("No effusion is seen." in error for error in errors)
