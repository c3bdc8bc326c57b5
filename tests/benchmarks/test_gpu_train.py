"""The stage that runs `llamafactory-cli train`: what its clock sees, and that another run than asked is no result."""

import json
import math
import sys
import time
from copy import deepcopy
from types import SimpleNamespace

import pytest
import yaml
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from gpu import probe, tables, train
from gpu.stage import Context, Result


def launch_here(context, name, keys):
    """As `train.launch`, in this process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState
    from llamafactory.train.tuner import run_exp

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    file, began = context.folder / f"{name}.json", time.time()
    plain = {key: value if isinstance(value, bool | int) else str(value) for key, value in keys.items()}
    with probe.timed(file):
        run_exp(yaml.safe_load(train.RECIPE.read_text()) | plain | {"dataloader_num_workers": 0})
    found = json.loads(file.read_text())
    return found | {"start": found["began"] - began}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The result of the stage, and what the clocks of its two runs saw."""
    folder, found = tmp_path_factory.mktemp("train"), []
    context = Context(True, folder, Result(folder / "result.json"), time.monotonic() + 600)

    def launch(*args):
        found.append(launch_here(*args))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "launch", launch)
        train.run(context)
    return context.result, found


def test_both_runs_are_measured_beside_the_bare_step(rehearsed):
    result, _ = rehearsed
    rows = {row[0]: dict(zip(train.COLUMNS, row, strict=False)) for row in result._tables[0]["rows"]}
    runs = ("llamafactory-cli train", "resumed, filling both caches", "both caches filled")
    assert tuple(rows) == ("bare step", "bare, cached", *runs)
    for name in runs:
        assert rows[name]["step s"] > 0
        assert rows[name]["x bare"] > 0
        assert 0 <= rows[name]["waiting"] < 1
    assert [rows[name]["start s"] is None for name in runs] == [False, False, True]
    assert [rows[name]["steps timed"] for name in runs] == [2, 2, 2]
    goals = {
        goal.title: tables.reached(goal, result.values) for goal in tables.GOALS if goal.value.startswith("train/")
    }
    assert len(goals) == 2
    assert None not in goals.values()


def test_the_resumed_run_goes_on_and_ends_with_everything_known(rehearsed):
    _, (first, resumed) = rehearsed
    assert [step["step"] for step in first["steps"] + resumed["steps"]] == list(range(1, 13))
    assert resumed["steps"][0]["run"]["passes"] > 0
    assert resumed["steps"][-1]["run"] == resumed["steps"][-4]["run"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda found: found["steps"].pop(0), "ran steps 2 to 5, expected 1 to 5"),
        (lambda found: found["losses"].__setitem__(0, [5, math.nan]), "expected finite ones"),
        (lambda found: found["losses"].clear(), "expected finite ones"),
        (lambda found: found["losses"].__setitem__(0, [5, 0.69]), "begins with 0.6900, expected about 0.7625"),
    ],
)
def test_a_run_that_did_something_else_is_no_result(rehearsed, spoil, said):
    found = deepcopy(rehearsed[1][0])
    train.check(found, range(1, 6))
    spoil(found)
    with pytest.raises(ValueError, match=said):
        train.check(found, range(1, 6))


def test_a_cache_that_does_not_know_is_no_result(rehearsed):
    found = deepcopy(rehearsed[1][1])
    train.check_known(found, range(10, 13))
    found["steps"][-1]["run"]["images"] += 2
    with pytest.raises(ValueError, match="2 images were run with both caches filled"):
        train.check_known(found, range(10, 13))


def test_the_clock_sees_a_slow_loader(tmp_path):
    clock = probe.Clock(tmp_path / "file.json")
    trainer = SimpleNamespace(_caches=SimpleNamespace(counts={"passes": {"run": 3}}))
    get = clock.around(lambda trainer, seconds: time.sleep(seconds))
    state = SimpleNamespace(global_step=7, log_history=[{"loss": 0.5, "step": 7}, {"train_runtime": 1.0, "step": 7}])
    clock.on_train_begin(None, state, None)
    get(trainer, 0.1)
    time.sleep(0.1)
    clock.on_step_end(None, state, None)
    clock.on_train_end(None, state, None)
    found = json.loads((tmp_path / "file.json").read_text())
    assert found["losses"] == [[7, 0.5]]
    assert found["steps"][0]["run"] == {"passes": 3}
    assert 0.1 <= found["steps"][0]["waiting"] < 0.19
    assert found["steps"][0]["seconds"] >= 0.2


@pytest.mark.parametrize(
    ("script", "left", "said"),
    [
        ("echo begins; echo oh no; exit 3", 60.0, "ended with 3 and said: oh no"),
        ("sleep 600", 0.2, "had not ended when the time was up"),
    ],
)
def test_a_run_that_fails_or_hangs_says_so(tmp_path, monkeypatch, script, left, said):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    context = Context(True, tmp_path, Result(tmp_path / "result.json"), time.monotonic() + left)
    with pytest.raises(ValueError, match=said):
        train.launch(context, "first", {})
