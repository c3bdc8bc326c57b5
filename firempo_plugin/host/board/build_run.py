"""A command of `firempo` over the folder of a build, in a process that outlives the board and is found again.

The process holds the lock of a file in the folder as long as it lives, whatever becomes of the board: so a running one
is known without asking it, and none is started beside it. The store's own lock keeps those apart that were started
otherwise. At its end it leaves a file: where that is missing, it was killed.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from ...files import private_folder, write_text
from ...processes import search_path

CONFIG, LOG, PAGE = "board.yaml", "board.log", Path("review", "review.html")
WORDS = {
    "build": ("build",),
    "dry_run": ("build", "--dry-run"),
    "export": ("export",),
    "review": ("review",),
}
"""By command of the board, that of `firempo`."""
RUN, ENDED = "board.run", "board.ended"
_FIREMPO = """
import pathlib, runpy, sys
ended = pathlib.Path(sys.argv.pop(1))
try:
    runpy.run_module("firempo_plugin.cli", run_name="__main__", alter_sys=True)
finally:
    ended.touch(0o600)
"""
FIREMPO = (sys.executable, "-P", "-c", _FIREMPO)
"""The command, before the file that says that it has ended and the words of `firempo`."""
_TRIES, _PAUSE = 20, 0.05
"""How often a start tries to lock the file, and a pause to read it, and seconds between.

Who looks holds it for an instant, and for as long nothing can be read in what is being written."""


@dataclass(frozen=True)
class Run:
    """The last command of a folder.

    Attributes:
        command: Of WORDS.
        pid: Its process, as long as it is running.
        running: Whether it is.
        pausing: Whether it was told to end.
        killed: Whether it stopped without ending, and nobody had told it to.
    """

    command: str
    pid: int
    running: bool = True
    pausing: bool = False
    killed: bool = False


def start(folder: Path, command: str, config: str) -> bool:
    """Writes the folder's CONFIG and starts a command over it; False, and nothing is written, where one is running.

    What it prints goes to LOG.
    """
    private_folder(folder)
    place = os.path.join(os.curdir, folder, CONFIG)  # no folder is an option, whatever it begins with
    page = ["--page", os.path.join(os.curdir, folder, PAGE)] if command == "review" else []
    with _opened(folder / RUN) as file:
        if not _locked(file):
            return False
        _write(file, Run(command, 0))  # whoever looks now must not take the last one's process for this one's
        write_text(folder / CONFIG, config)
        ended = (folder / ENDED).absolute()
        ended.unlink(missing_ok=True)
        with _opened(folder / LOG) as log:
            log.truncate(0)
            process = subprocess.Popen(
                [*FIREMPO, str(ended), *WORDS[command], place, *page],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": search_path(), "PYTHONUNBUFFERED": "1"},
                pass_fds=(file.fileno(),),
                start_new_session=True,
            )
        _write(file, Run(command, process.pid))
    Thread(target=process.wait, daemon=True).start()
    return True


def look(folder: Path) -> Run | None:
    """The last command of a folder; None where there was none."""
    if not os.path.isfile(folder / RUN):
        return None
    with open(folder / RUN, "r+", encoding="utf-8") as file:
        running = False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            running = True
        try:
            found = json.load(file)
            if found["command"] not in WORDS:
                raise LookupError(found["command"])
            ended = running or found["pausing"] or os.path.exists(folder / ENDED)
            killed = "killed" in found and not ended  # else it was begun when no command left ENDED
            return Run(**{**found, "running": running, "killed": killed})
        except (ValueError, TypeError, LookupError):  # it is being started, or was written by somebody else
            return Run("build", 0, running)


def pause(folder: Path) -> None:
    """Ends what is running, which stores what is under way first; the same command goes on where it was."""
    run = _looked(folder)
    if run is None or not run.running or not run.pid:
        return
    with open(folder / RUN, "r+", encoding="utf-8") as file:
        _write(file, Run(run.command, run.pid, pausing=True))
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(run.pid, signal.SIGTERM)


def _looked(folder: Path) -> Run | None:
    """What `look` finds as soon as it can be read."""
    for _ in range(_TRIES):
        run = look(folder)
        if run is None or run.pid or not run.running:
            break
        time.sleep(_PAUSE)
    return run


def _opened(path: Path) -> IO[str]:
    return open(path, "a+", encoding="utf-8", opener=lambda path, how: os.open(path, how, 0o600))


def _locked(file: IO[str]) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _write(file: IO[str], run: Run) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(asdict(run)))
    file.flush()
