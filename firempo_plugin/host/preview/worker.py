"""The process behind `look.Look`: `python -m firempo_plugin.host.preview.worker CONFIG.json FOLDER`.

It encodes the rows of a training configuration and writes FOLDER/rows.jsonl, a row a line, and FOLDER/state.json.
"""

import json
import sys
from pathlib import Path

from ...files import write_text
from .look import ROWS, STATE
from .watch import end_with_parent


def write(config: Path, folder: Path) -> int:
    """Returns 0 where all rows were seen, else 1; the state then says why."""
    state: dict[str, object] = {"state": "loading", "total": None, "error": "", "builtin_tokenizer": False}

    def enter(**changes: object) -> None:
        state.update(changes)
        write_text(folder / STATE, json.dumps(state))

    enter()
    try:
        from .rows import see

        seen = see(json.loads(config.read_text(encoding="utf-8")), folder)
        enter(state="checking", total=seen.total, builtin_tokenizer=seen.builtin_tokenizer)
        with open(folder / ROWS, "w", encoding="utf-8", buffering=1) as file:
            for row in seen.rows:
                file.write(row.to_json() + "\n")
    except Exception as error:  # whatever ends the look is shown to the person who looks
        enter(state="failed", error=_words(error))
        return 1
    enter(state="done")
    return 0


def _words(error: Exception) -> str:
    """An error for people. The host's own about files it cannot load say why in their cause only."""
    if isinstance(error, ValueError):
        return str(error)
    cause = f" {error.__cause__}" if isinstance(error, OSError) and error.__cause__ is not None else ""
    return f"{type(error).__name__}: {error}{cause}"


def main(config: Path, folder: Path) -> int:
    """The process: ends with its parent, and leaves nothing in the caches of the data sets library."""
    end_with_parent()
    import datasets

    datasets.disable_caching()
    return write(config, folder)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
