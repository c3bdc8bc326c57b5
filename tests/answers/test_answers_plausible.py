"""Edits of the rules leave a response that hangs together; where that is in doubt, the rules abstain."""

import pytest

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.questions import polar_truth, understand
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.contract import Contract, ReplyError, VqaReply
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())


def edited(question: str, truth: str, response: str) -> str | None:
    """The other side of the pair; None where the rules abstain."""
    record = Record("r", (), question, truth)
    edit = JUDGE.judge(record, response)
    if isinstance(edit, Abstain):
        return None
    return edit.rejected if edit.was_correct else edit.chosen


FIXED = [
    ("What is the diagnosis?", "Multiple sclerosis", None),
    ("What is the diagnosis?", "Chronic obstructive pulmonary disease", None),
    ("Where is the embolus?", "Basilar artery", None),
    ("What is occluded?", "Left vertebral artery", "Right vertebral artery"),
    ("Where is the mass?", "Posterior fossa", None),
    ("Where is the lesion?", "Right middle lobe", None),
    ("What is the modality?", "MR FLAIR", "MR T1"),
    ("What is the modality?", "CT with IV contrast", "CT without contrast"),
    ("What is the modality?", "X-ray plain film", None),
    ("What is the modality?", "head/neck CT", None),
    ("What does this image not represent?", "Ultrasound", None),
    ("Where are the lesions?", "Bilateral frontal lobes", None),
    ("What color is it?", "Light grey", None),
    ("In which vessel is the calcification?", "Aorta", None),
    ("Which part of the bowel is it?", "Jejunum", None),
    ("What diseases are seen?", "Atelectasis, effusion", "Atelectasis, pneumothorax"),
    ("Why is the lung dark?", "Decreased density", None),
    ("Where is the lesion?", "Left temporal horn", "Right temporal horn"),
    ("What is seen?", "Hydronephrosis", "Kidney stone"),
]


@pytest.mark.parametrize(("question", "truth", "wrong"), FIXED)
def test_what_takes_the_place_of_a_right_answer_is_plausible(question, truth, wrong):
    assert edited(question, truth, truth) == wrong


IN_CONTEXT = [
    ("What is seen?", "Hydronephrosis", "There is hydronephrosis of the left kidney."),
    ("Where is the lesion?", "Right lung", "Right lower lobe of the right lung."),
    ("Where is the liver?", "Upper left", "The liver is in the right thoracic cavity, because it is pushed up."),
    ("What belongs to the circulatory system?", "Heart", "The lungs, which are a part of the circulatory system."),
    ("What is the organ on the left side of the image?", "Liver", "The left kidney."),
    ("How many lungs are seen?", "2", "There are six organs visible."),
    (
        "Which organ is abnormal, heart or lung?",
        "Lung",
        "The X-ray shows an abnormal heart, specifically cardiomegaly.",
    ),
    ("Is the mass hyperdense or hypodense?", "Hyperdense", "It is hypodense, which means it has a low density."),
    ("Which region is hit?", "Anterior surface", "Anterior surface, specifically the frontal lobe."),
    ("Do the kidneys look normal?", "yes", "No, the kidneys show significant abnormalities."),
    ("Is this a frontal or a lateral view?", "Frontal", "This is a lateral view."),
]


@pytest.mark.parametrize(("question", "truth", "response"), IN_CONTEXT)
def test_an_answer_that_the_rest_leans_on_stays(question, truth, response):
    assert edited(question, truth, response) is None


CHOICES = [
    (
        "Which is bigger, heart or right lung?",
        "Right lung",
        "The heart appears larger.",
        "The right lung appears larger.",
    ),
    ("Which is bigger, heart or right lung?", "Right lung", "The heart appears larger than the right lung.", None),
    (
        "Which is the biggest, lung, liver or heart?",
        "Lung",
        "The liver is the largest among the lung, liver, and heart.",
        "The lung is the largest among the lung, liver, and heart.",
    ),
    ("Is it a T1- or a T2-weighted image?", "T2", "It is T1-weighted.", "It is T2-weighted."),
    (
        "Is it a contrast CT or a non-contrast CT?",
        "Non-contrast CT",
        "A contrast CT image.",
        "A non-contrast CT image.",
    ),
]


@pytest.mark.parametrize(("question", "truth", "response", "right"), CHOICES)
def test_options_are_exchanged_with_their_own_words(question, truth, response, right):
    assert edited(question, truth, response) == right


LUNG = "Is there a mass in the left lung?"
LIVER = "Does the picture contain liver?"
LEFT_OVER = [
    (LUNG, "no", "Yes. The mass in the left lung is well defined."),
    (LUNG, "no", "Yes, there is a mass in the left lung. It measures 3 cm."),
    (LUNG, "no", "Yes, there is a mass in the left lung, which is clearly visible."),
    (LUNG, "no", "Yes, there is a mass in the left lung. This indicates cancer."),
    (LUNG, "yes", "No, there is no mass in the left lung. The lungs are clear and normal."),
    ("Are there abnormalities in this image?", "yes", "There are no abnormalities. The lungs appear normal."),
    (LIVER, "yes", "No, the image does not contain the liver; it is an MRI of the brain."),
    (LIVER, "yes", "No, the image is a chest X-ray, which does not include the liver."),
    (LIVER, "yes", "No, the picture is a PET scan."),
    (LIVER, "no", "Yes, the image is a CT of the abdomen, showing the liver."),
    ("Are there multiple lesions?", "yes", "No, there is only a single lesion."),
    ("Is the heart enlarged?", "no", "Yes, the X-ray shows a normal-sized heart without cardiomegaly."),
    ("Is there a mass or a cyst?", "yes", "There is no mass."),
    (LUNG, "no", "Yes, there is a large mass in the left lung."),
    (LIVER, "no", "Yes, it is a CT that includes the liver."),
]


@pytest.mark.parametrize(("question", "truth", "response"), LEFT_OVER)
def test_an_answer_that_other_words_would_contradict_stays(question, truth, response):
    assert edited(question, truth, response) is None


TURNED = [
    (LUNG, "no", "Yes. This is a CT of the chest.", "No. This is a CT of the chest."),
    ("Is this an mri?", "yes", "No, the image is a CT scan.", "Yes, the image is an MRI scan."),
    ("Is this a plain film?", "yes", "No, it is a CT scan.", "Yes, it is an X-ray scan."),
    ("Is this a FLAIR image?", "yes", "No, this is a T1 image.", "Yes, this is a FLAIR image."),
    (
        "Can the organ that pumps blood be seen?",
        "yes",
        "No, the image does not show any organ that pumps blood.",
        "Yes, the image shows an organ that pumps blood.",
    ),
]


@pytest.mark.parametrize(("question", "truth", "response", "other"), TURNED)
def test_answers_are_turned_with_what_belongs_to_them(question, truth, response, other):
    assert edited(question, truth, response) == other


def test_a_judge_may_not_leave_the_finding_behind():
    record = Record("r", (), LUNG, "yes")
    response = "Yes. The mass in the left lung is well defined."
    reply = VqaReply("Yes", "yes", True, "No")
    with pytest.raises(ReplyError, match="goes on as if it were yes"):
        Contract.of(EditConfig()).accept(record, response, reply, "a model")
    both = VqaReply(response, "yes", True, "No. No mass in the left lung is well defined.")
    assert Contract.of(EditConfig()).accept(record, response, both, "a model").chosen == response


COUNTS = [("4", True), ("four", True), ("There are four.", True), ("There are 4 lesions.", True), ("Three", False),
          ("There are 4 kidneys.", None), ("At least four.", None), ("4 or 5", None)]  # fmt: skip


@pytest.mark.parametrize(("response", "correct"), COUNTS)
def test_numbers_in_figures_and_in_words_are_one(response, correct):
    for truth in ("4", "four", "Four."):
        record = Record("r", (), "How many lesions are there?", truth)
        assert understand(record, load_vocabulary()).read(response).correct is correct


def test_a_truth_with_both_yes_and_no_is_neither():
    for truth in ("yes, no", "No. Yes.", "yes\nno"):
        assert polar_truth("Is it?", truth, "en") is None
    assert polar_truth("Is it?", "Yes, nodules.", "en") == "yes"


def test_fixed_names_can_be_added(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("fixed:\n  en: [left handed person]\n", encoding="utf-8")
    record = Record("r", (), "Who is it?", "Left handed person")
    assert isinstance(RuleJudge(EditConfig(vocabulary=str(path))).judge(record, "Left handed person"), Abstain)


@pytest.mark.parametrize(
    ("language", "question", "response"),
    [
        ("en", "Are some ribs broken?", "Some ribs are broken."),
        ("en", "Are any ribs broken?", "Yes, any ribs are broken."),
        ("en", "Is only one lung affected?", "Only one lung is affected."),
        ("en", "Are all ribs intact?", "All of the ribs are intact."),
        ("en", "Does everything look normal?", "Everything looks normal."),
        ("zh", "所有肋骨都是完整的吗?", "所有肋骨都是完整的。"),
        ("zh", "图中有一些结节吗?", "图中有一些结节。"),
    ],
)
def test_what_a_quantifier_stands_before_is_not_denied(language, question, response):
    """That some are not broken leaves open whether others are; so do all that are not intact."""
    assert isinstance(JUDGE.judge(Record("r", (), question, "no", language=language), response), Abstain)


@pytest.mark.parametrize(
    ("question", "response", "denied"),
    [
        ("Is there at least one lesion?", "There is at least one lesion.", "There is not at least one lesion."),
        ("Are there both kidneys?", "There are both kidneys.", "There are not both kidneys."),
        ("Does the image show both kidneys?", "The image shows both kidneys.", "The image does not show both kidneys."),
        ("Does the image show some nodules?", "The image shows some nodules.", "The image shows no nodules."),
    ],
)
def test_a_quantifier_behind_the_denial_stays(question, response, denied):
    assert JUDGE.judge(Record("r", (), question, "no"), response).chosen == denied
