"""How large and how severe: words of a scale, measures; and which attribute of a place is exchanged."""

from collections import Counter

import pytest

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())
HOW = ("How large is the nodule?", "What is the size of the nodule?", "How big is the nodule?")


def judged(question, truth, response, name="r", language="en"):
    return JUDGE.judge(Record(name, (), question, truth, language=language), response)


WRONG = [
    ("large", "The nodule is small.", "The nodule is large."),
    ("Small", "There is a large nodule in the left lung.", "There is a small nodule in the left lung."),
    ("moderate", "The nodule is small in size.", "The nodule is moderate in size."),
    ("tiny", "huge", "tiny"),
    ("3 cm", "The nodule measures about 5 cm in diameter.", "The nodule measures about 3 cm in diameter."),
    ("30 mm", "It is 5.5cm.", "It is 30 mm."),
    ("3 x 4 cm", "The nodule is 3 x 9 cm.", "The nodule is 3 x 4 cm."),
    ("6 cm", "There is an 18 mm nodule.", "There is a 6 cm nodule."),
]


@pytest.mark.parametrize("question", HOW)
@pytest.mark.parametrize(("truth", "response", "corrected"), WRONG)
def test_another_size_is_replaced_by_the_truths(question, truth, response, corrected):
    edit = judged(question, truth, response)
    assert not isinstance(edit, Abstain), edit.reason
    assert (edit.was_correct, edit.chosen) == (False, corrected)


RIGHT = [
    ("small", "The nodule is small.", {"The nodule is large."}),
    ("Large", "The nodule is big.", {"The nodule is small."}),
    ("moderate", "The nodule is of moderate size.", {"The nodule is of small size.", "The nodule is of large size."}),
    ("3 cm", "It measures 3.0 cm.", {f"It measures {n} cm." for n in (1.0, 1.5, 6.0, 9.0)}),
    ("3 cm", "It measures 30 mm.", {f"It measures {n} mm." for n in (10, 15, 60, 90)}),
    ("5 cm", "A 5cm nodule.", {f"A {n}cm nodule." for n in (2, 10, 15)}),
    ("16 cm", "It is 16 cm.", {"It is 5 cm.", "It is 8 cm."}),
    ("3 x 4 cm", "4.0 x 3.0 cm", {"8.0 x 6.0 cm", "2.0 x 1.5 cm", "1.3 x 1.0 cm", "12.0 x 9.0 cm"}),
]  # fmt: skip


@pytest.mark.parametrize("question", HOW)
@pytest.mark.parametrize(("truth", "response", "others"), RIGHT)
def test_a_right_size_becomes_plainly_another_one_by_the_records_id(question, truth, response, others):
    edits = {name: judged(question, truth, response, str(name)) for name in range(40)}
    assert all(edit.was_correct and edit.chosen == response for edit in edits.values())
    assert {edit.rejected for edit in edits.values()} == others
    assert edits[7] == judged(question, truth, response, "7")


LEFT = [
    ("small", "The nodule is 3 cm."),
    ("3 cm", "The nodule is small."),
    ("large", "The nodule is large, about 4 cm."),
    ("tiny", "The nodule is small."),
    ("3 cm", "It measures 3.2 cm."),
    ("3 cm", "It is less than 3 cm."),
    ("3 cm", "It measures 2-3 cm."),
    ("3 cm", "It measures between 3 and 5 cm."),
    ("3 cm", "The nodule is 3 cm from the pleura."),
    ("3 x 4 cm", "It measures 3 cm."),
    ("large", "The nodule is not large."),
    ("large", "The nodule may be large."),
    ("small", "The nodule is in the large right lung."),
    ("small", "The nodule is in the left lung. The heart is large."),
    ("small", "The heart size is large."),
    ("small", "The mass is large."),
    ("small", "The small nodule is close to a large one."),
    ("small", "There are 2 large nodules."),
    ("8 cm", "There is a 3 cm nodule."),
    ("small", "The nodule is small, which suggests that it is benign."),
    ("small to moderate", "The nodule is large."),
]


@pytest.mark.parametrize("question", HOW)
@pytest.mark.parametrize(("truth", "response"), LEFT)
def test_what_cannot_be_compared_is_left_alone(question, truth, response):
    assert isinstance(judged(question, truth, response), Abstain)


def test_how_severe_is_read_by_the_same_scale():
    edit = judged("How severe is the stenosis?", "mild", "The stenosis is severe.")
    assert (edit.was_correct, edit.chosen) == (False, "The stenosis is mild.")
    assert judged("How severe is the stenosis?", "Mild", "mild stenosis").rejected == "severe stenosis"
    assert isinstance(judged("How severe is the stenosis?", "mild", "It is a small stenosis."), Abstain)


CHINESE = [
    ("小", "结节很大。", False, "结节很小。"),
    ("小", "结节较小。", True, "结节较大。"),
    ("3厘米", "结节大小约5cm。", False, "结节大小约3厘米。"),
    ("巨大", "结节小。", False, "结节巨大。"),
    ("大", "结节不大。", None, ""),
    ("小", "结节大于3cm。", None, ""),
    ("大", "大约", None, ""),
]


@pytest.mark.parametrize(("truth", "response", "correct", "other"), CHINESE)
def test_chinese_sizes_are_read(truth, response, correct, other):
    edit = judged("结节有多大?", truth, response, language="zh")
    found = (
        (None, "") if isinstance(edit, Abstain) else (edit.was_correct, (edit.chosen, edit.rejected)[edit.was_correct])
    )
    assert found == (correct, other)


def test_one_attribute_is_changed_whichever_there_are():
    response = "The opacity is in the left upper lung."
    edits = [judged("Where is the opacity?", "Left upper lung", response, str(name)) for name in range(60)]
    found = Counter(edit.rejected for edit in edits)
    assert set(found) == {response.replace("left", "right"), response.replace("upper", "lower")}
    assert min(found.values()) > 15


def test_a_right_side_stays_where_the_level_alone_is_wrong():
    edit = judged("Where is the opacity?", "Left upper lung", "The opacity is in the left lower lung.")
    assert (edit.was_correct, edit.chosen) == (False, "The opacity is in the left upper lung.")
