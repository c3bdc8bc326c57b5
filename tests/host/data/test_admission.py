from firempo_plugin.host.data.admission import RowCount, warnings
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
