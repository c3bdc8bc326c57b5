"""The process of one stage: `python -m gpu.stage NAME`, started by `run`; and what a stage writes its results into."""

import argparse
import importlib
import json
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

Cell = str | float | int | None


class Result:
    """What a stage has found so far, on disk after every addition.

    Attributes:
        values: Numbers by name, for the figures to reach.
        left_out: What was not begun for want of time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tables: list[dict[str, object]] = []
        self.values: dict[str, float] = {}
        self.left_out: list[str] = []
        self._error = ""
        self._done = False

    def table(self, title: str, *columns: str) -> "Table":
        """Begins a table."""
        table = Table(self, title, columns)
        self._tables.append({"title": title, "columns": columns, "rows": table.rows})
        return table

    def value(self, name: str, value: float) -> None:
        """Keeps a number."""
        self.values[name] = value
        self.save()

    def finish(self, error: str = "") -> None:
        """Marks the end, with the reason if it is not the wanted one."""
        self._error, self._done = error, True
        self.save()

    def save(self) -> None:
        """Writes everything, so that a reader sees the old file or the new one."""
        content = {
            "tables": self._tables,
            "values": self.values,
            "left_out": self.left_out,
            "error": self._error,
            "done": self._done,
        }
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(content))
        partial.replace(self._file)


@dataclass
class Table:
    """Rows under columns; each is on disk when `add` returns."""

    result: Result
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Adds a row; a shorter one is the beginning of a row."""
        self.rows.append(cells)
        self.result.save()


@dataclass
class Context:
    """What a stage is given.

    Attributes:
        rehearse: Whether it runs with tiny shapes on the CPU, for the sake of its code.
        folder: An empty folder for what it writes, on a disk that may be large.
        result: Where its findings go.
        ends: `time.monotonic` at which it is to have ended.
    """

    rehearse: bool
    folder: Path
    result: Result
    ends: float

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    @property
    def threads(self) -> int:
        """Of torch on the CPU; one in a rehearsal, since two wait for each other where other programs run."""
        return 1 if self.rehearse else 2

    def may_start(self, what: str, seconds: float) -> bool:
        """Whether something that takes about so long on the device can still be done; what cannot is noted."""
        if self.ends - time.monotonic() >= (0 if self.rehearse else seconds):
            return True
        self.result.left_out.append(what)
        self.result.save()
        return False


def described(error: BaseException) -> str:
    """An error in one line, with the function that raised it."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" (in {places[-1].name})" if places else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def main(arguments: list[str] | None = None) -> int:
    """Runs one stage; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("function")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    ends = time.monotonic() + options.seconds
    result = Result(options.result)
    try:
        run = getattr(importlib.import_module(options.module), options.function)
        run(Context(options.rehearse, options.folder, result, ends))
    except Exception as error:
        traceback.print_exc()
        result.finish(described(error))
        return 1
    result.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
