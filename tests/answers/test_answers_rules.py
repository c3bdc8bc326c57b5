"""The judge made of rules: what it decides, what it leaves open, how it edits; and its vocabulary."""

import pytest

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.answers.questions import understand
from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())

EFFUSION = "Is there an effusion?"
HEART = "Is the heart enlarged?"
CT = "Is this a CT?"
LUNG = "Is there a mass in the left lung?"
POLAR = {
    EFFUSION: {
        "yes": [
            "Yes",
            "YES.",
            "**Yes**",
            "The answer is yes.",
            "Answer: Yes",
            "So, the answer is: yes",
            "Yes, there is an effusion.",
            "Yes, it is likely that there is one.",
            "There is an effusion.",
            "The image shows a small effusion in the left lung.",
            "A pleural effusion is seen.",
            "No evidence of pneumothorax but an effusion is present.",
            "Is there an effusion? Yes.",
        ],
        "no": [
            "no",
            "No.",
            "Nope",
            "The final answer is no.",
            "No, there is no effusion.",
            "No, but there is a pneumothorax.",
            "No the image shows none.",
            "There is no effusion.",
            "There isn't any effusion.",
            "No evidence of effusion but a mass.",
            "No pneumothorax, effusion, or consolidation.",
            "Neither an effusion nor a pneumothorax is seen.",
            "An effusion is not seen.",
            "Effusion: none.",
            "Effusion: absent",
            "The image is free of effusion.",
            "The X-ray is without effusion.",
        ],
        None: [
            "",
            "An effusion cannot be excluded.",
            "Yes and no.",
            "Yes or no cannot be determined.",
            "No, it cannot be determined from this image.",
            "Yes, the patient has no effusion.",
            "No. There is an effusion.",
            "There is an effusion. There is no effusion.",
            "There may be an effusion.",
            "An effusion is unlikely.",
            "It is difficult to say whether there is an effusion.",
            "Not only an effusion but also a mass.",
            "There is no absence of effusion.",
            "It is not without an effusion.",
            "There is no large effusion.",
            "No significant effusion.",
            "No pneumothorax and an effusion.",
            "There was an effusion previously.",
            "The effusion has resolved.",
            "If there is an effusion, it is small.",
            "Without an effusion, this would be normal.",
            "There is no abnormality except an effusion.",
            "No doubt there is an effusion.",
            "There is no doubt that there is an effusion.",
            "No. 3 is an effusion.",
            "The mass was left untreated.",
            "The lungs are clear.",
            "The heart is normal.",
            "I would say no.",
            "The question asks for an effusion; is there an effusion?",
        ],
    },
    "Is there consolidation?": {None: ["The lungs are clear.", "The consolidation mimics a mass."]},
    "Is there a pleural effusion?": {None: ["There is an effusion.", "There is a pericardial effusion."]},
    HEART: {
        "yes": ["The heart is enlarged.", "The heart appears enlarged in this chest X-ray."],
        "no": ["Not enlarged.", "The heart is not enlarged.", "The heart is of normal size."],
        None: [
            "The liver is enlarged and the heart is normal.",
            "The heart is next to an enlarged liver.",
            "The enlarged organ is not the heart.",
            "The heart isn't normal.",
            "The heart is almost enlarged.",
        ],
    },
    "Is the heart not enlarged?": {None: ["Yes.", "No.", "The heart is enlarged."]},
    "Are the lungs normal?": {
        "yes": ["The lungs are normal.", "Unremarkable."],
        "no": ["The lungs are abnormal."],
        None: ["The lungs look all right.", "The lungs are not abnormal.", "The right lung is normal."],
    },
    CT: {
        "yes": ["This is a CT scan.", "It is computed tomography.", "This is not an MRI but a CT."],
        "no": ["An MRI.", "This is an MRI scan.", "Not a CT.", "It is a plain radiograph.", "No, this is an MRI."],
        None: ["It is a PET/CT.", "This could be a CT.", "Yes, this is an MRI.", "This is a CT or an MRI."],
    },
    LUNG: {
        "yes": ["There is a mass in the left lung."],
        "no": ["There is no mass in the left lung.", "There is no mass."],
        None: ["There is a mass in the right lung.", "There is no mass in the right lung.", "There is a mass."],
    },
    "Is the lesion on the left?": {None: ["The lesion is right there.", "It was left out."]},
    "Does the picture contain liver?": {
        "yes": ["The picture contains the liver.", "It is a CT of the abdomen, which includes the liver."],
        "no": ["The liver is not shown.", "It is a chest X-ray, so it does not include the liver."],
        None: ["The picture contains the heart and lungs.", "Yes, the image shows the pancreas and not the liver."],
    },
    "Are there abnormalities in this image?": {
        "no": ["The image appears normal.", "The X-ray is normal, with no abnormalities detected."],
        None: ["The heart appears normal."],
    },
}
TABLE = [
    (question, response, says)
    for question, cases in POLAR.items()
    for says, responses in cases.items()
    for response in responses
]


@pytest.mark.parametrize(("question", "response", "says"), TABLE)
def test_yes_no_questions_by_hand(question, response, says):
    for truth in ("yes", "No."):
        reading = understand(Record("r", (), question, truth), load_vocabulary()).read(response)
        assert reading.correct == (None if says is None else says == truth.lower().strip(".")), reading.reason
        edit = JUDGE.judge(Record("r", (), question, truth), response)
        assert isinstance(edit, Abstain) or edit.was_correct is reading.correct


OTHERS = [
    ("Which organ is abnormal, heart or lung?", "Lung", "The lung", True),
    ("Which organ is abnormal, heart or lung?", "Lung", "The heart is abnormal.", False),
    ("Which organ is abnormal, heart or lung?", "Lung", "The lung, not the heart.", True),
    ("Which organ is abnormal, heart or lung?", "Lung", "The heart is normal.", None),
    ("Which organ is abnormal, heart or lung?", "Lung", "Both", None),
    ("Which organ is abnormal, heart or lung?", "Both", "Lung", None),
    ("Which organ is bigger, liver or spleen?", "Liver", "The liver is larger than the spleen.", True),
    ("Which organ is bigger, liver or spleen?", "Liver", "The spleen is smaller than the liver.", None),
    ("Which organ is bigger, liver or spleen?", "Liver", "The liver is not bigger than the spleen.", None),
    ("Which organ is bigger, liver or spleen?", "Liver", "Unlike the spleen, the liver is bigger.", None),
    ("Is the mass solid or cystic?", "Solid", "The mass has solid and cystic parts.", None),
    ("Is the mass solid or cystic?", "Solid", "It is neither.", None),
    ("Is the mass solid or cystic?", "Solid", "non-cystic", None),
    ("Is the mass solid or cystic?", "Solid", "It appears cystic.", False),
    ("Left or right lung?", "Left", "Both lungs", None),
    ("Is the mass in the left or right side?", "Left", "It was left untreated on the right.", None),
    ("Was this taken with or without contrast?", "With contrast", "Without contrast.", False),
    ("MRI, CT or X-ray?", "X-ray", "It is a plain radiograph.", True),
    ("What side is the mass on?", "Left", "The mass was left untreated.", None),
    ("What side is the mass on?", "Right", "The patient is all right.", None),
    ("What side is the mass on?", "Right", "It is not on the right.", None),
    ("What side is the mass on?", "Right", "On the left side of the patient's brain.", None),
    ("What plane is this?", "Axial", "The image is in the transverse plane.", True),
    ("What plane is this?", "Axial", "Coronal", False),
    ("What is the modality?", "CT", "It could be a CT or MRI.", None),
    ("What is the modality?", "MRI", "T2-weighted MR image", True),
    ("How was this image taken?", "X-ray", "This X-ray was taken using a mobile phone.", None),
    ("What organ system is pictured?", "Chest", "The chest X-ray shows the digestive system.", None),
    ("Where is the lesion?", "Left lung", "Right lung, not left lung.", None),
    ("Where is the lesion?", "Left lung", "In the left lung and in the right lung.", None),
    ("Where is the lesion?", "Left lung, right lung", "Right lung and left lung", True),
    ("Where is the lesion?", "Left lung, right lung", "Right lung", None),
    ("Where is the lesion?", "Upper left lobe", "Left upper lobe", True),
    ("Which organ is abnormal?", "Liver", "The liver is normal.", None),
    ("Which organ is abnormal?", "Liver", "Everything but the liver.", None),
    ("What organ is this?", "Liver", "Liver or spleen", None),
    ("What is not shown?", "Liver", "The image shows the liver.", None),
    ("How many lesions?", "2", "There are two lesions.", True),
    ("How many lesions?", "2", "There are 3 lesions.", False),
    ("How many lesions?", "2", "2 or 3", None),
    ("What size is it?", "5 cm", "50 mm", True),
    ("What size is it?", "5 cm", "5 mm", False),
    ("What is seen?", "Pneumonia", "No pneumonia is seen.", None),
    ("What is seen?", "Pneumonia", "Probably pneumonia.", None),
    ("What is seen?", "Pneumonia", "Consolidation", None),
    ("What is seen?", "Cardiomegaly", "An enlarged heart.", True),
    ("What color is the liver?", "Gray", "The liver is dark gray.", None),
    ("What diseases are in the picture?", "Nodule", "Lung tissue devoid of any nodules.", None),
    ("What diseases are in the picture?", "Lung cancer", "Fibrosis, distinct from lung cancer.", None),
    ("Which lobe is normal?", "Left", "The left lobe is abnormal.", None),
    ("Was contrast given or not?", "Contrast", "Yes", None),
    ("In which lung is the nodule?", "right lung", "The nodule is in the right upper lung.", True),
    ("In which lung is the nodule?", "right lung", "The nodule is in the left upper lung.", False),
    ("In which lung is the nodule?", "right lung", "The nodule is in the upper lung.", None),
    ("In which lung is the nodule?", "right lung", "It is not in the right upper lung.", None),
    ("In which lung is the nodule?", "right lung", "It is in the right upper or the left lower lung.", None),
    ("Where is the nodule?", "right lower lung", "The nodule is in the right upper lung.", False),
    ("Where is the lesion?", "left kidney", "In the left posterior kidney.", True),
]


@pytest.mark.parametrize(("question", "truth", "response", "correct"), OTHERS)
def test_choices_and_short_answers_by_hand(question, truth, response, correct):
    reading = understand(Record("r", (), question, truth), load_vocabulary()).read(response)
    assert reading.correct is correct, reading.reason


EDITS = [
    (EFFUSION, "yes", "Yes", "No"),
    (EFFUSION, "no", "Yes, there is an effusion.", "No, there is no effusion."),
    (EFFUSION, "yes", "No, there is no effusion.", "Yes, there is an effusion."),
    (EFFUSION, "yes", "NO", "YES"),
    (EFFUSION, "yes", "Yes. The image shows an effusion.", "No. The image shows no effusion."),
    (EFFUSION, "no", "No effusion is seen.", "An effusion is seen."),
    (HEART, "no", "The heart is not enlarged.", "The heart is enlarged."),
    (HEART, "no", "The heart doesn't appear enlarged.", "The heart appears enlarged."),
    ("Are there rib fractures?", "no", "There are no rib fractures.", "There are rib fractures."),
    ("Is there evidence of edema?", "no", "No, there is no evidence of edema.", "Yes, there is evidence of edema."),
    (
        "Does the picture contain liver?",
        "no",
        "No, the picture does not contain the liver.",
        "Yes, the picture contains the liver.",
    ),
    ("Does the picture contain liver?", "yes", "It is a CT of the abdomen, which includes the liver.", None),
    (
        "Does the picture contain eyes?",
        "no",
        "Yes, the image does contain eyes.",
        "No, the image does not contain eyes.",
    ),
    ("Is this an MRI?", "no", "No, this is a CT scan.", "Yes, this is an MRI scan."),
    ("Is this an MRI?", "yes", "This is an MRI.", "This is not an MRI."),
    (
        "Is the lung healthy?",
        "no",
        "Yes, the X-ray shows a healthy lung.",
        "No, the X-ray does not show a healthy lung.",
    ),
    ("Can the kidneys be seen?", "yes", "Yes, they can be seen.", "No, they cannot be seen."),
    ("Which organ is abnormal, heart or lung?", "Lung", "The heart is abnormal.", "The lung is abnormal."),
    (
        "Which is bigger, lung or heart?",
        "Lung",
        "The lung is bigger than the heart.",
        "The heart is bigger than the lung.",
    ),
    ("MRI, CT or X-ray?", "CT", "This is an MRI (magnetic resonance imaging) scan.", "This is a CT scan."),
    ("What side is it on?", "Left", "It is on the left side.", "It is on the right side."),
    ("Which lung?", "left lung", "The left-sided lung.", "The right-sided lung."),
    ("What plane is this?", "Transverse Plane", "Coronal Plane", "Transverse Plane"),
    ("Where is it?", "Upper Left", "It is on the right.", "It is on the upper left."),
    ("Where is it?", "Left Lung, Right", "Left lung, right", None),
    ("How many lungs?", "2", "There are three lungs.", "There are two lungs."),
    ("How many lungs?", "2", "2", "3"),
    ("What is the largest organ?", "Lung", "The largest organ is the right lung.", None),
    ("What is the most likely diagnosis?", "epidural hematoma", "An epidural hematoma.", "A subdural hematoma."),
    ("What is the function of the organ?", "Promote blood flow", "Promote blood flow", None),
]


@pytest.mark.parametrize(("question", "truth", "response", "edited"), EDITS)
def test_edits_are_minimal_and_grammatical(question, truth, response, edited):
    record = Record("r", (), question, truth)
    edit = JUDGE.judge(record, response)
    if edited is None:
        assert isinstance(edit, Abstain)
        return
    assert edited in (edit.chosen, edit.rejected)
    assert response in (edit.chosen, edit.rejected)


def test_the_answer_sentence_is_the_clause_that_states_the_answer():
    response = "This is a chest X-ray. Yes, there is an effusion; this is an X-ray."
    edit = RuleJudge(EditConfig(scope="answer_sentence")).judge(Record("r", (), EFFUSION, "no"), response)
    assert (edit.rejected, edit.chosen) == ("Yes, there is an effusion", "No, there is no effusion")
    assert (edit.final_answer, edit.was_correct) == ("yes", False)


def test_the_choice_depends_on_the_record_and_on_nothing_else():
    def edited(name):
        return JUDGE.judge(Record(name, (), "What organ is this?", "Spleen"), "Spleen").rejected

    assert {edited("a") for _ in range(5)} == {edited("a")}
    chosen = {edited(f"record {number}") for number in range(40)}
    assert chosen == {"Liver", "Kidney", "Stomach"}


def test_an_error_is_not_what_the_question_or_the_response_names():
    for number in range(20):
        record = Record(str(number), (), "Is the organ beside the liver seen? Which is it?", "Spleen")
        edit = JUDGE.judge(record, "The spleen is beside the liver.")
        assert isinstance(edit, Abstain) or "liver is beside" not in edit.rejected


def test_who_abstains_says_why():
    assert JUDGE.judge(Record("r", (), "Q?", ""), "x").reason == "the rules abstain: there is no ground truth"
    assert "language 'de'" in JUDGE.judge(Record("r", (), "Q?", "ja", language="de"), "ja").reason
    assert "both yes and no" in JUDGE.judge(Record("r", (), EFFUSION, "yes"), "Yes and no, yes or no.").reason
    assert "neither yes nor no" in JUDGE.judge(Record("r", (), EFFUSION, "yes"), "").reason


def test_edits_keep_the_bounds_of_the_run():
    record = Record("r", (), EFFUSION, "no")
    found = RuleJudge(EditConfig(max_words=1)).judge(record, "Yes, there is an effusion.")
    assert "at most 1 may change" in found.reason


TRUTH = "Heart size is normal. No pneumothorax. There is a small left pleural effusion."
REPORTS = [
    (TRUTH, "The heart is enlarged. There is no pleural effusion. No pneumothorax is seen.",
     "The heart is normal in size. There is a small left pleural effusion. No pneumothorax is seen."),
    ("No focal consolidation, pleural effusion, or pneumothorax.", "There is focal consolidation. No pneumothorax.",
     "There is no consolidation. No pneumothorax."),
    (TRUTH, "No pneumothorax or pleural effusion.", None),
    (TRUTH, "No pneumothorax. The aorta is tortuous.", None),
    (TRUTH, "Possible pneumothorax.", None),
    (TRUTH, "No large pneumothorax.", None),
    (TRUTH, "The pneumothorax has resolved.", None),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "response", "corrected"), REPORTS)
def test_reports_are_corrected_where_the_truth_says_the_opposite(truth, response, corrected):
    record = Record("r", (), "Write a report.", truth, kind="report")
    edit = JUDGE.judge(record, response)
    if corrected is None:
        assert isinstance(edit, Abstain)
    else:
        assert (edit.was_correct, edit.chosen) == (False, corrected)


def test_a_right_report_gets_one_error():
    errors = set()
    for number in range(30):
        record = Record(str(number), (), "Write a report.", TRUTH, kind="report")
        edit = JUDGE.judge(record, TRUTH)
        assert (edit.was_correct, edit.chosen) == (True, TRUTH)
        errors.add(edit.rejected)
    assert TRUTH.replace("left", "right") in errors
    assert TRUTH.replace("small", "large") in errors
    assert TRUTH.replace("No pneumothorax", "There is a pneumothorax") in errors


def test_the_vocabulary_can_be_extended(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text(
        "groups:\n  organ:\n    terms:\n      tonsil: {en: [tonsil], region: neck, opposites: [larynx]}\n"
        "      liver: {en: [hepar]}\n",
        encoding="utf-8",
    )
    judge = RuleJudge(EditConfig(vocabulary=str(path)))
    assert judge.judge(Record("r", (), "What organ is it?", "tonsil"), "The tonsil.").rejected == "The larynx."
    assert isinstance(JUDGE.judge(Record("r", (), "What organ is it?", "tonsil"), "The tonsil."), Abstain)
    assert judge.judge(Record("r", (), "What organ is it?", "liver"), "The hepar.").was_correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("organs: {}", "must hold groups by name"),
        ("fixed: {fr: [x]}", "fixed must hold lists"),
        ("fixed: {en: [no]}", "quote yes, no and on"),
        ("groups:\n  side: {terms: {}, ties: modality}", "groups.side.ties must be a list"),
        ("groups: [", "not readable YAML"),
        ("groups:\n  organ: {words: {}}", "groups.organ must hold terms"),
        ("groups:\n  organ:\n    terms:\n      tonsil: {eng: [tonsil]}", "tonsil must be a mapping with some of"),
        ("groups:\n  organ:\n    terms:\n      tonsil: {en: [no]}", "quote yes, no and on"),
        ("groups:\n  organ:\n    terms:\n      tonsil: {en: [x], paired: 2}", "true or false"),
        ("groups:\n  organ:\n    terms:\n      tonsil: {en: [x], opposites: [nose]}", "names 'nose', which is no term"),
        ("groups:\n  side:\n    terms:\n      liver: {en: [x]}", "term of the group organ already"),
    ],
)
def test_a_broken_vocabulary_is_refused(tmp_path, text, reason):
    path = tmp_path / "more.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as error:
        load_vocabulary(path)
    assert str(path) in str(error.value)


def test_a_missing_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        load_vocabulary(tmp_path / "absent.yaml")


def test_every_term_of_the_vocabulary_is_sound():
    vocabulary = load_vocabulary()
    for term in vocabulary.terms.values():
        assert term.en, term.name
        assert term not in vocabulary.alternatives(term)
        assert not (term.organ and vocabulary.terms[term.organ].group not in ("organ", "part")), term.name


def test_a_response_that_repeats_itself_takes_no_time():
    record = Record("r", (), EFFUSION, "yes")
    assert isinstance(JUDGE.judge(record, "there is no effusion. " * 360), Abstain)
    assert "more than 8000 characters" in JUDGE.judge(record, "there is no effusion. " * 5000).reason


@pytest.mark.parametrize(
    ("question", "truth", "response", "edited"),
    [
        (EFFUSION, "yes", "Yes, there is an effusion. It is small.", None),
        (HEART, "no", "Yes, the heart is enlarged, consistent with cardiomegaly.", None),
        (HEART, "no", "Yes, the heart is enlarged. The heart is normal.", None),
        ("Is there a fracture?", "yes", "Yes, there is a fracture. The heart is normal.", None),
        ("Is there a fracture?", "yes", "Yes, there is a fracture. This is a CT.", "No, there is no fracture. "),
        ("Is there a consolidation?", "yes", "Yes, there is a consolidation. The lungs are clear.", None),
        (EFFUSION, "yes", "No, the chest X-ray shows clear lungs without any signs of effusion.", None),
        ("Is the lung normal?", "yes", "No, the lung appears abnormal with clear signs of pathology.", None),
        ("Are these normal looking kidneys?", "yes", "No, the CT scan shows abnormal kidneys with lesions.", None),
    ],
)
def test_a_sentence_that_follows_must_fit_the_other_answer(question, truth, response, edited):
    found = JUDGE.judge(Record("r", ("a.png",), question, truth, "vqa"), response)
    if edited is None:
        assert isinstance(found, Abstain)
    else:
        assert edited in (found.rejected if found.was_correct else found.chosen)


@pytest.mark.parametrize(
    ("question", "truth", "response"),
    [
        (
            "Does the picture contain lung?",
            "No",
            "Yes, the CT prominently features the lung with no signs of the liver.",
        ),
        ("Does the picture contain lung?", "No", "Yes, the CT scan clearly shows the liver rather than the lungs."),
        ("What is the plane?", "Transverse Plane (Axial)", "The plane of this image is the coronal plane."),
        ("Which organ is part of the respiratory system?", "Lungs", "It is the liver, which is part of that system."),
        ("Where is the pulmonary nodule?", "Right upper lobe", "Left Lung"),
    ],
)
def test_an_edit_that_would_read_oddly_is_not_made(question, truth, response):
    """Another denial beside what was asked, another number before "which is", half of a noun phrase that stays."""
    assert isinstance(JUDGE.judge(Record("r", ("a.png",), question, truth), response), Abstain)


@pytest.mark.parametrize(
    ("question", "truth", "response", "edited"),
    [
        (
            "Is there an effusion?",
            "Yes",
            "This is a chest X-ray with no effusion.",
            "This is a chest X-ray with an effusion.",
        ),
        ("Where is the nodule?", "Right Lung", "Left Lung", "Right Lung"),
        ("Which organ is shown?", "Lung", "It is the liver, which is large.", None),
    ],
)
def test_what_reads_well_beside_it_is_still_made(question, truth, response, edited):
    found = JUDGE.judge(Record("r", ("a.png",), question, truth), response)
    assert (None if isinstance(found, Abstain) else found.chosen) == edited
