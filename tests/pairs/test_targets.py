"""What the noise should hide."""

import json
from dataclasses import replace

import pytest

from firempo_plugin.endpoint.json_reply import ReplyError
from firempo_plugin.pairs.config import BuildConfig
from firempo_plugin.pairs.judges.targets import parse_target, rule_target
from firempo_plugin.pairs.steps.target import TargetStep
from firempo_plugin.records import Edit, Record
from firempo_plugin.store.engine import Item

NOTHING = [
    ("What modality is used to take this image?", "X-Ray"),
    ("Is this an MRI?", "No"),
    ("Was this image taken with contrast?", "yes"),
    ("Is this a T1 weighted image?", "yes"),
    ("In what plane is this image scanned?", "Coronal Plane"),
    ("Is this a PA film?", "yes"),
    ("Which part of the body does this image belong to?", "Chest"),
    ("Is this a study of the head?", "no"),
    ("What organ system is pictured?", "Chest"),
    ("Is this image normal?", "no"),
    ("Are there abnormalities in this image?", "yes"),
    ("Does the picture contain liver?", "No"),
    ("How many eyes are shown?", "0"),
    ("Is there a fracture?", "No"),
    ("Is there a foo bar?", "No"),
    ("Is there a catheter?", "No"),
    ("Is there an abnormality?", "Yes"),
    ("Is there any shift?", "Yes"),
    ("Does the image show the left and right?", "Yes"),
    ("How to prevent it?", "Keep healthy"),
]


@pytest.mark.parametrize(("question", "truth"), NOTHING)
def test_questions_about_no_part_in_particular_have_no_target(question, truth):
    target = rule_target(Record("r", (), question, truth), truth)
    assert target.phrase is None
    assert target.reason


PHRASES = [
    ("Does the picture contain liver?", "Yes", "liver"),
    ("Is there a pleural effusion?", "Yes", "pleural effusion"),
    ("Is there a pleural effusion?", "No", "lung"),
    ("Is there a right-sided pleural effusion?", "No", "right lung"),
    ("Is there a right-sided pleural effusion?", "yes", "right pleural effusion"),
    ("Can nodule be observed on the lower left lung in this picture?", "No", "lower left lung"),
    ("Does the patient have liver cancer?", "No", "liver"),
    ("Is the left kidney normal?", "Yes", "left kidney"),
    ("Is there deviation in the trachea?", "No", "trachea"),
    ("Is there contrast in the colon?", "No", "colon"),
    ("Where is the brain edema?", "Upper Left Lobe", "left brain edema"),
    ("Where is the abnormality?", "Right lung", "right lung"),
    ("Where is the heart?", "Top", "heart"),
    ("What is the largest organ in the picture?", "Lung", "lung"),
    ("What color is the liver?", "Gray", "liver"),
    ("Which is bigger, heart or right lung?", "Right Lung", "right lung"),
    ("What diseases are included in the picture?", "Pneumothorax", "pneumothorax"),
    ("What hepatic abnormality is this?", "something", "liver"),
    ("What is occluded?", "Left vertebral artery", "left vertebral artery"),
    ("Is the aortic knob widened?", "No", "aortic knob"),
    ("Are the vertebral arteries in view?", "Yes", "vertebral artery"),
    ("Are there bone fractures?", "No", "bone"),
    ("Is there a skull fracture?", "No", "skull"),
    ("Are there multiple lesions in the chest?", "No", "chest"),
    ("Can effusion be observed on the right chest?", "No", "right lung"),
    ("Is there an aortic aneurysm?", "No", "aorta"),
    ("Is there cirrhosis on the right side?", "No", "liver"),
    ("Is there blunting of the left costophrenic angle?", "Yes", "left costophrenic angle"),
    ("Which half is dark?", "Left half of the lung", "left lung"),
]
DEVICES = [
    ("Is there a pacemaker?", "Yes", "pacemaker"),
    ("Is there a pacemaker?", "No", "chest"),
    ("Are there any pacemaker leads?", "No", "heart"),
    ("Is there an endotracheal tube?", "No", "trachea"),
    ("Is this patient intubated?", "No", "trachea"),
    ("Is an NG tube present?", "No", "stomach"),
    ("Is there a chest tube on the left?", "No", "left lung"),
    ("Is there a PICC line?", "No", "chest"),
    ("Is there a stent in the aorta?", "No", "aorta"),
    ("Is a VP shunt seen?", "No", "ventricle"),
    ("Are there surgical clips?", "Yes", "surgical clip"),
    ("Is there a catheter in the bladder?", "Yes", "catheter"),
    ("Is the ET tube properly placed?", "No", "endotracheal tube"),
    ("What is the foreign body?", "A catheter", "catheter"),
    ("Where is the catheter tip located?", "Right superior cavoatrial junction", "right superior cavoatrial junction"),
]
SPOKEN_OF = [
    ("Is the mass enhancing?", "No", "mass"),
    ("Are the lesions only in one lobe?", "No", "lesion"),
    ("Is the mass in the pancreas enhancing?", "No", "mass"),
    ("Is there enhancement of the lesion?", "No", "lesion"),
    ("Is this lesion loculated?", "No", "lesion"),
    ("Is there herniation of the brainstem secondary to the lesion?", "No", "brainstem"),
    ("Is this a cyst in the left lung?", "No", "left lung"),
    ("Is the nodule visible?", "No", None),
    ("Does the image show the nodule?", "No", None),
]
THINGS = [
    ("Is there a foo bar?", "Yes", "foo bar"),
    ("Is there any evidence of a foo bar in this image?", "Yes", "foo bar"),
    ("Can you see a caudate nucleus?", "Yes", "caudate nucleus"),
    ("Is the celiac trunk visualized and patent?", "Yes", "celiac trunk"),
    ("Is the right conal fascia inflamed?", "No", "right conal fascia"),
    ("Are the sulci blunted?", "Yes", "sulci"),
    ("Does the picture contain the organ that could be used for breathing?", "Yes", None),
    ("Does the image display the contents of the abdomen?", "Yes", "abdomen"),
    ("Is the process bilateral?", "Yes", None),
    ("Is the aortic arch shape abnormal?", "No", "aortic arch"),
    ("Is there restricted diffusion?", "Yes", None),
    ("Is there foo thickening?", "Yes", None),
    ("Does the image show the branches of the foo?", "Yes", None),
]


@pytest.mark.parametrize(("question", "truth", "phrase"), [*PHRASES, *DEVICES, *SPOKEN_OF, *THINGS])
def test_the_phrase_names_what_one_must_look_at(question, truth, phrase):
    assert rule_target(Record("r", (), question, truth), "").phrase == phrase


def test_the_answer_is_asked_last():
    record = Record("r", (), "Where is it?", "over there")
    assert rule_target(record, "left kidney").phrase == "left kidney"
    assert rule_target(record, "dunno").phrase is None


CLAIMS = [
    ("Is there a nodule?", "Yes, there is a nodule in the left lung.", "left lung"),
    ("Is there a nodule?", "Yes, in the right upper abdominal wall.", "right upper abdominal wall"),
    ("Is there a nodule?", "There is a nodule. The heart is enlarged.", None),
    ("Is there a nodule?", "There is no nodule in the left lung.", None),
    ("Is there a nodule in the liver?", "Yes, there is a nodule in the left lung.", "liver"),
    ("Is there a pneumothorax?", "Yes, in the left lung.", "lung"),
]


@pytest.mark.parametrize(("question", "claimed", "phrase"), CLAIMS)
def test_what_could_be_anywhere_is_where_the_wrong_side_says(question, claimed, phrase):
    assert rule_target(Record("r", (), question, "No"), "yes", claimed=claimed).phrase == phrase


def test_the_step_hands_the_wrong_side_on_where_the_truth_is_no():
    step = TargetStep(BuildConfig(), None)
    wrong = "Yes, there is a nodule in the left lung."
    item = Item(Record("r", (), "Is there a nodule?", "No"), edit=Edit("No.", wrong, False, "yes", "rules"))
    assert step.run(item)["phrase"] == "left lung"
    other = replace(item, edit=replace(item.edit, rejected="Yes, there is a nodule in the right lung."))
    assert step.key(other) != step.key(item)


def test_reports_and_unknown_languages_have_no_target():
    assert rule_target(Record("r", (), "Report.", "Pneumothorax.", kind="report"), "").phrase is None
    assert rule_target(Record("r", (), "Welche Niere?", "links", language="de"), "").phrase is None


CHINESE = [
    ("这是什么类型的医学图像?", "CT", None),
    ("图像里包含脾脏吗?", "不包含", None),
    ("这张图像里有肺吗?", "有", "lung"),
    ("图中心脏在哪?", "顶部", "heart"),
    ("左肺有气胸吗?", "没有", "left lung"),
    ("是否有胸腔积液?", "没有", "lung"),
    ("病变在哪里?", "右肺", "lesion"),
    ("图片中哪个器官属于神经系统?", "脊髓", "spinal cord"),
]


@pytest.mark.parametrize(("question", "truth", "phrase"), CHINESE)
def test_chinese_questions_have_english_phrases(question, truth, phrase):
    found = rule_target(Record("r", (), question, truth, language="zh"), "").phrase
    assert found is None if phrase is None else phrase in found


def test_real_questions_have_short_phrases(real):
    paths = [real.folder / "med-vlm-dpo" / f"{name}_train_llavamed_format.jsonl" for name in ("SLAKE", "VQA_RAD")]
    targeted = []
    for path in paths:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        targets = [
            rule_target(Record("r", (), row["text"].partition("\n")[0], str(row["gpt4_answer"])), "") for row in rows
        ]
        assert all(parse_target(target.phrase).phrase for target in targets if target.phrase)
        targeted.append(sum(target.phrase is not None for target in targets) / len(targets))
    assert all(0.4 < share < 0.8 for share in targeted), targeted


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("left lung", "left lung"),
        ("  Target: `Left lung`. ", "left lung"),
        ('"brain tumor"', "brain tumor"),
        ('{"target": "T2 hyperintense lesion"}', "t2 hyperintense lesion"),
        ("```json\n{'target': 'liver'}\n```", "liver"),
        ("non-enhancing tumor", "non-enhancing tumor"),
        ("左肺", "左肺"),
        ("none", None),
        ("None.", None),
        ('{"target": null}', None),
        ("", None),
        ("无", None),
    ],
)
def test_a_judges_phrase_is_read(text, phrase):
    assert parse_target(text).phrase == phrase


@pytest.mark.parametrize(
    "text",
    [
        "The image shows a lesion in the left lung.",
        "the left lung",
        "a large round opacity next to heart border",
        "left lung; right lung",
        "<mask>",
        "left\nlung",
        "../../etc",
        '{"target": ["lung"]}',
        "{broken",
        "这个问题问的是左侧肺部下叶的病变区域",
    ],
)
def test_a_judges_prose_is_refused(text):
    with pytest.raises(ReplyError):
        parse_target(text)
