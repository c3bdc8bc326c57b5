"""Reports without their references to earlier examinations: what is taken away, what is left alone, what is refused."""

import json

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, well

from firempo_plugin.endpoint.json_reply import ReplyError
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.judges.priors import REFERENCE, check_priors, without_priors

CLEAR = "The lungs are clear."


@pytest.mark.parametrize(
    ("sentence", "left"),
    [
        ("Mild cardiomegaly, unchanged from prior.", "Mild cardiomegaly."),
        ("Mild cardiomegaly, unchanged since the previous study of ___.", "Mild cardiomegaly."),
        ("A nodule, stable compared with the prior CT of 12/5/2010.", "A nodule."),
        ("Mild cardiomegaly unchanged.", "Mild cardiomegaly."),
        ("Mild cardiomegaly is unchanged.", "Mild cardiomegaly is noted."),
        ("Small effusions appear stable compared to the prior radiograph.", "Small effusions are noted."),
        ("There is mild cardiomegaly, similar to prior exams.", "There is mild cardiomegaly."),
        ("The heart is normal in size and contour, and stable.", "The heart is normal in size and contour."),
        ("The heart is normal and unchanged compared to prior examination.", "The heart is normal."),
        ("Heart size is stable and within normal limits.", "Heart size is within normal limits."),
        ("Stable small left effusion.", "Small left effusion."),
        ("Stable appearance of the aortic valve prosthesis.", "Aortic valve prosthesis."),
        ("1. Stable cardiomegaly.", "1. Cardiomegaly."),
        ("There is an unchanged hiatal hernia.", "There is a hiatal hernia."),
        ("There is a stable opacity.", "There is an opacity."),
        ("There is persistent, marked elevation of the diaphragm.", "There is marked elevation of the diaphragm."),
        ("The left hemidiaphragm remains elevated.", "The left hemidiaphragm is elevated."),
        ("There is stable appearing bullous disease.", "There is bullous disease."),
        ("Lung volumes remain low.", "Lung volumes are low."),
        ("Surgical clips are again noted.", "Surgical clips are noted."),
        ("Again seen is a nodule.", "Seen is a nodule."),
        ("A granuloma is redemonstrated.", "A granuloma is noted."),
        ("In comparison with the previous study, there is a small effusion.", "There is a small effusion."),
        ("No change in the small right effusion.", "Small right effusion."),
        ("Left basal opacity, without significant change from the prior exam.", "Left basal opacity."),
        ("Mildly enlarged heart, stable mediastinal and hilar contours.", "Mildly enlarged heart."),
        ("The mediastinum is stable.", ""),
        ("Stable cardiomediastinal silhouette.", ""),
        ("Heart size and mediastinal contours are unchanged from the prior study.", ""),
        ("No significant interval change compared to the prior study.", ""),
        ("This is unchanged.", ""),
        ("Stable chest.", ""),
        ("Comparison is made to the previous radiograph.", ""),
    ],
)
def test_the_rules_take_a_reference_away(sentence, left):
    for before, gap in ((f"{CLEAR} ", " "), (f"{CLEAR}\n\n", "\n"), ("", " ")):
        found = without_priors(f"{before}{sentence}{gap}No pneumothorax.")
        assert found == f"{before}{left + gap if left else ''}No pneumothorax."
    assert without_priors(f"{CLEAR} {sentence}") == f"{CLEAR} {left}".rstrip()


@pytest.mark.parametrize(
    "sentence",
    [
        "There is a new right effusion.",
        "No new infiltrate.",
        "The effusion has increased.",
        "Interval removal of the chest tube.",
        "Improved aeration of the lung bases.",
        "No longer seen is the left nodule.",
        "Opacities are slightly worse than on the prior study.",
        "No significant change in pneumothorax or effusion.",
        "Frontal views show an unchanged cardiomediastinal silhouette.",
        "Stable chest without acute abnormality.",
        "2. The mediastinum is stable.",
        "Opacity dating back to exams of last year.",
        "Persistent and biapical opacities.",
        "The nodule does not remain.",
        "Emphysema and scarring, both stable.",
        "Mortise radiographically stable.",
        "Opacities are unchanged and represent emphysema.",
        "Stable appearance of the chest without acute disease.",
        "There are granulomas on the right appear stable.",
        "Compared with the prior study, there is mildly increased airspace disease.",
    ],
)
def test_the_rules_leave_a_report_in_which_a_reference_would_stay(sentence):
    with pytest.raises(ReplyError, match="they cannot take the reference out of"):
        without_priors(f"{CLEAR} {sentence}")


@pytest.mark.parametrize(
    "sentence",
    [
        "Degenerative changes of the spine.",
        "Prior granulomatous disease.",
        "Status post prior cholecystectomy.",
        "Old rib fractures.",
        "Blunting of both angles, left worse than right.",
        "The left lung is small compared to the right.",
        "Increased interstitial markings.",
        "The patient was seen previous to surgery.",
    ],
)
def test_the_history_of_a_patient_is_no_earlier_examination(sentence):
    assert not REFERENCE.search(sentence)


REPORT = "Stable mild cardiomegaly. There is a new small left effusion. No pneumothorax. The mediastinum is stable."


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("Mild cardiomegaly. There is a small left effusion. No pneumothorax.", None),
        ("There is mild cardiomegaly. A small left effusion is noted. No pneumothorax.", None),
        ("", "nothing is left of the report"),
        (REPORT, "still refers to an earlier examination: 'Stable'"),
        ("Mild cardiomegaly. There is a small left effusion. Pneumothorax.", "'No pneumothorax.' has no reference"),
        ("Mild cardiomegaly. There is a small effusion. No pneumothorax.", "'left' is lost"),
        ("Cardiomegaly. There is a small left effusion. No pneumothorax.", "'mild' is lost"),
        ("Mild cardiomegaly. No pneumothorax.", "'small' is lost"),
        ("Mild cardiomegaly. There is a large left effusion. No pneumothorax.", "brings or moves 'large'"),
        ("Mild left cardiomegaly. There is a small effusion. No pneumothorax.", "brings or moves"),
    ],
)
def test_a_rewriting_only_takes_away_and_nothing_that_the_image_shows(after, reason):
    if reason is None:
        check_priors(REPORT, after)
    else:
        with pytest.raises(ReplyError, match=reason):
            check_priors(REPORT, after)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("No new infiltrate.", "No infiltrate.", "a denial is lost, or denies more than it did"),
        ("No effusion, unchanged.", "Effusion.", "a denial is lost"),
        ("The effusion is not seen again.", "The effusion is seen.", "a denial is lost"),
        ("Again 2 nodules are seen.", "Nodules are seen.", "'2' is lost"),
        ("The heart is enlarged again.", "Enlarged.", "'heart' is lost"),
        ("Lungs are clear. Pneumothorax seen again.", "Lungs are clear.", "'pneumothorax' is lost"),
    ],
)
def test_a_denial_stays_what_it_was(before, after, reason):
    with pytest.raises(ReplyError, match=reason):
        check_priors(before, after)


HOW = {"edit": {"how": "priors"}, "respond": {"backend": "truth"}}
ROWS = [
    ("Write a report.", "Stable cardiomegaly. No effusion.", "", "report"),
    ("Write a report.", "Cardiomegaly. No effusion.", "", "report"),
    ("Write a report.", REPORT, "", "report"),
    ("Is it stable?", "Yes, it is stable.", ""),
]


def test_reports_become_pairs_and_the_removed_words_spans(tmp_path, capsys):
    path = written(tmp_path, ROWS, **HOW)
    assert commands.build(path, []) == 0
    shown = capsys.readouterr().out
    assert "the report refers to no earlier examination" in shown
    assert "the rules abstain: they cannot take the reference out of 'There is a new small left effusion.'" in shown
    assert "are looked for in English reports only" in shown
    progress = built(path)
    (pair,) = progress.pairs
    assert progress.made == 0
    assert (pair.chosen, pair.rejected) == ("Cardiomegaly. No effusion.", "Stable cardiomegaly. No effusion.")
    assert [pair.rejected[start:end] for start, end in pair.rejected_spans] == ["Stable cardiomegaly"]
    assert (pair.was_correct, pair.judge) == (False, "rules")


def test_a_model_takes_away_what_the_rules_cannot_and_is_held_to_the_contract(tmp_path, capsys):
    replies = iter(["", "Mild cardiomegaly. There is a small left effusion. No pneumothorax."])

    def judge(call):
        return well(json.dumps({"rewritten_report": next(replies)}))

    with PairsServer(judge) as server:
        edit = {"how": "priors", "judge": "endpoint", "endpoint": {"base_url": server.url, "model": "judge"}}
        path = written(tmp_path, ROWS, **HOW | {"edit": edit})
        assert commands.dry_run(path, []) == 0
        assert "edit: 1 calls" in capsys.readouterr().out
        rules, model = built(path).pairs
        assert len(server.calls) == 2
        assert "nothing is left of the report" in server.calls[1].text
        assert built(path).made == 0
    assert (rules.judge, model.judge) == ("rules", "judge")
    assert model.rejected == REPORT
    assert not REFERENCE.search(model.chosen)


def test_a_reply_that_breaks_the_contract_twice_is_no_pair(tmp_path):
    with PairsServer(lambda call: well('{"rewritten_report": "All is well."}')) as server:
        edit = {"how": "priors", "judge": "endpoint", "endpoint": {"base_url": server.url, "model": "judge"}}
        progress = built(written(tmp_path, ROWS[2:3], **HOW | {"edit": edit}))
        assert len(server.calls) == 2
    assert (
        "refused twice: the sentence 'No pneumothorax.' has no reference; keep it as it is"
        in progress.steps["edit"].rejected.first["table:0"]
    )


def test_of_priors_no_sentences_are_judged(tmp_path):
    with pytest.raises(ValueError, match=r"spans\.of: sentences needs edit.how: minimal or best_worst"):
        built(written(tmp_path, ROWS, **HOW, spans={"of": "sentences"}))
