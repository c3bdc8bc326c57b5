"""Rows that a process of its own encodes, read while it does. Light: standard library only; nothing here waits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Lock
from typing import Any, Literal

from ..data.reasons import kinds_of
from .seen import SeenRow

ROWS, STATE = "rows.jsonl", "state.json"
CONFIG, OUTPUT = "config.json", "output.txt"
PREFIX = "firempo-preview-"
ANY_PROBLEM = "*"
TAIL = 2000
"""Characters that are shown of what a worker said before it died."""


@dataclass(frozen=True)
class Standing:
    """How far a look is.

    Attributes:
        state: `loading` (libraries, tokeniser, data sets), `checking` (rows come), `done` or `failed`.
        checked: Rows that can be read.
        total: Of all data sets; None while loading.
        error: Why it failed, as training would say it.
        kinds: Rows with a problem by kind of problem, the most frequent first; a row may have several.
        bad: Rows with a problem.
        builtin_tokenizer: No model was named: token borders are not those of a model, and cutoff_len is not checked.
    """

    state: Literal["loading", "checking", "done", "failed"] = "loading"
    checked: int = 0
    total: int | None = None
    error: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    bad: int = 0
    builtin_tokenizer: bool = False


class Look:
    """A look at the rows of one training configuration. Made by `start`; may be used from several threads.

    Args:
        process: The worker.
        folder: Where it writes; removed at the end.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: "TemporaryDirectory[str]") -> None:
        self._process = process
        self._folder = Path(folder.name)
        self._lock = Lock()
        self._standing = Standing()
        self._end = 0
        self._lines: list[tuple[int, int]] = []
        self._by_kind: dict[str, list[int]] = {}
        self._problems: list[int] = []
        self._finish = weakref.finalize(self, _finish, process, folder)

    @classmethod
    def start(cls, config: dict[str, Any]) -> "Look":
        """Starts a worker on a training YAML's content; see `rows.see`."""
        sweep(Path(gettempdir()))
        folder = TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)
        place = Path(folder.name)
        (place / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", f"{__package__}.worker", str(place / CONFIG), str(place)]
        with open(place / OUTPUT, "wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its pool ends with it
            )
        return cls(process, folder)

    def poll(self) -> Standing:
        """Reads what is new."""
        with self._lock:
            if self._finish.alive and self._standing.state in ("loading", "checking"):
                self._read()
            return self._standing

    def _read(self) -> None:
        dead = self._process.poll() is not None  # before the files: a worker writes its last word, then ends
        state = self._state()
        self._read_rows()
        if dead and state["state"] in ("loading", "checking"):
            said = (self._folder / OUTPUT).read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
            ended = f"the process that reads the rows ended with {self._process.returncode}"
            state |= {"state": "failed", "error": f"{ended}: {said}" if said else ended}
        kinds = Counter({kind: len(numbers) for kind, numbers in self._by_kind.items()})
        by_kind = dict(kinds.most_common())
        self._standing = Standing(**state, checked=len(self._lines), kinds=by_kind, bad=len(self._problems))

    def _state(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self._folder / STATE).read_text(encoding="utf-8")))
        except FileNotFoundError:  # not yet
            return {"state": "loading"}

    def _read_rows(self) -> None:
        if not (self._folder / ROWS).exists():
            return
        with open(self._folder / ROWS, "rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # the worker is writing it
                problem = json.loads(line)["problem"]
                if problem:
                    self._problems.append(len(self._lines))
                for kind in kinds_of(problem):
                    self._by_kind.setdefault(kind, []).append(len(self._lines))
                self._lines.append((self._end, len(line)))
                self._end += len(line)

    def count(self, kind: str | None = None) -> int:
        """Rows read so far of a kind; see `rows`."""
        with self._lock:
            return len(self._numbers(kind))

    def rows(self, kind: str | None, first: int, number: int) -> list[SeenRow]:
        """Rows in the order of the data; none after `close`.

        Args:
            kind: None for all rows, ANY_PROBLEM for those with a problem, or a kind of `Standing.kinds`.
            first: Place of the first one among the rows of the kind.
            number: At most.
        """
        with self._lock:
            if not self._finish.alive or first < 0:
                return []
            wanted = [self._lines[row] for row in self._numbers(kind)[first : first + number]]
            if not wanted:
                return []
            with open(self._folder / ROWS, "rb") as file:
                return [SeenRow.from_json(os.pread(file.fileno(), length, start)) for start, length in wanted]

    def _numbers(self, kind: str | None) -> "range | list[int]":
        if kind is None:
            return range(len(self._lines))
        return self._problems if kind == ANY_PROBLEM else self._by_kind.get(kind, [])

    def close(self) -> None:
        """Ends the worker and removes its files; what `poll` said last stays. Also at the interpreter's exit."""
        with self._lock:
            self._finish()


def _finish(process: subprocess.Popen[bytes], folder: "TemporaryDirectory[str]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    folder.cleanup()


def sweep(place: Path) -> None:
    """Removes what processes left behind in a folder that were ended before they could."""
    for folder in place.glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):  # not one of ours, or of another user
            continue
