"""What is said of a run's curves, from logs alone."""

import math
import random
import re

import pytest
from places import ROOT

from firempo_plugin.host.board import texts
from firempo_plugin.host.train import verdicts
from firempo_plugin.host.train.signs import EARLY_EPOCH, SATURATED_MARGIN
from firempo_plugin.host.train.verdicts import CURVES, ENOUGH, verdict


def run(number=40, share=1.0, **curves):
    """Entries of the log of a run, up to a share of it: each metric, `_` for `/`, a function of the run's share."""
    noise = random.Random(1)
    metrics = {name.replace("_", "/", 1): curve for name, curve in curves.items()}
    log = []
    for step in range(1, int(number * share) + 1):
        at = step / number
        entry = {"current_steps": step, "percentage": 100 * at, "epoch": at, "noised_share": 1.0}
        for name, curve in metrics.items():
            value = curve(at)
            entry[name] = None if value is None else value + noise.gauss(0, 0.005)
        log.append(entry)
    return log


HEALTHY = {
    "loss": lambda at: 0.7 - 0.3 * at,
    "terms_rank": lambda at: 0.693 - 0.4 * at,
    "terms_visual": lambda at: 0.693,
    "terms_kl_forward": lambda at: 0.5 * (1 - math.exp(-5 * at)),
    "terms_nll": lambda at: 1.2 - 0.1 * at,
    "rewards_accuracies": lambda at: 0.5 + 0.4 * at,
    "rewards_margins": lambda at: 3 * at,
    "rewards_chosen": lambda at: 0.5 * at,
    "rewards_rejected": lambda at: -2.5 * at,
}


def names(log):
    return {name: verdict(name, log).name for name in CURVES if name in log[0]}


def test_a_healthy_run_is_as_it_should_be():
    log = run(**HEALTHY)
    assert {name: verdict(name, log).level for name in CURVES if name in log[0]} == {
        name: "good" for name in CURVES if name in log[0]
    }
    rank = verdict("terms/rank", log)
    assert rank.course == "falls"
    assert rank.start > 0.6
    assert rank.now < 0.4
    assert texts.say_verdict(rank, "en") == f"Falls from {rank.start:.3g} to {rank.now:.3g}, as it should."


def test_of_a_run_that_has_just_begun_nothing_is_said():
    log = run(share=(ENOUGH - 1) / 40, **HEALTHY)
    assert set(names(log).values()) == {"early"}
    assert texts.say_verdict(verdict("loss", log), "en") == "Too early to say: 7 of 8 logged values."
    assert {verdict(name, log).level for name in CURVES if name in log[0]} == {"watch"}


def test_a_shortcut_is_named_at_once_on_the_curves_that_show_it():
    log = run(**HEALTHY | {"rewards_accuracies": lambda at: 1.1, "rewards_margins": lambda at: 37.0})[:3]
    found = verdict("rewards/margins", log)
    assert (found.name, found.level, found.values["step"]) == ("shortcut", "warn", 1)
    assert verdict("rewards/accuracies", log).name == "shortcut"
    assert verdict("loss", log).name == "early"
    said = texts.say_verdict(found, "en")
    assert said.startswith("Accuracy 1.0 by step 1 (epoch 0.03), margin 37: a shortcut. Look at your pairs")


def test_a_run_that_diverges_is_told_so_by_its_curves():
    worse = {
        "loss": lambda at: 0.7 + 2 * at,
        "terms_rank": lambda at: 0.7 + 2 * at,
        "terms_kl_forward": lambda at: 5 * at**2,
        "rewards_accuracies": lambda at: 0.5 - 0.4 * at,
        "rewards_margins": lambda at: -3 * at,
    }
    log = run(**HEALTHY | worse)
    found = {name: advice for name, advice in names(log).items() if advice}
    assert found == {
        **dict.fromkeys(("loss", "terms/rank", "rewards/accuracies", "rewards/margins"), "diverges"),
        "terms/kl_forward": "kl_grows",
    }
    assert {verdict(name, log).level for name in found} == {"warn"}


def test_what_does_not_move_is_watched_at_first_and_then_a_fault():
    still = {name: lambda at: 0.5 for name in ("loss", "terms_rank", "rewards_accuracies", "rewards_margins")}
    early, late = run(share=0.3, **still), run(share=0.9, **still)
    assert {(verdict(name, early).level, verdict(name, early).name) for name in names(early)} == {("watch", "")}
    assert {(verdict(name, late).level, verdict(name, late).name) for name in names(late)} == {("warn", "too_slow")}


def test_what_noise_may_have_done_is_no_course():
    def shaken(curve):
        return [{**entry, "loss": entry["loss"] + (-1) ** number / 10} for number, entry in enumerate(run(loss=curve))]

    assert verdict("loss", shaken(lambda at: 0.7)[:38]).course == "flat"
    assert verdict("loss", shaken(lambda at: 0.7 - 0.3 * at)).course == "falls"


def test_a_kl_that_grows_is_watched_and_is_a_fault_late_in_the_run():
    growing = {"terms_kl_forward": lambda at: at}
    assert [verdict("terms/kl_forward", run(share=share, **growing)).name for share in (0.5, 0.9)] == ["", "kl_grows"]


def test_a_margin_that_is_too_large_and_rewards_that_both_sink_are_named():
    assert verdict("rewards/margins", run(**HEALTHY | {"rewards_margins": lambda at: 15 * at})).name == "margin_high"
    sinking = HEALTHY | {"rewards_chosen": lambda at: -at}
    assert verdict("rewards/margins", run(**sinking)).name == "both_sink"


def test_an_accuracy_that_is_high_need_not_climb():
    found = verdict("rewards/accuracies", run(**HEALTHY | {"rewards_accuracies": lambda at: 0.9}))
    assert (found.level, found.course) == ("good", "high")


def test_noise_that_does_not_hide_is_named_at_the_visual_term():
    rises = HEALTHY | {"terms_visual": lambda at: 0.693 + 0.8 * at}
    assert verdict("terms/visual", run(80, **rises)).name == "noise_tells"
    little = run(share=0.5, **HEALTHY | {"terms_visual": lambda at: 0.693 + 0.1 * at})
    assert (verdict("terms/visual", little).level, verdict("terms/visual", little).course) == ("watch", "rises")


def test_a_visual_term_is_idle_only_where_no_row_has_what_it_compares():
    without = HEALTHY | {"terms_visual": lambda at: None}
    log = [{**entry, "noised_share": 0.0} for entry in run(**without)]
    assert verdict("terms/visual", log).name == "idle"
    assert verdict("terms/visual", log[: ENOUGH - 1]).name == "early"
    assert verdict("terms/visual", run(**without)).name == "early", "some rows have, and none was logged so far"
    fallback = [{**entry, "noised_share": 0.0} for entry in run(**HEALTHY)]
    assert verdict("terms/visual", fallback).level == "good", "the objective has another image in their place"


def test_a_term_without_a_rule_is_told_and_not_judged():
    found = verdict("terms/consistency", run(terms_consistency=lambda at: at))
    assert (found.level, found.healthy) == ("watch", "")
    assert texts.say_verdict(found, "en").startswith("Rises from ")


def test_a_log_with_gaps_and_other_entries_is_read():
    log = [*run(**HEALTHY), {"current_steps": 40, "percentage": 100.0, "epoch": 1.0, "eval_loss": 0.4}]
    log[3]["terms/rank"] = None
    log[4]["terms/rank"] = math.nan
    assert verdict("terms/rank", log).level == "good"
    assert verdict("loss", []).name == "early"


def test_what_is_healthy_is_what_the_docs_say():
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    by_metric = {name: row for row in rows for name in re.findall(r"`([a-z_/]+)`", row[0])}
    assert {name: by_metric[name][2] for name in CURVES} == {name: curve.healthy for name, curve in CURVES.items()}
    assert f"margin below {SATURATED_MARGIN:g}" in by_metric["rewards/margins"][2]
    assert EARLY_EPOCH == 0.1
    assert f"within a tenth of an epoch and margin above {SATURATED_MARGIN:g}" in by_metric["rewards/accuracies"][3]


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_every_verdict_can_be_said(language):
    words = texts._verdicts()
    advice = {name for curve in CURVES.values() for name, _ in curve.advice.values()}
    assert set(words["advice"]) == advice | {*("early", "idle", "shortcut", "noise_tells", "margin_high", "both_sink")}
    assert set(words["healthy"]) == {curve.healthy for curve in CURVES.values()}
    said = set()
    for level in ("good", "watch", "warn"):
        for course in words["course"]:
            for curve in CURVES.values():
                found = verdicts.Verdict(level, course, 0.693, 0.4, "diverges", curve.healthy)
                said.add(texts.say_verdict(found, language))
                assert "0.4" in texts.say_verdict(found, language)
    if language != "en":
        assert not [line for line in said if re.search("[a-z]{3}", line)], "no English is left in it"
