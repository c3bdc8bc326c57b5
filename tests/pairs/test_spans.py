"""What of the responses is scored: sentences that the ground truth supports or contradicts, or all of a response."""

import json

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, well

from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.endpoint.json_reply import ReplyError
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.judges.factuality import VERDICTS, parse_verdicts, rule_verdicts, sentence_spans
from firempo_plugin.records import Edit, Record, RejectedError

TRUTH = "Small left pleural effusion. No pneumothorax. Heart size is normal."
REPORT = "There is a large left pleural effusion.\n\nNo pneumothorax is seen. Heart size is normal."
ANSWER = "No, there is no pleural effusion.\n\nThe scan is of good quality. This is an axial CT."
QUESTION = "Is there a pleural effusion?"
ROWS = [("Write a report.", TRUTH, REPORT, "report"), (QUESTION, "No", ANSWER)]


def marked(pair):
    """The texts of the spans of either side."""
    sides = (pair.chosen, pair.chosen_spans), (pair.rejected, pair.rejected_spans)
    return [[text[start:end] for start, end in spans] for text, spans in sides]


def test_sentences_are_marked_to_the_last_character(tmp_path):
    """Line breaks part sentences and belong to none."""
    progress = built(written(tmp_path, ROWS), "spans.of=sentences")
    (report,) = progress.pairs
    assert marked(report) == [
        ["There is a small left pleural effusion.", "No pneumothorax is seen.", "Heart size is normal."],
        ["There is a large left pleural effusion."],
    ]
    reason = "the rules abstain: they cannot say whether the truth supports 'The scan is of good quality.'"
    assert progress.steps["spans"].rejected.first == {"table:1": reason}


def test_words_are_marked_as_ever_and_all_of_a_response_by_choice(tmp_path):
    path = written(tmp_path, ROWS[:1])
    assert marked(built(path).pairs[0]) == [["small"], ["large"]]
    (pair,) = built(path, "spans.of=response").pairs
    assert marked(pair) == [[pair.chosen], [pair.rejected]]
    assert built(path).made == 0


def test_spans_go_out_with_the_rows_and_none_of_them_when_switched_off(tmp_path):
    path, file = written(tmp_path, ROWS[:1]), tmp_path / "work" / "export" / "fire_mpo_pairs.json"
    assert commands.build(path, []) == 0
    before = file.read_bytes()
    assert commands.build(path, ["spans.of=sentences"]) == 0
    (row,) = json.loads(file.read_text())
    assert [row["chosen"]["value"][start:end] for start, end in row["chosen_spans"]][-1] == "Heart size is normal."
    assert row["rejected_spans"] == [[0, 39]]
    assert commands.build(path, []) == 0
    assert file.read_bytes() == before


def judge(*verdicts):
    """A judge that gives these verdicts in turn, whatever it is asked."""
    replies = iter(verdicts)
    return lambda call: well(json.dumps({"verdicts": next(replies)}))


def asked(call):
    """The sentences that a call asks about."""
    line = next(line for line in call.text.splitlines() if line.startswith("sentences: "))
    return json.loads(line.removeprefix("sentences: "))


def test_a_judge_says_of_what_the_rules_cannot_and_is_asked_once(tmp_path, capsys):
    with PairsServer(judge(["silent", "contradicted"])) as server:
        path = written(tmp_path, ROWS, edit={"endpoint": {"base_url": server.url, "model": "judge"}})
        how = ["spans.of=sentences", "spans.by=judge"]
        assert commands.dry_run(path, how) == 0
        assert "spans: 1 calls" in capsys.readouterr().out
        _, answer = built(path, *how).pairs
        assert [asked(call) for call in server.calls] == [["The scan is of good quality.", "This is an axial CT."]]
        assert built(path, *how).made == 0
    assert marked(answer) == [
        ["No, there is no pleural effusion."],
        ["Yes, there is a pleural effusion.", "This is an axial CT."],
    ]


@pytest.mark.parametrize("wrong", [["silent"], ["silent", "true"], "supported", None])
def test_a_reply_that_breaks_the_contract_is_asked_again_once(tmp_path, wrong):
    for right in (["silent", "supported"], wrong):
        with PairsServer(judge(wrong, right)) as server:
            edit = {"endpoint": {"base_url": server.url, "model": f"judge of {right}"}}
            progress = built(written(tmp_path, ROWS[1:], edit=edit), "spans.of=sentences", "spans.by=judge")
            assert len(server.calls) == 2
        if right != wrong:
            assert marked(progress.pairs[0])[0] == ["No, there is no pleural effusion.", "This is an axial CT."]
        else:
            assert "verdicts on sentences are refused twice: " in progress.steps["spans"].rejected.first["table:0"]


def test_the_reasons_of_a_refusal_say_what_was_found():
    with pytest.raises(ReplyError, match="a list of 2 words, one for each sentence, found 'yes'"):
        parse_verdicts('{"verdicts": "yes"}', ["A.", "B."])
    with pytest.raises(ReplyError, match="one of supported, contradicted, silent, found 'true'"):
        parse_verdicts('{"verdicts": ["true"]}', ["A."])
    assert parse_verdicts('{"verdicts": ["silent"]}', ["A."]) == {"A.": "silent"}


def test_a_side_without_a_sentence_is_no_pair():
    edit = Edit("The left one.", "The right one.", True, "", "rules")
    verdicts = {"The left one.": VERDICTS[2], "The right one.": VERDICTS[1]}
    with pytest.raises(RejectedError, match="no sentence of chosen is supported by the ground truth"):
        sentence_spans(edit, verdicts)
    assert sentence_spans(edit, verdicts | {"The left one.": VERDICTS[0]}) == ([(0, 13)], [(0, 14)])


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("No pneumothorax.", "supported"),
        ("heart size is normal", "supported"),
        ("There is no pneumothorax.", "supported"),
        ("There is a pneumothorax.", "contradicted"),
        ("Large left pleural effusion.", "contradicted"),
        ("The heart is enlarged.", "contradicted"),
        ("No fracture.", None),
        ("No pneumothorax or fracture.", None),
        ("Small left basal pleural effusion.", None),
        ("The bones are intact.", None),
        ("Clinical correlation is advised.", None),
    ],
)
def test_what_the_rules_read_of_a_sentence_that_was_not_edited(sentence, verdict):
    edit = Edit(f"Small nodule. {sentence}", f"Large nodule. {sentence}", True, "", "rules")
    found = rule_verdicts(Record("r", (), "Write.", TRUTH, "report"), edit, load_vocabulary(), minimal=True)
    assert found.get(sentence) == verdict
    assert (found["Small nodule."], found["Large nodule."]) == ("supported", "contradicted")


def test_an_answer_beside_the_edit_is_read_only_where_it_states_the_truth():
    chosen = "In short: yes. The image shows a liver. It shows a heart. No spleen is seen."
    edit = Edit(chosen, chosen.replace("yes", "no"), True, "", "rules")
    found = rule_verdicts(Record("r", (), "Does it show a liver?", "Yes"), edit, load_vocabulary(), minimal=True)
    assert set(found) == {"In short: yes.", "In short: no.", "The image shows a liver."}
    largest = "The largest organ is the liver. The picture also shows the spleen."
    edit = Edit(largest, largest.replace("liver", "heart"), True, "", "rules")
    asked = Record("r", (), "What is the largest organ in the picture?", "Liver")
    found = rule_verdicts(asked, edit, load_vocabulary(), minimal=True)
    assert "The picture also shows the spleen." not in found, (
        "alone it would be a wrong answer; here it is another matter"
    )
    german = Record("r", (), "Was?", "Liver", language="de")
    assert len(rule_verdicts(german, edit, load_vocabulary(), minimal=True)) == 2


def test_marked_and_labelled_rows_train(tmp_path, train):
    """Mask-DPO, on sentences: the real trainer reads the spans, and passes over the column for people."""
    path = written(tmp_path, ROWS[:1])
    assert commands.build(path, ["spans.of=sentences", "label.by=rules"]) == 0
    data = {"dataset": "fire_mpo_pairs", "dataset_dir": str(tmp_path / "work" / "export")}
    log = train(**data, fire_objective="mask_dpo", per_device_train_batch_size=1)
    assert log[0]["terms/rank"] == pytest.approx(0.6931, abs=1e-3)
