"""What this package refuses reaches a terminal as a sentence; a traceback is for what went wrong unforeseen."""

import linecache
import sys
from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).parents[1]
SPOKEN = (ValueError, ImportError)


def install() -> None:
    """Once a process, for the commands of the host, which catch nothing."""
    before = sys.excepthook
    if before.__module__ == __name__:
        return

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if is_ours(error):
            print(f"firempo: {error}", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = show


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by a `raise` of this package, which then says what to do."""
    trace = error.__traceback__
    if not isinstance(error, SPOKEN) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    return Path(file).is_relative_to(PACKAGE) and linecache.getline(file, trace.tb_lineno).lstrip().startswith("raise ")
