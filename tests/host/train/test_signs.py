"""A run that learns something else than it should is told so once, a healthy one is not."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from firempo_plugin.host.train import report
from firempo_plugin.host.train.signs import RunWatch


def rewards(epoch, accuracy, margin):
    return {"epoch": epoch, "rewards/accuracies": accuracy, "rewards/margins": margin}


def terms(epoch, visual, rank):
    return {"epoch": epoch, "terms/visual": visual, "terms/rank": rank}


def signs(*entries):
    watch = RunWatch()
    new = [sign for entry in entries for sign in watch.see(entry)]
    assert new == watch.found
    return [sign.name for sign in new]


def test_early_saturation_and_a_runaway_margin_are_a_shortcut():
    assert signs(rewards(0.05, 1.0, 2.0), rewards(0.3, 1.0, 11.0), rewards(0.4, 1.0, 12.0)) == ["shortcut"]
    assert signs(rewards(0.05, 1.0, 2.0), rewards(0.3, 1.0, 9.0)) == [], "the margin stays small"
    assert signs(rewards(0.5, 1.0, 12.0)) == [], "saturation late in training is what training is for"
    assert signs(rewards(0.05, 0.9, 12.0)) == []


def test_a_visual_term_that_rises_steeply_while_the_rank_falls():
    steep = [terms(0.1 * n, 0.59 + 0.1 * n, 0.74 - 0.05 * n) for n in range(1, 10)]
    assert signs(*steep) == ["noise_tells"]
    assert signs(*(entry | {"terms/rank": 0.7} for entry in steep)) == [], "the rank does not fall: nothing is learnt"
    assert signs(*(entry | {"terms/rank": None} for entry in steep)) == []
    assert signs(*(entry | {"terms/visual": float("nan")} for entry in steep)) == []
    peak = [terms(0.1, 0.7, 0.69), terms(0.2, 1.6, 0.5), terms(0.3, 0.8, 0.5)]
    assert signs(*peak) == [], "one entry is noise"


def test_a_visual_term_that_has_risen_a_little_for_long():
    entries = [terms(n / 20, 0.71 + min(0.08, n / 100), 0.7 - n / 50) for n in range(20)]
    assert signs(*entries) == ["noise_tells"]
    assert signs(*entries[:14]) == [], "early it rises in healthy runs"


def test_a_healthy_run_whose_visual_term_rises_first():
    """The phantom's, as it was logged, every ten steps."""
    visual = (0.711, 0.787, 0.73, 0.744, 0.735, 0.689, 0.728, 0.617, 0.683, 0.619, 0.667, 0.69, 0.606, 0.627, 0.708)
    rank = (0.675, 0.597, 0.591, 0.541, 0.484, 0.477, 0.481, 0.459, 0.468, 0.481, 0.432, 0.483, 0.462, 0.467, 0.472)
    assert signs(*(terms((n + 0.5) / 15, *values) for n, values in enumerate(zip(visual, rank, strict=True)))) == []


@pytest.mark.parametrize("epochs", [1, 3])
def test_healthy_runs_logged_at_every_step_of_eight_rows_are_not_warned(epochs):
    """What eight rows say of the visual term varies by 0.2, the more so the further the model is from its reference."""
    rng = np.random.default_rng(1)
    warned = 0
    for _ in range(30):
        epoch = np.arange(1, 400 * epochs + 1) / 400
        spread = 0.6 / np.sqrt(8) * np.minimum(1, epoch * 10) * rng.normal(size=(2, len(epoch)))
        visual, rank = 0.693 - np.minimum(1, epoch) * [[0.09], [0.25]] + spread
        warned += bool(signs(*map(terms, epoch.tolist(), visual.tolist(), rank.tolist())))
    assert warned == 0


def test_a_resumed_run_is_compared_with_its_own_start(monkeypatch):
    messages = []
    monkeypatch.setattr(report.logger, "warning_rank0", messages.append)
    before = [terms(n / 20, 0.7 + min(0.1, n / 50), 0.7 - n / 40) for n in range(1, 11)]
    after = [terms(n / 20, 0.8, 0.4) for n in range(11, 20)]
    callback, state = report.SignWarning(), SimpleNamespace(log_history=list(before))
    callback.on_train_begin(None, state, None)
    for entry in after:
        state.log_history.append(entry)
        callback.on_log(None, state, None)
    assert len(messages) == 1, "alone, the second half neither rises nor falls"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([rewards(0.05, 1.0, 2.0), rewards(0.3, 1.0, 11.0), rewards(0.4, 1.0, 12.0)], "epoch 0.05 .* now 11.0"),
        ([terms(0.1 * n, 0.59 + 0.1 * n, 0.74 - 0.05 * n) for n in range(1, 10)], "from 0.69 to 1.19 at epoch 0.70"),
    ],
)
def test_the_log_of_a_run_says_it_once(entries, said, monkeypatch):
    messages = []
    monkeypatch.setattr(report.logger, "warning_rank0", messages.append)
    callback, state = report.SignWarning(), SimpleNamespace(log_history=[])
    for entry in entries:
        state.log_history.append(entry)
        callback.on_log(None, state, None)
    (message,) = messages
    assert re.search(said, message)
