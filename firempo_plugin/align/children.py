"""The commands that a round joins, each in a process of its own, which ends with this one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..endpoint.failures import StopRunError
from ..errors import UserError
from ..processes import host_command, search_path
from ..store.halt import Halt
from ..terminal import say

FIREMPO = (sys.executable, "-P", "-m", "firempo_plugin.cli")
"""Without the folder of the command among the places of modules, as an installed command has it."""
SHOWN = 15
"""Lines of a log that are shown when a command failed."""
INTERVAL = 60.0
"""Seconds between two looks at the log's last line."""
PATIENCE = 60.0
"""Seconds that a command has to end by itself when the run is to end."""
_TAIL = 100_000
"""Bytes of a log that its end is looked for in."""
_WATCH = """
import os, signal, sys, time
group, ends = int(sys.argv[1]), float(sys.argv[2])
os.read(0, 1)
try:
    os.killpg(group, signal.SIGTERM)
    ends += time.monotonic()
    while time.monotonic() < ends:
        os.killpg(group, 0)
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
except ProcessLookupError:
    pass
"""
"""Waits until its standard input ends, as it does when this process is gone, and ends a command with all that this has
started: the host's, on several devices, starts others that know nothing of a lock."""


@dataclass(frozen=True)
class Children:
    """Starts the commands of a run.

    Attributes:
        lock: Of the folder; a command keeps it, so that none goes on beside a second run.
        halt: May end the run early.
    """

    lock: IO[str]
    halt: Halt

    def firempo(self, *words: str, log: Path, fine: Collection[int] = (0,)) -> int:
        """Runs `firempo`; see `run`."""
        return self.run([*FIREMPO, *words], log, fine)

    def host(self, *words: str, log: Path) -> int:
        """Runs LLaMA-Factory's command; see `run`."""
        return self.run([host_command(), *words], log, (0,))

    def run(self, command: Sequence[str], log: Path, fine: Collection[int]) -> int:
        """Runs a command to its end; what it prints goes to the log, whose last line is shown every minute.

        Returns:
            Its exit code.

        Raises:
            UserError: It ended with another code than those that are fine; with the end of its log.
            StopRunError: The run is to end.
        """
        environment = os.environ | {"PATH": search_path(), "PYTHONUNBUFFERED": "1"}
        with log.open("a", encoding="utf-8") as output:
            output.write(f"$ {' '.join(command)}\n")
            output.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=(self.lock.fileno(),),
                start_new_session=True,
            )
        watch = subprocess.Popen(
            [sys.executable, "-S", "-c", _WATCH, str(process.pid), str(PATIENCE)],
            stdin=subprocess.PIPE,
            pass_fds=(self.lock.fileno(),),
            start_new_session=True,
        )
        try:
            self._await(process, log)
        finally:
            if not _lives(process):
                watch.kill()
                watch.communicate()
        if process.returncode not in fine:
            raise UserError(
                f"{' '.join(command[-2:])} {_ended(process.returncode)}; the same command goes on where it was. "
                f"The end of its log, {log}:\n" + "\n".join(f"  {line}" for line in last_lines(log, SHOWN))
            )
        return process.returncode

    def _await(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        shown = time.monotonic()
        while process.poll() is None:
            if self.halt.reason:
                _end(process)
                raise StopRunError(self.halt.reason)
            time.sleep(0.1)
            if time.monotonic() - shown >= INTERVAL:
                shown = time.monotonic()
                say(*(f"    {line:.150}" for line in last_lines(log, 1)))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a command and all that it started: with its own care first, then without."""
    os.killpg(process.pid, signal.SIGTERM)
    ends = time.monotonic() + PATIENCE
    while _lives(process) and time.monotonic() < ends:
        time.sleep(0.1)
    if _lives(process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _lives(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a command is there, or something that it started."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{', as where memory runs out' if name == 'SIGKILL' else ''}"


def last_lines(log: Path, most: int) -> list[str]:
    """The last lines of a log that say something; of one that is drawn over, the last state."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line][-most:]
