"""Reasons why rows cannot be used, and their kinds. Light: standard library only."""

import re


class RowError(ValueError):
    """Why a row cannot be used."""


def kind_of(problem: str) -> str:
    """A problem without what differs from row to row: quoted words, paths and numbers."""
    without_quotes = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "...", problem)
    return re.sub(r"\d+", "N", without_quotes)
