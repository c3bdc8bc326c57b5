"""Things to do, several at a time: what is done is found again, output goes to logs, and the time left is told."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

SHOWN = 30
"""Lines of a log that are shown when a command failed."""


@dataclass(frozen=True)
class Shell:
    """Runs commands of this environment for one task.

    Attributes:
        log: Gets what they print.
        threads: That each may use.
    """

    log: Path
    threads: int

    def __call__(self, *command: str) -> None:
        """Runs one command.

        Raises:
            SystemExit: There is no such command, or it failed; says where its log is.
        """
        scripts = Path(sys.executable).parent
        path = os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)])
        found = shutil.which(command[0], path=path)
        if found is None:
            sys.exit(f"There is no {command[0]} in {scripts}: pip install firempo-plugin there, then run this again.")
        given = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self.threads), **os.environ, "PATH": path}
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            status = subprocess.run([found, *command[1:]], env=given, stdout=log, stderr=log, check=False).returncode
        if status:
            last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
            said = "\n".join(last)
            sys.exit(
                f"{said}\n\n{' '.join(command)}\nfailed with status {status}; all it said is in {self.log}. Mend what "
                "it says and run this again to go on."
            )


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Attributes:
        name: For people, and for the log's name.
        done: A file or folder that exists when it is done.
        seconds: How long it takes alone, as far as one can tell beforehand.
        work: Does it.
    """

    name: str
    done: Path
    seconds: float
    work: Callable[[Shell], None]


def run(stages: Sequence[Sequence[Task]], logs: Path, jobs: int) -> None:
    """Does everything that is not done yet, the tasks of a stage side by side.

    Args:
        stages: In order; a stage begins when the one before is done.
        logs: Folder of the logs.
        jobs: Tasks at a time.

    Raises:
        SystemExit: A task failed; those that run beside it end first, and no other begins.
    """
    logs.mkdir(parents=True, exist_ok=True)
    left = [[task for task in stage if not task.done.exists()] for stage in stages]
    total = sum(map(len, left))
    begin, at_first, done = time.monotonic(), _seconds(left, jobs), 0
    print(f"{total} tasks, {jobs} at a time: about {minutes(at_first)}. Logs: {logs}", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for stage in left:
            running = {pool.submit(_work, task, logs, threads): task for task in stage}
            for future in as_completed(running):
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    future.result()
                task, done = running[future], done + 1
                stage.remove(task)
                to_do, past = _seconds(left, jobs), time.monotonic() - begin
                pace = past / (at_first - to_do) if at_first > to_do else 1.0
                rest = f"; left: about {minutes(pace * to_do)}" if to_do else ""
                print(f"{done}/{total} {task.name}, {future.result():.0f} s{rest}", flush=True)


def _work(task: Task, logs: Path, threads: int) -> float:
    """Does a task; returns the seconds that it took."""
    begin = time.monotonic()
    log = logs / f"{task.name.replace(' ', '_').replace('/', '_')}.log"
    log.unlink(missing_ok=True)
    task.work(Shell(log, threads))
    return time.monotonic() - begin


def _seconds(stages: Sequence[Sequence[Task]], jobs: int) -> float:
    return sum(sum(task.seconds for task in stage) / max(1, min(jobs, len(stage))) for stage in stages)


def minutes(seconds: float) -> str:
    """A duration for people."""
    return f"{max(1, round(seconds / 60))} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def whole(target: Path, make: Callable[[Path], None]) -> None:
    """Makes a folder under another name and renames it, so that it is complete whenever it exists."""
    part = target.with_name(f"{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    make(part)
    part.rename(target)
