"""Reasons why rows cannot be used, and their kinds. Light: standard library only."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ...errors import UserError


class RowError(UserError):
    """Why a row cannot be used."""


@contextmanager
def blamed_on_the_row(what: str) -> Iterator[None]:
    """Around a call to the host's templates, tokenizers and processors, which fail on odd rows in their own ways.

    Raises:
        RowError: The call raised something; a fault of this package outside such a call is none of a row.
    """
    try:
        yield
    except AttributeError as error:
        raise RowError(what + _misfit(error)) from error
    except Exception as error:
        raise RowError(f"{what}{type(error).__name__}: {error}") from error


def _misfit(error: AttributeError) -> str:
    """What a missing attribute means: of a model's processor, which the template takes for another one, or as it is."""
    asked = type(error.obj)
    if asked.__module__.partition(".")[0] != "transformers":
        return f"AttributeError: {error}"
    return (
        f"the template asks the model's {asked.__name__} for {error.name}, which it has not: `template` is likely "
        "that of another family; docs/models.md has the one of each model"
    )


ALSO = "; also: "
"""Between the problems of one row."""


def together(problems: Iterable[str]) -> str:
    """All problems of a row, each once."""
    return ALSO.join(dict.fromkeys(problems))


def kinds_of(problem: str) -> list[str]:
    """What kinds of problems a row has: without what differs from row to row, quoted words, paths and numbers."""
    without_quotes = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "...", problem)
    return list(dict.fromkeys(filter(None, re.sub(r"\d+", "N", without_quotes).split(ALSO))))
