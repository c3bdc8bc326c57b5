"""The GPU's one command: every stage has its say whatever becomes of the others, and the pack is what is locked."""

import json
import sys
import time
import zipfile
from pathlib import Path

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from gpu import pack, run, tables
from gpu.packages import LEFT_OUT, PACKED, PRESENT
from gpu.stages import STAGES, Stage

STAGES_FILE = """
import os, signal, subprocess, sys, time
def good(context):
    context.result.table("found", "what", "how much").add("answer", 42.0)
    context.result.value("step/passes", 0.5)
def hang(context):
    context.result.table("found", "what").add("before hanging")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (context.folder.parent / "child").write_text(str(child.pid))
    time.sleep(600)
def fail(context):
    context.result.table("found", "what").add("before failing")
    raise ValueError("on purpose")
def killed(context):
    os.kill(os.getpid(), signal.SIGKILL)
def late(context):
    context.may_start("too much", 1e9)
"""


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Returns a function that runs stages, and gives the results on disk, the text, and the folder."""
    module = tmp_path / "module"
    module.mkdir()
    (module / "odd_stages.py").write_text(STAGES_FILE)
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    plain = run.environment

    def environment(*arguments):
        found = plain(*arguments)
        return {**found, "PYTHONPATH": f"{found['PYTHONPATH']}:{module}"}

    monkeypatch.setattr(run, "environment", environment)

    def get(*names, left=900.0):
        stages = [Stage(name, "odd_stages", name, 4.0 if name == "hang" else 120.0, f"stage {name}") for name in names]
        report = run.Report(out, rehearsed=False)
        with open(out / "log.txt", "w") as log:
            run.run_stages(stages, sys.executable, work, time.monotonic() + left, report, log, False, grace=0.5)
        report.end(1.0)
        return json.loads((out / "results.json").read_text()), (out / "results.md").read_text(), work

    return get


def test_a_stage_that_hangs_fails_or_is_killed_stops_no_other(outcome):
    found, text, work = outcome("hang", "fail", "killed", "late", "good")
    status = {name: content["status"] for name, content in found.items()}
    assert status["hang"] == "killed at its limit of 4 s"
    assert status["fail"].startswith("failed: ValueError: on purpose (in fail)")
    assert status["killed"] == "killed by signal 9"
    assert status["late"] == "time was up"
    assert status["good"] == "done"
    assert found["hang"]["tables"][0]["rows"] == [["before hanging"]]
    assert found["fail"]["tables"][0]["rows"] == [["before failing"]]
    assert found["late"]["left_out"] == ["too much"]
    for part in ("before hanging", "|answer|42|", "want of time: too much", "|step without checkpointing, s|0.5|"):
        assert part in text
    child = Path("/proc") / (work / "child").read_text()
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2], "it outlived its stage"


def test_what_does_not_fit_into_the_time_is_said(outcome):
    found, text, _ = outcome("good", left=3.0)
    assert found["good"]["status"] == "not begun: the time was up"
    assert "good (not begun: the time was up)" in text


def test_goals_are_held_against_what_was_found():
    text = tables.goals_table({"step/passes": 0.9, "step/passes/best": 1.0, "step/published/best": 3.0})
    assert "|step without checkpointing, s|0.9|<= 1|yes|" in text
    assert "|the same, each as it can run|3|>= 3.5|no|" in text
    assert "|its peak, GB|not run|<= 40||" in text
    assert len({goal.value for goal in tables.GOALS}) == len(tables.GOALS)


def test_stages_fit_their_names_and_the_last_hundred_lines():
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    for stage in STAGES:
        assert (ROOT / "benchmarks" / Path(*stage.module.split("."))).with_suffix(".py").is_file()
    wide = tables.markdown(("a", "b"), [("x" * 500, 1.0)])
    assert max(map(len, wide.splitlines())) <= tables.WIDEST + 10
    content = {"tables": [{"title": "", "columns": ("", ""), "rows": [("a", 1.0), ("b", "two")]}]}
    assert tables.stage_text("x", "some", "done", content) == "## x: some [done]\na: 1; b: two"
    assert tables.printed("|a|\n|-|\n|1|\n\n--- x") == "|a|\n|1|\n\n--- x"


def test_the_pack_is_chosen_from_the_lock_file():
    lock = pack.LOCK.read_text("utf-8")
    entries = pack.requirements(lock, PACKED)
    assert len(entries) == len(PACKED)
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert not set(PACKED) & PRESENT
    with pytest.raises(ValueError, match="0 entries for no-such-package"):
        pack.requirements(lock, ["no-such-package"])


def test_libraries_for_other_devices_are_left_out(tmp_path):
    import re

    wheel = tmp_path / "bitsandbytes-1-py3-none-any.whl"
    names = [f"bitsandbytes/libbitsandbytes_{name}.so" for name in ("cpu", "cuda130", "cuda118", "rocm62")]
    with zipfile.ZipFile(wheel, "w") as target:
        for name in names:
            target.writestr(name, "x")
        target.writestr("bitsandbytes-1.dist-info/RECORD", "".join(f"{name},,\n" for name in names))
    pack.leave_out(wheel, re.compile(LEFT_OUT["bitsandbytes"]))
    with zipfile.ZipFile(wheel) as found:
        assert found.namelist() == [*names[:2], "bitsandbytes-1.dist-info/RECORD"]
        assert found.read("bitsandbytes-1.dist-info/RECORD").decode() == "".join(f"{name},,\n" for name in names[:2])


def test_a_pack_that_is_too_large_or_incomplete_is_refused(tmp_path, monkeypatch):
    for package in PACKED:
        (tmp_path / f"{package.replace('-', '_')}-1-py3-none-any.whl").write_bytes(b"12")
    assert pack.check(tmp_path) == 2 * len(PACKED)
    monkeypatch.setattr(pack, "MOST_BYTES", len(PACKED))
    with pytest.raises(ValueError, match="more than"):
        pack.check(tmp_path)
    (tmp_path / "trl-1-py3-none-any.whl").unlink()
    with pytest.raises(ValueError, match="expected"):
        pack.check(tmp_path)
