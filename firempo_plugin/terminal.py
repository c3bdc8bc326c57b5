"""What a terminal is shown of texts that others wrote: ids, reasons, a server's words."""

import re
from typing import TextIO

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends among them, marks of writing direction, and halves of surrogate pairs."""


def shown(line: str) -> str:
    """A line in which what would steer the terminal, or turn the text around, is escaped."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


def say(*lines: str, file: TextIO | None = None) -> None:
    """Prints lines, each on one line."""
    for line in lines:
        print(shown(line), file=file)
