"""Responses as models write them: reasoning, a conclusion, remarks beside the answer; options with letters."""

import pytest

from firempo_plugin.answers.lettered import lettered_options, right_option
from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.questions import understand
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())
HEART = "Is the heart enlarged?"
LUNG = "Which organ is abnormal?"
LETTERS = "What is shown? A) Lung cyst B) Cyst C) Pneumothorax D) No finding"


def edited(question: str, truth: str, response: str, language: str = "en") -> tuple[bool | None, str | None]:
    """The verdict, and the other side of the pair; None where the rules abstain."""
    record = Record("r", (), question, truth, language=language)
    verdict = understand(record, load_vocabulary()).read(response).correct
    edit = JUDGE.judge(record, response)
    if isinstance(edit, Abstain):
        return verdict, None
    assert edit.was_correct is verdict
    return verdict, edit.rejected if verdict else edit.chosen


READ = [
    (
        HEART,
        "yes",
        "I reviewed the whole film, so the answer is no.",
        "I reviewed the whole film, so the answer is yes.",
    ),
    (HEART, "no", "The heart is enlarged, so the answer is yes.", "The heart is not enlarged, so the answer is no."),
    (HEART, "no", "Yes. The remaining structures are unremarkable.", "No. The remaining structures are unremarkable."),
    (
        HEART,
        "no",
        "The heart is enlarged. Please correlate clinically. The image quality is adequate.",
        "The heart is not enlarged. Please correlate clinically. The image quality is adequate.",
    ),
    (LUNG, "Lung", "Looking at the image closely. Therefore, the answer is: Heart", "the answer is: Lung"),
    (
        LUNG,
        "Lung",
        "The abnormal organ is the heart. Hence the answer is heart.",
        "is the lung. Hence the answer is lung.",
    ),
    (LUNG, "Lung", "The heart. No further findings are noted.", "The lung. No further findings are noted."),
    (LETTERS, "C", "B", "C"),
    (LETTERS, "C) Pneumothorax", "The correct option is B: Cyst.", "The correct option is C: Pneumothorax."),
    (LETTERS, "Pneumothorax", "I examined the image. Answer: A", "I examined the image. Answer: C"),
]


@pytest.mark.parametrize(("question", "truth", "response", "right"), READ)
def test_reasoning_before_and_remarks_after_an_answer_are_read(question, truth, response, right):
    verdict, other = edited(question, truth, response)
    assert verdict is False
    assert other is not None
    assert other.endswith(right)


READ_IN_CHINESE = [
    ("心脏是否增大?", "否", "仔细观察图像,因此答案是:是。", "仔细观察图像,因此答案是:否。"),
    ("有没有气胸?", "没有", "有气胸。其余部位未见明显异常。", "没有气胸。其余部位未见明显异常。"),
    ("病变在哪一侧?", "左侧", "图像质量良好。病变在右侧,建议结合临床。", "图像质量良好。病变在左侧,建议结合临床。"),
]


@pytest.mark.parametrize(("question", "truth", "response", "right"), READ_IN_CHINESE)
def test_chinese_reasoning_and_remarks_are_read(question, truth, response, right):
    verdict, other = edited(question, truth, response, "zh")
    assert verdict is False
    assert other is not None
    assert other == right or other == right.replace("否", "不是")


def test_a_chinese_answer_gets_chinese_words():
    for number in range(12):
        record = Record(str(number), (), "使用的是什么成像方式?", "CT", language="zh")
        edit = JUDGE.judge(record, "成像方式是CT。")
        assert not isinstance(edit, Abstain)
        assert "ray" not in edit.rejected
        assert "ultra" not in edit.rejected


DECIDED_ONLY = [
    (HEART, "yes", "The shadow is wider than half of the thorax. So the answer is yes.", True),
    (HEART, "yes", "The shadow is narrow, so the answer is no.", False),
    ("Is the mass solid or cystic?", "cystic", "The inside is dark. So the answer is cystic.", True),
]


@pytest.mark.parametrize(("question", "truth", "response", "correct"), DECIDED_ONLY)
def test_reasons_that_would_contradict_another_answer_give_a_verdict_and_no_pair(question, truth, response, correct):
    assert edited(question, truth, response) == (correct, None)


UNDECIDED = [
    (LUNG, "Lung", "The Lung is normal, so the answer is Temporal Lobe."),
    (LUNG, "Lung", "The heart is abnormal, so the answer is lung."),
    (HEART, "yes", "The heart is not enlarged. The answer is yes."),
    ("Is there an effusion?", "yes", "There is no effusion, although certainty is impossible."),
    ("What disease is shown?", "pneumonia", "The disease shown is pneumothorax, so the answer is pneumonia."),
    (LETTERS, "C", "C looks like what the upper arrow marks."),
    ("Where is the effusion?", "right", "The effusion is in the left lung, so the answer is right."),
    (LETTERS, "C", "C: Cyst"),
    (LETTERS, "C", "It is A or C."),
    (LETTERS, "C", "A pneumothorax is unlikely."),
    (LETTERS, "C", "Not C."),
]


@pytest.mark.parametrize(("question", "truth", "response"), UNDECIDED)
def test_contradictions_are_left_open(question, truth, response):
    assert edited(question, truth, response) == (None, None)


def test_what_is_asked_about_is_no_remark():
    assert edited("Is the image quality good?", "no", "The image quality is good.")[0] is False
    assert edited("Is the image normal?", "no", "Yes. There are no further findings of note.") == (False, None)


TRUTH_ONLY = [
    ("Where is the nodule?", "Lower Left Lung", "Anterior upper left lung", "Lower left lung"),
    ("Where is the nodule?", "Left Lung", "Right lung, medial part", None),
    ("Where is the heart?", "Top", "The heart is in the lower abdomen.", None),
    ("Where is the nodule in the lung?", "Lower right lung", "The nodule in the lung is in the left lung.", None),
]


@pytest.mark.parametrize(("question", "truth", "response", "right"), TRUTH_ONLY)
def test_a_correction_states_the_truth_and_nothing_else(question, truth, response, right):
    assert edited(question, truth, response) == (False, right) or (
        right is None and not edited(question, truth, response)[1]
    )


NO_OPPOSITE = [
    ("Where is the kidney?", "Symmetrical to the bottom spine"),
    ("Where are they?", "Left and right sides of the skull"),
    ("What part is it?", "Chest (respiratory system)"),
    ("What plane is it?", "Transverse plane (axial)"),
]


@pytest.mark.parametrize(("question", "truth"), NO_OPPOSITE)
def test_what_has_no_opposite_as_a_whole_is_left_alone(question, truth):
    assert edited(question, truth, truth) == (True, None)


def test_options_with_letters_are_read_with_their_texts():
    options = lettered_options("Which?\nA. Left lung\nB. Right lung")
    assert [(option.letter, option.text) for option in options] == [("A", "Left lung"), ("B", "Right lung")]
    assert lettered_options("Is vitamin A. good?") == ()
    assert lettered_options("A) x C) y") == ()
    assert [right_option(options, truth) for truth in ("B", "b. x", "left lung", "B) Right lung.")] == [1, None, 0, 1]
