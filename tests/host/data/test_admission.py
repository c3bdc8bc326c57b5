import pytest

from firempo_plugin.host.data.admission import RowCount, warnings
from firempo_plugin.host.train import report
from firempo_plugin.host.train.report import ShortcutWarning
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


class State:
    def __init__(self, epoch, accuracy, margin):
        self.log_history = [{"epoch": epoch, "rewards/accuracies": accuracy, "rewards/margins": margin}]


def warnings_of(*states):
    """How often a run with these entries is warned."""
    callback, said = ShortcutWarning(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.logger, "warning_rank0", said.append)
        for state in states:
            callback.on_log(None, State(*state), None)
    return len(said)


def test_early_saturation_and_a_runaway_margin_are_warned_about_once():
    assert warnings_of((0.05, 1.0, 2.0), (0.3, 1.0, 11.0), (0.4, 1.0, 12.0)) == 1
    assert warnings_of((0.05, 1.0, 2.0), (0.3, 1.0, 9.0)) == 0, "the margin stays small"
    assert warnings_of((0.5, 1.0, 12.0)) == 0, "saturation late in training is what training is for"
    assert warnings_of((0.05, 0.9, 12.0)) == 0
