"""The style gap is measured right on numbers made by hand and on real pairs, whatever file they come in."""

import json
import random
import time
from functools import lru_cache

import pytest
from places import TEMPLATES_DIR
from samples import SHARED, SMALL

from firempo_plugin.errors import UserError
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.audit import files as audit_files
from firempo_plugin.pairs.audit import report as audit_report
from firempo_plugin.pairs.audit.style import (
    Preference,
    audit,
    length_accuracy,
    word_distance,
    words,
    words_outside,
)
from firempo_plugin.phrases import PhrasedText

REAL = {SMALL: ([20, 53], 0.035), SHARED: ([4919, 1797], 0.005)}
"""How many pairs there are of SLAKE and of VQA-RAD, and how near their edit distance comes to the published 0.98."""

POLAR = [
    ("Yes, there is an effusion.", "No, there is no effusion.", True),
    ("no.", "YES", True),
    ("是的，有结节。", "不是，没有结节。", True),
    ("没有结节。", "有结节。", True),
    ("Yes, on the left.", "Yes, on the right.", False),
    ("No effusion.", "There is an effusion.", False),
    ("Northern blot.", "Yes.", False),
    ("The left lung.", "The right lung.", False),
]
QUESTION, CHOSEN, REJECTED = "Which lung is opaque?", "The left lung.", "The right lung."


@pytest.mark.parametrize(("chosen", "rejected", "polar"), POLAR)
def test_pairs_that_turn_yes_into_no_are_counted(chosen, rejected, polar):
    other = Preference("The left lung.", "The right lung.")
    report = audit([Preference(chosen, rejected), other])
    assert report.polar == polar
    assert f"{polar / 2:.1%}" in next(line for line in audit_report.table(report).splitlines() if "yes/no" in line)


@pytest.mark.parametrize(("polar", "of", "warned"), [(10, 20, True), (9, 20, False), (10, 10, False)])
def test_a_crowd_of_yes_no_pairs_is_warned_of(polar, of, warned):
    rest = [Preference(f"The left lung {number}.", f"The right lung {number}.") for number in range(of - polar)]
    found = audit_report.warnings(audit([Preference("Yes.", "No.")] * polar + rest))
    assert any("turn yes into no" in sentence for sentence in found) == warned


def slow_distance(first, second):
    """Levenshtein's recursion, word by word."""

    @lru_cache(None)
    def distance(i, j):
        if not i or not j:
            return i + j
        swap = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(swap, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(first), len(second))


def test_word_distance_is_that_of_the_recursion():
    draw = random.Random(0)
    for _ in range(300):
        first, second = ([draw.choice("abcd") for _ in range(draw.randrange(90))] for _ in range(2))
        assert word_distance(first, second) == slow_distance(tuple(first), tuple(second))
    assert word_distance(words("the left lung"), words("the right upper lung")) == 2
    assert word_distance([], ["a", "b"]) == word_distance(["a", "b"], []) == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [("The left-sided effusion, 3.5 cm.", 5), ("左肺有结节。", 5), ("CT - 胸部", 3), ("", 0), (" -- ?", 0)],
)
def test_words_are_separated_by_white_space_and_ideographs_stand_alone(text, count):
    assert len(words(text)) == count


@pytest.mark.parametrize(
    ("differences", "accuracy"),
    [
        ([-9, -12, -7, -1], 1.0),  # chosen is always shorter
        ([3, 3, 3, -3], 0.75),
        ([0, 0, 0], 0.5),
        ([1, -1, 1, -1], 0.5),
        ([0, 0, 5, 5], 0.75),  # ties are half right
        ([-1, -1, 10, 10], 0.75),  # "longer by more than 1" is always right about the last two, half right else
    ],
)
def test_length_accuracy_is_that_of_the_best_single_threshold(differences, accuracy):
    assert length_accuracy(differences) == pytest.approx(accuracy)


def test_length_accuracy_agrees_with_trying_every_threshold_on_both_orders():
    draw = random.Random(1)
    for _ in range(50):
        differences = [draw.randrange(-8, 9) for _ in range(draw.randrange(1, 30))]
        samples = [(d, True) for d in differences] + [(-d, False) for d in differences]
        shares = [sum((x > t) == first for x, first in samples) / len(samples) for t in range(-10, 11)]
        assert length_accuracy(differences) == pytest.approx(max(*shares, *(1 - share for share in shares)))


def test_a_report_by_hand():
    report = audit(
        [
            Preference(CHOSEN, REJECTED, context="a"),
            Preference(CHOSEN, REJECTED, context="a"),
            Preference(CHOSEN, REJECTED, context="b"),
            Preference("There is no effusion.", "There is effusion."),
            Preference("same", "same"),
            Preference("left", ""),
            Preference("The left lung.", "The right lung is.", [[4, 8]], [[4, 9]]),
        ],
        "hand",
    )
    assert report.lengths == ((3, 3), (3, 3), (3, 3), (4, 3), (1, 1), (1, 0), (3, 4))
    assert report.edit_distances == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1 / 4, 0, 1, 3 / 4))
    assert report.phrases == ((1, 1), (1, 1), (1, 1), (1, 0), (1, 1))
    assert (report.equal, report.duplicates, report.inexact) == (1, 1, (6,))
    assert report.unusable == {"the rejected response is empty": (5,)}
    with pytest.raises(ValueError, match="hand has no pairs"):
        audit([], "hand")


def test_text_outside_the_phrases_is_compared_word_by_word():
    inserted = PhrasedText("lung , left .", ((5, 11),)), PhrasedText("lung.", ())
    assert words_outside(inserted[0]) == words_outside(inserted[1]) == ["lung", "."]
    assert words_outside(PhrasedText("the left lung", ((4, 8),))) != words_outside(PhrasedText("lung the", ()))


def test_the_table_and_its_warnings():
    gap = audit([Preference("Left", "It is in the right lung, I think.", context=str(n)) for n in range(30)], "gap")
    minimal = audit([Preference(CHOSEN, REJECTED, context=str(n)) for n in range(30)], "minimal")
    few = audit([Preference("Left", "It is in the right lung.")], "few")
    text = audit_report.table(gap, minimal)
    assert [line.split("  ")[-1].strip() for line in text.splitlines()[2:5]] == ["30", "3.0 / 3.0", "0.0"]
    assert "WARNING gap: length alone separates 100.0% of the pairs (rejected is longer on average)" in text
    assert "WARNING minimal" not in text
    assert audit_report.warnings(few) == [], "one pair says nothing"
    broken = audit([Preference("a b", "a b"), Preference("", "x"), Preference("a b", "c d", [[0, 1]], [[0, 1]])])
    assert [warning.split(";")[0] for warning in audit_report.warnings(broken)] == [
        "in 1 pairs the sides differ outside their phrases, which the phrase terms do not see",
        "1 pairs have equal responses",
        "the trainer refuses 1 pairs",
    ]


def test_the_plot_is_drawn(tmp_path):
    report = audit([Preference(CHOSEN, REJECTED), Preference("a", "b c d")], "with a $ and a $")
    audit_report.plot(tmp_path / "gap.png", report, report)
    assert (tmp_path / "gap.png").read_bytes().startswith(b"\x89PNG")
    for name in ("gap.docx", "gap"):  # to the latter matplotlib would add .png
        with pytest.raises(UserError, match=f"{name}: nothing is drawn there; write a file that ends in .*.png"):
            audit_report.plot(tmp_path / name, report)


def messages(*turns, role="role", content="content", roles=("user", "assistant")):
    return [{role: roles[place % 2], content: turn} for place, turn in enumerate(turns)]


SHAREGPT = {"role": "from", "content": "value", "roles": ("human", "gpt")}
PARTS = [{"type": "text", "text": CHOSEN}]

FOREIGN = {
    "LLaVA with rejected_conversations": {
        "id": 0,
        "image": "a.png",
        "conversations": messages(QUESTION, CHOSEN, **SHAREGPT),
        "rejected_conversations": messages(QUESTION, REJECTED, **SHAREGPT),
    },
    "LLaMA-Factory sharegpt": {
        "conversations": messages(QUESTION, **SHAREGPT),
        "chosen": {"from": "gpt", "value": CHOSEN},
        "rejected": {"from": "gpt", "value": REJECTED},
    },
    "LLaMA-Factory openai": {
        "messages": messages(QUESTION),
        "chosen": {"role": "assistant", "content": CHOSEN},
        "rejected": {"role": "assistant", "content": REJECTED},
    },
    "LLaMA-Factory alpaca": {"instruction": QUESTION, "input": "", "chosen": CHOSEN, "rejected": REJECTED},
    "TRL with prompt": {
        "prompt": messages(QUESTION),
        "chosen": [{"role": "assistant", "content": PARTS}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": REJECTED}]}],
        "images": [{"bytes": None, "path": "a.png"}],
    },
    "TRL without prompt": {"chosen": messages(QUESTION, CHOSEN), "rejected": messages(QUESTION, REJECTED)},
    "ms-swift with rejected_response": {
        "messages": messages(QUESTION, CHOSEN),
        "rejected_response": REJECTED,
        "images": ["a.png"],
    },
    "ms-swift with rejected_messages": {
        "messages": messages(QUESTION, CHOSEN),
        "rejected_messages": messages(QUESTION, REJECTED),
    },
    "OpenAI preference": {
        "input": {"messages": messages(QUESTION)},
        "preferred_output": [{"role": "assistant", "content": CHOSEN}],
        "non_preferred_output": [{"role": "assistant", "content": REJECTED}],
    },
    "chosen and rejected with question": {"question": QUESTION, "chosen": CHOSEN, "rejected": REJECTED},
}


@pytest.mark.parametrize("form", FOREIGN)
@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet"])
def test_every_usual_form_is_recognised_in_every_file_type(form, ending, tmp_path):
    file = tmp_path / f"pairs{ending}"
    rows = [FOREIGN[form]] * 2
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text(json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows)) + "\n")
    found, preferences = audit_files.read(file)
    listed = list(preferences)
    assert found == form
    assert [(p.chosen, p.rejected) for p in listed] == [(CHOSEN, REJECTED)] * 2
    assert listed[0].context == listed[1].context
    assert ("a.png" in listed[0].context) == ("image" in json.dumps(FOREIGN[form]))


def test_pairs_of_different_images_or_prompts_are_no_duplicates(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = FOREIGN["ms-swift with rejected_response"]
    others = (row, row, row | {"images": ["b.png"]}, row | {"messages": messages("Where?", CHOSEN)})
    file.write_text("\n".join(map(json.dumps, others)))
    assert audit(audit_files.read(file)[1]).duplicates == 1


@pytest.mark.parametrize("name", ["sharegpt", "sharegpt_mask_tags", "sharegpt_spans", "mixed", "alpaca", "openai"])
def test_the_data_templates_are_read_by_their_dataset_info(name):
    form, preferences = audit_files.read(TEMPLATES_DIR / f"{name}.json")
    report = audit(preferences)
    assert form.endswith("by dataset_info.json")
    assert (report.equal, report.inexact, report.unusable) == (0, (), {})


def test_dataset_info_names_the_columns(tmp_path):
    entry = {
        "file_name": "mine.jsonl",
        "formatting": "openai",
        "ranking": True,
        "columns": {"messages": "turns", "chosen": "good", "rejected": "bad", "chosen_spans": "good_words"},
        "tags": {"role_tag": "who", "content_tag": "says"},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": {"file_name": "other.json"}, "mine": entry}))
    row = {"turns": [], "good": {"who": "a", "says": CHOSEN}, "bad": {"who": "a", "says": REJECTED}}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row | {"good_words": [[4, 8]]}))
    (preference,) = audit_files.read(tmp_path / "mine.jsonl")[1]
    assert (preference.chosen, preference.rejected, preference.chosen_spans) == (CHOSEN, REJECTED, [[4, 8]])
    (tmp_path / "mine.jsonl").write_text(json.dumps({"chosen": "a", "rejected": "b"}))
    with pytest.raises(ValueError, match=r"names columns that mine\.jsonl lacks: bad, good"):
        audit_files.read(tmp_path / "mine.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "x", "expected a file that ends in .json, .jsonl, .parquet"),
        ("a.json", None, "does not exist"),
        ("a.json", "[{]", "a.json is not valid JSON: Expecting property name"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl, line 2 is not valid JSON"),
        ("a.json", "[]", "must hold a list of rows, found none"),
        ("a.json", '{"a": 1}', "must hold a list of rows, found dict"),
        ("a.json", "[1]", "row 0: expected an object with columns, found 1"),
        ("a.parquet", "PAR", "is not a Parquet file"),
        ("a.json", "[" * 100_000, "a.json cannot be read: "),
        ("A.JSONL", "9" * 5000, "A.JSONL, line 1 cannot be read: "),
        (
            "a.json",
            '[{"prompt": "q", "completion": "c", "label": true}]',
            "It has the columns prompt, completion, label. Expected one of: LLaMA-Factory sharegpt: conv",
        ),
    ],
)
def test_files_that_are_no_preferences_are_refused_with_what_was_found(name, content, reason, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=reason):
        audit_files.read(tmp_path / name)


def test_a_parquet_file_that_is_damaged_within_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"prompt": pa.array([1], pa.timestamp("s")), "chosen": ["a b"], "rejected": ["a c"]})
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = audit_files.read(tmp_path / "a.parquet")[1]
    assert (row.chosen, row.rejected) == ("a b", "a c")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[10:40] = b"\xff" * 30
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.parquet is damaged"):
        list(audit_files.read(tmp_path / "a.parquet")[1])


def test_two_missing_responses_are_no_equal_pair():
    report = audit([Preference("", ""), Preference("a", "a"), Preference("a", "b")])
    assert report.equal == 1
    assert report.unusable == {"the chosen response is empty": (0,)}


def test_a_row_that_does_not_fit_is_named_and_a_missing_response_is_counted(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps([{"chosen": "a", "rejected": "b"}, {"chosen": "a"}, {"chosen": 7, "rejected": "b"}]))
    preferences = audit_files.read(file)[1]
    assert next(preferences).rejected == "b"
    assert next(preferences).rejected == ""
    with pytest.raises(ValueError, match=r"a\.json, row 2, chosen: expected text, a message or a list .* found 7"):
        next(preferences)


@pytest.mark.parametrize("content", [[{"text": 5}], [{"text": ["a"]}], [7]])
def test_parts_of_a_message_that_are_no_texts_are_named(content, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"chosen": [{"content": content}], "rejected": "b"}]))
    with pytest.raises(ValueError, match=r"row 0, chosen: expected text"):
        list(audit_files.read(tmp_path / "a.json")[1])


@pytest.mark.parametrize("entry", [{"columns": "chosen"}, {"columns": {"chosen": 5}}, {"tags": []}, {"tags": ["a"]}])
def test_a_dataset_info_that_names_no_columns_is_refused_or_passed_over(entry, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"chosen": "a", "rejected": "b"}]))
    info = {"a": {"file_name": "a.json", "ranking": True, **entry}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    if entry == {"tags": []}:
        assert len(list(audit_files.read(tmp_path / "a.json")[1])) == 1
    else:
        with pytest.raises(ValueError, match=r"columns and tags of a\.json must be objects of names"):
            audit_files.read(tmp_path / "a.json")


def test_a_files_name_cannot_steer_the_terminal(tmp_path, capsys):
    file = tmp_path / "a\x1b[2J.json"
    file.write_text(json.dumps([{"chosen": "a", "rejected": "b"}]))
    assert commands.audit([file], None) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_real_pairs_are_exact_in_far_less_than_twenty_seconds(real):
    began = time.process_time()
    reports = [audit(audit_files.read(file)[1], file.name) for file in sorted((real.folder / "mmedpo").glob("*.json"))]
    assert time.process_time() - began < 10
    counts, published = REAL[real.name]
    assert [len(report.lengths) for report in reports] == counts
    for report in reports:
        assert (report.inexact, report.unusable) == ((), {})
        assert sum(report.edit_distances) / len(report.lengths) == pytest.approx(0.98, abs=published)
        assert length_accuracy(report.differences) > 0.95
        assert "length alone separates" in audit_report.warnings(report)[0]
