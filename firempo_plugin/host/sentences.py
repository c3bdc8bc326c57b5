"""What this package refuses reaches a terminal as a sentence; a traceback is for what went wrong unforeseen."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def refused_by_the_host() -> Iterator[None]:
    """Around the host's reading of a configuration, which refuses keys, values and templates by ValueError.

    Raises:
        UserError: The host refused something; in its own words.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"LLaMA-Factory refuses the configuration: {error}") from error
