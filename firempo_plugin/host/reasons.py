"""Reasons why rows cannot be used, and their kinds. Light: standard library only."""

import re
from collections.abc import Iterable


class RowError(ValueError):
    """Why a row cannot be used."""


ALSO = "; also: "
"""Between the problems of one row."""


def together(problems: Iterable[str]) -> str:
    """All problems of a row, each once."""
    return ALSO.join(dict.fromkeys(problems))


def kinds_of(problem: str) -> list[str]:
    """What kinds of problems a row has: without what differs from row to row, quoted words, paths and numbers."""
    without_quotes = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "...", problem)
    return list(dict.fromkeys(filter(None, re.sub(r"\d+", "N", without_quotes).split(ALSO))))
