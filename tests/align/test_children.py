"""Commands in processes of their own: their logs, their ends, and no one left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firempo_plugin.align.children import Children, last_lines
from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.errors import UserError
from firempo_plugin.files import locked
from firempo_plugin.store.halt import Halt

PYTHON = (sys.executable, "-c")
SLEEPER = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"

STUBBORN = f"import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), exit())); {SLEEPER}"
NESTED = ("import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])",)
"""Starts what follows it, as a launcher does: with no open file but its own."""


@pytest.fixture
def children(tmp_path):
    with locked(tmp_path / "folder") as lock:
        yield Children(lock, Halt())


def test_what_a_command_prints_is_in_its_log_behind_what_was_there(children, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    assert children.run([*PYTHON, "import sys; print('said'); sys.exit(3)"], log, (0, 3)) == 3
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("$ ")
    assert lines[-1] == "said"


def test_a_module_in_the_folder_of_the_command_is_not_taken_for_another(children, tmp_path, monkeypatch):
    (tmp_path / "argparse.py").write_text("raise RuntimeError('of the user')")
    monkeypatch.chdir(tmp_path)
    assert children.firempo("--version", log=tmp_path / "log") == 0


def test_a_command_that_fails_is_quoted(children, tmp_path):
    with pytest.raises(UserError) as error:
        children.run([*PYTHON, "print('\\n'.join(map(str, range(100)))); raise SystemExit(2)"], tmp_path / "log", (0,))
    said = str(error.value).splitlines()
    assert "ended with 2; the same command goes on where it was. The end of its log" in said[0]
    assert said[1:] == [f"  {number}" for number in range(85, 100)]


def test_a_command_that_is_killed_is_told_of_as_such(children, tmp_path):
    with pytest.raises(UserError, match="was ended by SIGKILL, as where memory runs out;"):
        children.run([*PYTHON, "import os; os.kill(os.getpid(), 9)"], tmp_path / "log", (0,))


def test_the_end_of_a_log_is_its_last_state(tmp_path):
    log = tmp_path / "log"
    log.write_text(" 10%\r 50%\r100%\n\nstep 1\r\n" + "x" * 200_000 + "\nlast\n\n")
    assert last_lines(log, 1) == ["last"]
    log.write_text(" 10%\r 50%\r100%\n\nstep 1\r\n")
    assert last_lines(log, 5) == ["100%", "step 1"]


def test_a_halt_ends_the_command_and_what_it_started(children, tmp_path):
    mark = tmp_path / "pid"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}, {str(mark)!r}])"
    children.halt.wake = lambda reason: None
    watcher = subprocess.Popen([*PYTHON, WAIT_AND_SIGNAL, str(mark), str(os.getpid())])
    before = signal.signal(signal.SIGUSR1, lambda number, frame: children.halt.set("enough"))
    try:
        with pytest.raises(StopRunError, match="enough"):
            children.run([*PYTHON, inner], tmp_path / "log", (0,))
    finally:
        signal.signal(signal.SIGUSR1, before)
        watcher.wait()
    assert ends(int(mark.read_text()))


WAIT_AND_SIGNAL = (
    "import os, pathlib, signal, sys, time\n"
    "mark = pathlib.Path(sys.argv[1])\n"
    "while not (mark.is_file() and mark.read_text()): time.sleep(0.05)\n"
    "os.kill(int(sys.argv[2]), signal.SIGUSR1)"
)


def ends(pid):
    """Whether a process is gone soon; one that nobody waits for is, too."""
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("words", [(), NESTED], ids=["the command", "what the command started"])
def test_a_run_that_is_killed_takes_its_command_with_it(tmp_path, words):
    """And keeps its folder locked until then."""
    mark = tmp_path / "pid"
    code = (
        "import pathlib, sys\n"
        "from firempo_plugin.align.children import Children\n"
        "from firempo_plugin.files import locked\n"
        "from firempo_plugin.store.halt import Halt\n"
        "place = pathlib.Path(sys.argv[1])\n"
        f"command = [sys.executable, '-c', *{words!r}, {STUBBORN!r}, sys.argv[2]]\n"
        "Children(locked(place), Halt()).run(command, place / 'log', (0,))"
    )
    run = subprocess.Popen([*PYTHON, code, str(tmp_path / "folder"), str(mark)])
    while not (mark.is_file() and mark.read_text()):
        assert run.poll() is None
        time.sleep(0.05)
    run.kill()
    run.wait()
    with pytest.raises(UserError, match="another firempo run works in"):
        locked(tmp_path / "folder")
    assert ends(int(mark.read_text()))
    for _ in range(200):
        try:
            locked(tmp_path / "folder").close()
            break
        except UserError:
            time.sleep(0.05)
    else:
        pytest.fail("the folder is locked for good")


def test_while_a_command_lives_the_folder_is_locked(tmp_path):
    """Also where its parent is gone and could not end it."""
    lock = locked(tmp_path / "folder")
    sleeper = subprocess.Popen([*PYTHON, "import time; time.sleep(600)"], pass_fds=(lock.fileno(),))
    lock.close()
    try:
        with pytest.raises(UserError, match="another firempo run works in"):
            locked(tmp_path / "folder")
    finally:
        sleeper.kill()
        sleeper.wait()
