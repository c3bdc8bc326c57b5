import pytest
from datasets import Dataset

from firempo_plugin.host.data.admission import RowCount, UnusableRowsError, admit, examine, warnings
from firempo_plugin.host.data.media import media_digest
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

FULL = RowCount(rows=10, skipped=0, noised=6, truncated=0, phrase_tokens=40)


def settings(name):
    return Settings(OBJECTIVES[name], 0.1, 0.01, 0.1, 0.5, "phrase", 0.0)


def test_nothing_to_warn_about():
    assert warnings({"train": FULL}, settings("fire_mpo")) == []


def test_no_noised_image_matters_to_objectives_that_use_them_only():
    counts = {"train": RowCount(rows=10, skipped=0, noised=0, truncated=0, phrase_tokens=40)}
    (warning,) = warnings(counts, settings("fire_mpo"))
    assert "no row has a noised image" in warning
    assert "rejected_images" in warning
    assert warnings(counts, settings("rrpo")) == []


def test_skipped_and_shortened_rows_are_named_with_their_number():
    counts = {"eval": RowCount(rows=10, skipped=3, noised=6, truncated=2, phrase_tokens=40)}
    skipped, shortened = warnings(counts, settings("fire_mpo"))
    assert "eval: 3 rows" in skipped
    assert "skipped_rows.jsonl" in skipped
    assert "2 rows" in shortened
    assert "Raise cutoff_len" in shortened


def encoded(*problems):
    """Rows as the encoder leaves them, each with what is wrong with it."""
    row = {"noised_prompt_ids": [1], "chosen_phrase": [0], "rejected_phrase": [0], "truncated": False, "code": "code"}
    rows = [
        {**row, "source": f"pairs, row {number}", "problem": problem, "images": ["a.png"], "rejected_images": ["b.png"]}
        for number, problem in enumerate(problems)
    ]
    dataset = Dataset.from_list(rows)
    return dataset.add_column("media", [media_digest(dataset, ("images", "rejected_images"))] * len(rows))


def test_what_is_wrong_in_one_split_is_not_forgotten_over_the_next():
    module = {"train_dataset": encoded("bad", ""), "eval_dataset": {"first": encoded("worse"), "second": encoded("")}}
    found = examine(module, settings("fire_mpo"), "code")
    assert found.problems == [
        {"split": "train", "row": "pairs, row 0", "problem": "bad"},
        {"split": "eval_first", "row": "pairs, row 0", "problem": "worse"},
    ]
    assert {name: len(rows) for name, rows in found.splits.items()} == {"train": 1, "eval_first": 0, "eval_second": 1}
    with pytest.raises(UnusableRowsError, match="2 of 4 rows cannot be used"):
        admit(module, settings("fire_mpo"), False, None, "code")


def test_who_skips_already_is_not_told_to_skip():
    module = {"train_dataset": encoded("bad", "worse")}
    with pytest.raises(UnusableRowsError, match="Correct them, or write `fire_skip_invalid: true`"):
        admit(module, settings("fire_mpo"), False, None, "code")
    with pytest.raises(UnusableRowsError, match=r"row is left in the train split[^`]*Correct them\.$") as told:
        admit(module, settings("fire_mpo"), True, None, "code")
    assert "fire_skip_invalid" not in str(told.value)
