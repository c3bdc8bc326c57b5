"""What this package refuses reaches a terminal as a sentence; a traceback is for what went wrong unforeseen."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import TracebackType

from ..errors import UserError
from .touchpoints import UnsupportedHost

SPOKEN = (UserError, UnsupportedHost)
ENDED_FILE = "firempo_ended.json"
"""Beside a run that LLaMA-Board started: what ended it. Its log holds that between the words of all processes."""


def install() -> None:
    """Once a process, for the commands of the host, which catch nothing."""
    before = sys.excepthook
    if before.__module__ == __name__:
        return

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if folder := os.environ.get("LLAMABOARD_WORKDIR"):
            note_end(Path(folder), error)
        if isinstance(error, SPOKEN):
            print(f"firempo: {error}", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = show


def note_end(folder: Path, error: BaseException) -> None:
    """Writes down what ends a run; of several processes the first one, since the others end by it."""
    noted = {"kind": type(error).__name__, "spoken": isinstance(error, SPOKEN), "sentence": str(error)}
    try:
        with open(folder / ENDED_FILE, "x", encoding="utf-8") as file:
            json.dump(noted, file)
    except OSError:  # it is there, or the folder is not
        return


@contextmanager
def refused_by_the_host() -> Iterator[None]:
    """Around the host's reading of a configuration, which refuses keys, values and templates by ValueError.

    A package that a key needs and is not installed comes as PackageNotFoundError.

    Raises:
        UserError: The host refused something; in its own words.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, PackageNotFoundError) as error:
        raise UserError(f"LLaMA-Factory refuses the configuration: {error}") from error
