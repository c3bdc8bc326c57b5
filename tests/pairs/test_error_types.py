"""Kinds of errors: by the words that differ, by a judge where the rules cannot say, in the rows and in quotas."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import compress

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, well
from pyarrow.parquet import read_table

from firempo_plugin.answers.vocabulary import load_vocabulary
from firempo_plugin.endpoint.json_reply import ReplyError
from firempo_plugin.endpoint.prompts import load_prompt
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.judges.error_types import ERROR_TYPES, parse_error_type, rule_error_type
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.quotas import Quotas
from firempo_plugin.records import Edit, Record

EFFUSION = "Is there a pleural effusion?"


@pytest.mark.parametrize(
    ("question", "chosen", "rejected", "kind"),
    [
        (EFFUSION, "No, there is no pleural effusion.", "Yes, there is a pleural effusion.", "presence"),
        (EFFUSION, "No pleural effusion.", "Pleural effusion.", "presence"),
        ("Write a report.", "Lungs are clear. Effusion.", "Lungs are clear.", "presence"),
        ("Is this a CT?", "Yes.", "No.", "modality"),
        ("Is there a mass on this CT?", "Yes.", "No.", "presence"),
        ("Is the aorta large?", "Yes.", "No.", "size"),
        ("Is the left lung in this image?", "Yes.", "No.", "presence"),
        ("Is the lung healthy?", "Yes.", "No.", "presence"),
        ("What is it?", "A CT.", "An MRI.", "modality"),
        ("Which lung?", "The left lung is opaque.", "The right lung is opaque.", "laterality"),
        ("Where?", "In the left upper lobe.", "In the left lower lobe.", "location"),
        ("Where?", "In the left upper lobe.", "In the right lower lobe.", "laterality"),
        ("Which organ?", "The liver.", "The spleen.", "location"),
        ("What is there?", "A large pneumothorax.", "A large atelectasis.", "finding"),
        ("What is there?", "A left pneumothorax.", "A right atelectasis.", "finding"),
        ("How wide?", "It is 3 cm wide.", "It is 8 cm wide.", "size"),
        ("How many?", "Two.", "Three.", "number"),
        ("How is it?", "A mild effusion.", "A severe effusion.", "severity"),
        ("What shape?", "It is oval.", "It is round.", "appearance"),
        ("What is there?", "Increased opacity of the lung.", "Decreased opacity of the lung.", "appearance"),
        ("Is there increased density?", "Yes.", "No.", "appearance"),
        ("What is there?", "The opacity has increased.", "The opacity has decreased.", "course"),
        ("What is there?", "It increased markedly in size.", "It decreased markedly in size.", "course"),
        ("Has it increased since then?", "Yes.", "No.", "course"),
        ("Who is it?", "A woman.", "A man.", None),
        ("Which disease?", "Sarcoidosis.", "Old age.", None),
        ("Where?", "In the left lung.", "In the banana lung.", None),
    ],
)
def test_the_words_that_differ_tell_the_kind(question, chosen, rejected, kind):
    record = Record("r", (), question, "")
    for edit in (Edit(chosen, rejected, True, "", "rules"), Edit(rejected, chosen, False, "", "rules")):
        assert rule_error_type(record, edit, load_vocabulary()) == kind


def test_what_a_report_is_asked_for_names_no_kind():
    edit = Edit("No pneumothorax.", "Right pneumothorax.", True, "", "rules")
    record = Record("r", (), "Write the findings of this chest X-ray.", "No pneumothorax.", kind="report")
    assert rule_error_type(record, edit, load_vocabulary()) == "presence"
    assert rule_error_type(replace(record, kind="vqa"), edit, load_vocabulary()) == "modality"


@pytest.mark.parametrize(("chosen", "kind"), [("两肺纹理增多。", "appearance"), ("结节较前增多。", "course")])
def test_chinese_tells_of_a_course_by_what_was_before(chosen, kind):
    edit = Edit(chosen, chosen.replace("增多", "减少"), True, "", "rules")
    assert rule_error_type(Record("r", (), "有什么?", "", language="zh"), edit, load_vocabulary()) == kind


def test_a_language_without_a_grammar_has_no_kind():
    edit = Edit("Links.", "Rechts.", True, "", "model")
    assert rule_error_type(Record("r", (), "?", "", language="de"), edit, load_vocabulary()) is None


def test_the_prompt_names_every_kind():
    assert set(re.findall(r"^- (\w+):", load_prompt("error_type").text, re.MULTILINE)) == set(ERROR_TYPES)


def test_a_reply_is_one_of_the_kinds():
    assert parse_error_type(' "Laterality." ') == "laterality"
    with pytest.raises(ReplyError, match=r"one of finding, .*, found 'the left lung'"):
        parse_error_type("the left lung")


QUESTIONS = [
    (EFFUSION, "No", "No, there is no pleural effusion."),
    ("Which lung is affected, left or right?", "Left", "The left lung is affected."),
    ("Is this patient male or female?", "Female", "Female."),
    ("Is there a fracture?", "Yes", "Yes, there is a fracture."),
]


def test_without_a_label_nothing_of_an_export_changes(tmp_path, capsys):
    path = written(tmp_path, QUESTIONS)
    assert commands.build(path, []) == 0
    file = tmp_path / "work" / "export" / "fire_mpo_pairs.json"
    before, table = file.read_bytes(), capsys.readouterr().out
    assert commands.build(path, ["label.by=rules"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^  error of presence +2 +50.0%$", shown, re.MULTILINE)
    kinds = [row.pop("error_type") for row in json.loads(file.read_text())]
    assert kinds == ["presence", "laterality", "other", "presence"]
    assert commands.build(path, []) == 0
    assert file.read_bytes() == before
    again = capsys.readouterr().out
    assert not re.search("^label", again + table, re.MULTILINE)
    assert "Nothing was left to do." in again


def test_a_judge_is_asked_where_the_rules_cannot_say_and_once(tmp_path, capsys):
    replies = ["appearance", "I do not know."]
    with PairsServer(lambda call: well(replies[len(server.calls) - 1])) as server:
        path = written(tmp_path, QUESTIONS, edit={"endpoint": {"base_url": server.url, "model": "judge"}})
        assert commands.dry_run(path, ["label.by=judge"]) == 0
        assert "label: 1 calls" in capsys.readouterr().out
        pairs = built(path, "label.by=judge").pairs
        assert [pair.error_type for pair in pairs] == ["presence", "laterality", "appearance", "presence"]
        assert built(path, "label.by=judge").made == 0
        again = built(path, "label.by=judge", "edit.endpoint.model=another")
        assert (again.made, len(server.calls)) == (4, 2)
        assert [pair.error_type for pair in again.pairs] == ["presence", "laterality", "other", "presence"]


def test_a_step_that_is_switched_off_is_named(tmp_path):
    with pytest.raises(ValueError, match="no step 'label', only read, respond, edit, target, segment, noise"):
        built(written(tmp_path, QUESTIONS), only="label")


def several(**counts):
    return [
        Pair(f"{kind}/{n}", "Which?", "a b", "a c", ((2, 3),), ((2, 3),), error_type=kind)
        for n in range(max(counts.values()))
        for kind, count in counts.items()
        if n < count
    ]


@pytest.mark.parametrize(
    ("quotas", "taken"),
    [
        (Quotas(), {"presence": 60, "size": 30, "other": 10}),
        (Quotas(most={"presence": 20}), {"presence": 20, "size": 30, "other": 10}),
        (Quotas(most={"presence": 90, "course": 0}), {"presence": 60, "size": 30, "other": 10}),
        (Quotas(share={"presence": 0.5}), {"presence": 40, "size": 30, "other": 10}),
        (Quotas(share={"presence": 0.5}, most={"size": 5}), {"presence": 15, "size": 5, "other": 10}),
        (Quotas(share={"presence": 0.5, "size": 0.25}), {"presence": 20, "size": 10, "other": 10}),
        (Quotas(share={"presence": 0.0}), {"size": 30, "other": 10}),
    ],
)
def test_as_many_are_taken_as_keep_all_quotas(quotas, taken):
    pairs = several(presence=60, size=30, other=10)
    mask, notes = quotas.take(pairs)
    kept = list(compress(pairs, mask))
    assert Counter(pair.error_type for pair in kept) == taken
    assert len(mask) == len(pairs)
    assert bool(notes) == (len(kept) < len(pairs))
    for kind, share in quotas.share.items():
        assert taken.get(kind, 0) <= share * len(kept)


def test_the_same_ones_are_taken_whatever_their_order_and_number():
    pairs = several(presence=60, size=30)

    def taken(most, pairs):
        return list(compress(pairs, Quotas(most={"presence": most}).take(pairs)[0]))

    few, some = taken(5, pairs), taken(20, pairs)
    assert {pair.id for pair in few} < {pair.id for pair in some}
    assert taken(20, pairs[::-1]) == some[::-1]
    hashed = sorted((f"presence/{n}" for n in range(60)), key=lambda name: hashlib.sha256(name.encode()).digest())
    assert {pair.id for pair in some if pair.error_type == "presence"} == set(hashed[:20])
    assert [pair.id for pair in some[:20:2]] != [f"presence/{n}" for n in range(10)], "not simply the first ones"


def test_quotas_are_counted_and_stand_in_the_rows(tmp_path, capsys):
    path = written(tmp_path, QUESTIONS, label={"by": "rules"}, export={"share": {"presence": 0.34}})
    assert commands.build(path, ["export.options.file_format=parquet"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 2 pairs with an error of presence." in shown
    assert "the quota of presence is full" in shown
    rows = read_table(tmp_path / "work" / "export" / "fire_mpo_pairs.parquet").to_pylist()
    assert sorted(row["error_type"] for row in rows) == ["laterality", "other", "presence"]


def test_quotas_that_leave_nothing_are_said(tmp_path):
    pairs = [replace(pair, images=()) for pair in several(presence=3)]
    with pytest.raises(ValueError, match="no pair to export: 3 left out: the quota of presence is full"):
        export("llamafactory", pairs, tmp_path, name="x", quotas=Quotas(share={"presence": 0.5}))


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"export": {"most": {"presence": 5}}}, "export.most and export.share need label.by: rules or judge"),
        ({"label": {"by": "rules"}, "export": {"most": {"side": 5}}}, "export.most.side is no kind of error; they are"),
        ({"label": {"by": "rules"}, "export": {"share": {"size": 1.5}}}, r"export.share.size must be a number .*1.5"),
        ({"label": {"by": "rules"}, "export": {"most": {"size": -1}}}, "export.most.size must be a whole number"),
        ({"label": {"by": "judge"}}, "edit.endpoint.model is missing"),
        ({"label": {"by": "guess"}}, "label.by must be one of none, rules, judge, found 'guess'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, sections, reason):
    with pytest.raises(ValueError, match=reason):
        built(written(tmp_path, QUESTIONS, **sections))
