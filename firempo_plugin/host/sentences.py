"""What this package refuses reaches a terminal as a sentence; a traceback is for what went wrong unforeseen."""

import sys
from types import TracebackType

from ..errors import UserError
from .touchpoints import UnsupportedHost

SPOKEN = (UserError, UnsupportedHost)


def install() -> None:
    """Once a process, for the commands of the host, which catch nothing."""
    before = sys.excepthook
    if before.__module__ == __name__:
        return

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, SPOKEN):
            print(f"firempo: {error}", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = show
