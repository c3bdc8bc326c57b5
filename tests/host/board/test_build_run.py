"""A build's command in a process of its own, which outlives the board and is found again."""

import os
import signal
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from firempo_plugin.host.board import build_run, texts
from firempo_plugin.host.board.build_state import state


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_command_of_a_folder_runs_at_a_time_and_is_found_by_others(tmp_path, monkeypatch):
    code = "import time; print('up', flush=True); time.sleep(60)"
    monkeypatch.setattr(build_run, "FIREMPO", (sys.executable, "-S", "-c", code))
    assert build_run.look(tmp_path) is None
    assert build_run.start(tmp_path, "build", "begun: build")
    found = build_run.look(tmp_path)
    assert (found.command, found.running, found.pausing) == ("build", True, False)
    assert not build_run.start(tmp_path, "dry_run", "begun: dry_run")
    assert build_run.look(tmp_path) == found
    assert (tmp_path / build_run.CONFIG).read_text() == "begun: build", "what runs is read from it"
    until(lambda: (tmp_path / build_run.LOG).read_text() == "up\n")
    assert oct((tmp_path / build_run.LOG).stat().st_mode)[-3:] == "600"
    build_run.pause(tmp_path)
    until(lambda: not build_run.look(tmp_path).running)
    until(lambda: not Path(f"/proc/{found.pid}").exists())
    build_run.pause(tmp_path)
    assert build_run.start(tmp_path, "export", "begun: export")
    build_run.pause(tmp_path)


@pytest.mark.parametrize(
    ("code", "ends"),
    [("", signal.SIGTERM), ("raise SystemExit(3)", None), ("1 / 0", None), ("", signal.SIGKILL)],
)
def test_a_command_that_was_killed_is_told_from_one_that_ended(code, ends, tmp_path, monkeypatch):
    """Also by a board that was started anew: what tells it lies in the folder."""
    config = f"workspace: {tmp_path}"
    (tmp_path / "cli.py").write_text(f"import sys, time\nprint('up', flush=True)\n{code or 'time.sleep(60)'}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    began = [*build_run.FIREMPO[:-1], build_run.FIREMPO[-1].replace("firempo_plugin.cli", "cli")]
    monkeypatch.setattr(build_run, "FIREMPO", began)
    assert build_run.start(tmp_path, "build", config)
    found = build_run.look(tmp_path)
    until(lambda: "up\n" in (tmp_path / build_run.LOG).read_text())
    if ends == signal.SIGTERM:
        build_run.pause(tmp_path)
    elif ends is not None:
        os.kill(found.pid, ends)
    until(lambda: not build_run.look(tmp_path).running)
    assert build_run.look(tmp_path).killed is (ends == signal.SIGKILL)
    for language in texts.LANGUAGES:
        told = state(tmp_path, language).told
        command = texts.labels()["fire_build_build_btn"][language]["value"]
        assert (texts.say("build_killed", language, command=command) in told) is (ends == signal.SIGKILL)
    monkeypatch.setattr(build_run, "FIREMPO", (sys.executable, "-S", "-c", "import time; time.sleep(60)"))
    assert build_run.start(tmp_path, "build", config)
    assert not build_run.look(tmp_path).killed
    build_run.pause(tmp_path)


def test_a_command_of_before_it_left_a_file_at_its_end_is_not_taken_for_killed(tmp_path):
    (tmp_path / build_run.RUN).write_text('{"command": "build", "pid": 4194304, "running": true, "pausing": false}')
    assert not build_run.look(tmp_path).killed


def test_a_run_that_ends_as_it_is_paused_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "board.run").write_text("")
    monkeypatch.setattr(build_run, "look", lambda folder: build_run.Run("build", 2**22 + 1))  # above the largest pid
    build_run.pause(tmp_path)


def test_a_pause_reaches_a_run_whose_file_is_just_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr(build_run, "FIREMPO", (sys.executable, "-S", "-c", "import time; time.sleep(60)"))
    assert build_run.start(tmp_path, "build", "begun: build")
    file = tmp_path / build_run.RUN
    written = file.read_text()
    file.write_text("")
    Timer(0.2, file.write_text, [written]).start()
    build_run.pause(tmp_path)
    until(lambda: not build_run.look(tmp_path).running)
    assert build_run.look(tmp_path).pausing


@pytest.mark.parametrize(
    "written", ["", "[]", "{}", '{"command": "build"}', "7", '{"command": "x", "pid": 1, "pausing": false}']
)
def test_a_run_file_that_says_nothing_is_no_running_build(tmp_path, written):
    (tmp_path / "board.run").write_text(written)
    assert build_run.look(tmp_path) == build_run.Run("build", 0, running=False)
