"""Chinese questions in the manner of SLAKE, with answers that are right, wrong, or not to be decided."""

import pytest

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.questions import understand
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())
SAYS = {
    ("图像中有肝脏吗?", "有"): {
        "right": ["有。", "图像中有肝脏。", "是的,图像中可以看到肝脏。"],
        "wrong": ["没有。", "图像中没有肝脏。", "未见肝脏。"],
        "open": ["图像中可能有肝脏。", "图像中有脾脏。"],
    },
    ("这张图像是否显示肿块?", "否"): {
        "right": ["否", "未见肿块。", "图像中没有显示肿块。"],
        "wrong": ["是", "图像显示肿块。"],
        "open": ["不排除肿块。", "不是没有肿块。"],
    },
    ("左肺有没有积液?", "有"): {
        "right": ["左肺有积液。"],
        "wrong": ["左肺没有积液。"],
        "open": ["右肺有积液。", "右肺没有积液。", "无法判断左肺有没有积液。"],
    },
    ("心脏是否增大?", "是"): {
        "right": ["是的,心脏增大。"],
        "wrong": ["心脏没有增大。", "心脏大小正常。"],
        "open": ["肝脏增大。"],
    },
    ("肺部正常吗?", "不正常"): {
        "right": ["肺部不正常。", "肺部异常。"],
        "wrong": ["肺部正常。"],
        "open": ["肺部大致正常,但有结节。"],
    },
    ("这是CT图像吗?", "不是"): {
        "right": ["不是,这是MRI图像。", "这是X光片。"],
        "wrong": ["是的,这是CT图像。", "这是一张CT图像。"],
        "open": [],
    },
    ("病变位于左侧还是右侧?", "左侧"): {
        "right": ["病变位于左侧。"],
        "wrong": ["病变位于右侧。"],
        "open": ["病变不在右侧。", "左侧和右侧都有病变。"],
    },
    ("异常的器官是心脏还是肺?", "肺"): {"right": ["异常的器官是肺。"], "wrong": ["心脏"], "open": ["心脏和肺都异常。"]},
    ("使用的是什么成像方式?", "X光"): {
        "right": ["X射线", "这张图像使用的是X光。"],
        "wrong": ["CT", "这是磁共振成像。"],
        "open": [],
    },
    ("这是哪个平面?", "横断面"): {
        "right": ["轴位", "这是横截面图像。"],
        "wrong": ["冠状面", "这是矢状面图像。"],
        "open": [],
    },
    ("图像中最大的器官是什么?", "肝脏"): {
        "right": ["图像中最大的器官是肝脏。"],
        "wrong": ["最大的器官是脾脏。"],
        "open": ["最大的器官是肝脏或脾脏。", "最大的器官不是肝脏。"],
    },
    ("图中有几个肾脏?", "2"): {
        "right": ["两个", "图中有2个肾脏。", "二"],
        "wrong": [],
        "open": ["图中有两三个肾脏。", "图中有两个器官。"],
    },
    ("图像属于身体的哪个部位?", "腹部"): {
        "right": ["腹部", "图像属于腹部。"],
        "wrong": ["胸部", "图像属于头部。"],
        "open": [],
    },
    ("疾病位于哪里?", "右肺上叶"): {"right": ["右肺上叶"], "wrong": ["右肺下叶", "左肺上叶"], "open": []},
    ("诊断是什么?", "多发性硬化"): {"right": ["多发性硬化"], "wrong": [], "open": ["多发性脑梗死"]},
    ("主要的疾病是什么?", "气胸"): {
        "right": ["气胸", "主要的疾病是气胸。"],
        "wrong": [],
        "open": ["胸腔积液", "没有气胸"],
    },
    ("图中的器官会蠕动吗?", "会"): {"right": ["会", "会的。"], "wrong": ["不会"], "open": ["也许会"]},
    ("肺部的颜色是什么?", "黑色"): {"right": ["黑色", "肺部是黑色的。"], "wrong": ["白色"], "open": []},
    ("肺里没有结节吗?", "是"): {"right": [], "wrong": [], "open": ["是", "没有"]},
    ("如何治疗图中的疾病?", "手术"): {"right": ["手术"], "wrong": [], "open": ["药物"]},
    ("图中病变的大小如何?", "大"): {"right": ["大"], "wrong": ["小"], "open": []},
    ("气管居中吗?", "是"): {"right": ["是的。", "气管居中。"], "wrong": ["气管不居中。"], "open": ["气管偏右。"]},
}
VERDICTS = {"right": True, "wrong": False, "open": None}
CASES = [
    (question, truth, response, VERDICTS[verdict])
    for (question, truth), answers in SAYS.items()
    for verdict, responses in answers.items()
    for response in responses
]


@pytest.mark.parametrize(("question", "truth", "response", "correct"), CASES)
def test_answers_are_read(question, truth, response, correct):
    record = Record("r", (), question, truth, language="zh")
    reading = understand(record, load_vocabulary()).read(response)
    assert reading.correct is correct, reading.reason
    edit = JUDGE.judge(record, response)
    if not isinstance(edit, Abstain):
        assert edit.was_correct is correct
        other = edit.rejected if correct else edit.chosen
        assert understand(record, load_vocabulary()).read(other).correct is not correct


EDITS = [
    ("图像中有肝脏吗?", "有", "图像中没有肝脏。", "图像中有肝脏。"),
    ("这是CT图像吗?", "不是", "不是,这是MRI图像。", "是,这是CT图像。"),
    ("这是哪个平面?", "横断面", "这是矢状面图像。", "这是横断面图像。"),
    ("图中有几个肾脏?", "2", "图中有三个肾脏。", "图中有两个肾脏。"),
    ("异常的器官是心脏还是肺?", "肺", "心脏", "肺"),
    ("诊断是什么?", "多发性硬化", "多发性硬化", None),
    ("左肺有积液吗?", "有", "有。左肺的积液很多。", None),
]


@pytest.mark.parametrize(("question", "truth", "response", "edited"), EDITS)
def test_answers_are_edited(question, truth, response, edited):
    record = Record("r", (), question, truth, language="zh")
    edit = JUDGE.judge(record, response)
    if edited is None:
        assert isinstance(edit, Abstain)
    else:
        assert edited in (edit.chosen, edit.rejected)


BY_HAND = [
    ("图像里包含脾脏吗?", "不包含", "不包含", True, "包含"),
    ("图像里包含脾脏吗?", "不包含", "图像里没有脾脏。", True, "图像里有脾脏。"),
    ("图像里包含脾脏吗?", "不包含", "是的,图像里包含脾脏。", False, "不是,图像里不包含脾脏。"),
    ("图像里包含脾脏吗?", "包含", "可能包含脾脏。", None, None),
    ("图像里包含脾脏吗?", "包含", "图像里有肝脏。", None, None),
    ("这张图像里有肺吗?", "有", "有", True, "没有"),
    ("这张图像是关于腹部么?", "不是", "这张图像是关于腹部的。", False, "这张图像不是关于腹部的。"),
    ("肺健康吗?", "不健康", "肺是健康的。", False, "肺不是健康的。"),
    ("是否有积液?", "没有", "未见积液。", True, "可见积液。"),
    ("是否有积液?", "没有", "不能排除积液。", None, None),
    ("病变在哪里?", "左肺", "病变在右肺。", False, "病变在左肺。"),
    ("病变在哪里?", "左肺", "病变在左肺。", True, "病变在右肺。"),
    ("病变在哪里?", "左肺", "病变不在左肺。", None, None),
    ("这是什么类型的医学图像?", "CT", "核磁共振", False, "CT"),
    ("哪个器官更大,肝脏还是脾脏?", "肝脏", "脾脏更大。", False, "肝脏更大。"),
    ("在这张图片里有多少个肺?", "2", "有两个肺。", True, "有三个肺。"),
]


@pytest.mark.parametrize(("question", "truth", "response", "correct", "edited"), BY_HAND)
def test_answers_are_read_and_edited(question, truth, response, correct, edited):
    record = Record("r", (), question, truth, language="zh")
    assert understand(record, load_vocabulary()).read(response).correct is correct
    edit = JUDGE.judge(record, response)
    if edited is None:
        assert isinstance(edit, Abstain)
    else:
        assert (edit.chosen, edit.rejected) == ((response, edited) if correct else (edited, response))
