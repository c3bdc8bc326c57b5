"""Every stage runs with tiny shapes, says what its table promises, and does not pass over what is wrong."""

import sys
import time
from dataclasses import replace

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import contestants
from gpu import attention, kernels, machine, parity, steps, tables
from gpu.stage import Context, Result
from model import load


@pytest.fixture
def stage(tmp_path):
    """Returns a function that rehearses a stage, and a place where its result is found."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    def rehearse(run):
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        rehearse.result = Result(tmp_path / "result.json")
        load.cache_clear()
        run(Context(True, tmp_path, rehearse.result, time.monotonic() + 600))
        return rehearse.result

    return rehearse


def rows_of(result, number=-1):
    """The rows of a table, by column."""
    table = result._tables[number]
    return [dict(zip(table["columns"], row, strict=False)) for row in table["rows"]]


def break_loss(monkeypatch, name):
    """Plants a fault: a contestant gives another loss."""
    found = contestants.CONTESTANTS[name]

    def build(loaded):
        runner = found.build(loaded)
        plain = runner.run
        runner.run = lambda *args: 1.02 * plain(*args)
        return runner

    monkeypatch.setitem(contestants.CONTESTANTS, name, replace(found, build=build))


def test_the_machine_is_described(stage):
    result = stage(machine.run)
    assert result.values["machine/rate"] > 0
    assert result.values["machine/bandwidth"] > 0
    assert any("GB of shared memory" in str(row) for row in result._tables[0]["rows"])


def test_steps_are_measured_and_a_wrong_loss_is_no_result(stage, monkeypatch):
    plan = ((False, (steps.DEFAULT, steps.DPO, steps.PUBLISHED)), (True, (steps.DEFAULT,)), (False, ("all_cached",)))
    monkeypatch.setattr(steps, "STEPS", plan)
    break_loss(monkeypatch, "all_cached")
    with pytest.raises(ValueError, match=r"WRONG losses: all_cached \d"):
        stage(steps.run_step)
    names = {(row["contestant"], row["chk"]) for row in rows_of(stage.result)}
    assert names == {(name, "yes" if chk else "no") for chk, those in plan for name in those}
    for name in ("passes", "passes/peak", "passes/share", "passes/checkpointed", "published/best", "all_cached/best"):
        assert stage.result.values[f"step/{name}"] > 0
    reached = [goal.title for goal in tables.GOALS if tables.reached(goal, stage.result.values) is not None]
    assert "step without checkpointing, s" in reached
    assert "stock `dpo` / ours, each as it can run" in reached


def test_the_sweep_has_every_shape(stage, monkeypatch):
    monkeypatch.setattr(steps, "SWEEP", (steps.SWEEP[0], steps.SWEEP[2]))
    monkeypatch.setattr(steps, "SWEPT", ((steps.DEFAULT, False), (steps.PUBLISHED, False)))
    break_loss(monkeypatch, steps.DEFAULT)
    with pytest.raises(ValueError, match="WRONG losses"):
        stage(steps.run_sweep)
    assert [row["image tokens"] for row in rows_of(stage.result)] == [16, 36]
    assert all(" GB" in row[name] for row in rows_of(stage.result) for name in ("passes", "published"))
    assert {"sweep/16/2 x 2/passes", "sweep/36/2 x 2/published"} <= stage.result.values.keys()


def test_budgets_are_measured_with_the_optimisers_state(stage, monkeypatch):
    monkeypatch.setattr(steps, "SEVENS", ((True, (steps.DEFAULT,)),))
    result = stage(steps.run_seven)
    assert [row[0] for row in result._tables[0]["rows"]] == ["qwen3_vl_4b", "qwen2_5_vl_7b_qlora"]
    assert {"seven/qwen3_vl_4b/peak", "seven/qwen2_5_vl_7b_qlora/peak", "seven/passes/best"} <= result.values.keys()


def test_a_wrong_way_to_attend_is_no_result(stage, monkeypatch):
    def wrong(found):
        return attention.dense(replace(found, end=(found.end - 1).clamp(min=1)))

    monkeypatch.setitem(attention.WAYS, "prefix merged", wrong)
    with pytest.raises(ValueError, match="WRONG: differs from float32"):
        stage(attention.run)
    assert [row["way"] for row in rows_of(stage.result)] == list(attention.WAYS)[:3]
    assert all(row["forward ms"] > 0 for row in rows_of(stage.result))


def test_the_profile_counts_all_time(stage):
    result = stage(kernels.run)
    assert {"matrix products", "idle"} <= {row[0] for row in result._tables[0]["rows"]}
    assert 0 <= result.values["profile/idle"] < 1
    assert len(rows_of(result, 1)) == kernels.LONGEST


def test_parity_holds_in_float32_and_a_difference_is_named(stage, monkeypatch):
    plain = parity.expected_of

    def expected_of(*args):
        loss, terms, gradients = plain(*args)
        return loss, terms, {name: 1.01 * value for name, value in gradients.items()}

    for name, value in {"TEMPLATES": ("qwen3_vl",), "ATTENTION": ("sdpa",)}.items():
        monkeypatch.setattr(parity, name, value)
    monkeypatch.setattr(parity, "WAYS", ("passes", "all_cached"))
    monkeypatch.setattr(parity, "expected_of", expected_of)
    with pytest.raises(ValueError, match=r"WRONG: .* in parity/float32/gradient$"):
        stage(parity.run)
    assert stage.result.values["parity/float32/loss"] < 1e-5
    assert stage.result.values["parity/float32/gradient"] == pytest.approx(1 - 1 / 1.01, rel=1e-2)
