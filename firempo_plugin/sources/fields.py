"""Fields of a row; a value that a record cannot have is a RejectedError, which leaves that row aside."""

import math
import os
import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files import is_unicode
from ..records import RejectedError
from .files import Row

_IMAGE_MARK = re.compile(r"\A\s*<image>\s*|\s*<image>\s*\Z")
_PLACEHOLDERS = ("<image>", "<video>", "<audio>")
_CLOSED = {"closed": True, "true": True, "open": False, "false": False}


def own_id(row: Row, key: str, number: int) -> str:
    """The row's own id, or its number where it has none."""
    value = row.get(key)
    return _written(value) if is_written(value) else f"row{number}"


def is_written(value: Any) -> bool:
    """Whether a value is text or a finite number, and not blank."""
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if number:
        return isinstance(value, int) or math.isfinite(value)
    return isinstance(value, str) and bool(value.strip())


def _written(value: Any) -> str:
    """The value as text; a whole number without the decimal point that tables add to a column with gaps."""
    whole = isinstance(value, float | Decimal) and value == int(value)
    return str(int(value) if whole else value).strip()


def plain(value: Any, name: str) -> str:
    """A field's text without white space around it; a number is written out.

    Raises:
        RejectedError: The field is missing, blank, neither text nor number, or holds what the trainer takes for the
            place of an image.
    """
    if value is None:
        raise RejectedError(f"field is missing: {name}")
    if not is_written(value):
        blank = isinstance(value, str | float | Decimal)
        raise RejectedError(f"field is empty: {name}" if blank else f"field is no text: {name}: {value!r:.80}")
    text = _written(value)
    for placeholder in _PLACEHOLDERS:
        if placeholder in text:
            raise RejectedError(f"text holds {placeholder}: {name}")
    if not is_unicode(text):
        raise RejectedError(f"text holds half a character: {name}")
    return text


def without_image_mark(value: Any) -> Any:
    """Removes `<image>` from the start and the end of a text."""
    return _IMAGE_MARK.sub("", value) if isinstance(value, str) else value


def closed(value: Any) -> bool | None:
    """Reads CLOSED or OPEN, in any case and with white space around; also true and false.

    Raises:
        RejectedError: It is something else.
    """
    if value is None or value == "":
        return None
    known = _CLOSED.get(str(value).strip().lower())
    if known is None:
        raise RejectedError(f"answer type is neither CLOSED nor OPEN: {value!r:.80}")
    return known


def image_path(root: Path, name: Any, *, allow_outside: bool) -> Path:
    """Absolute path of an image that a row names; it need not exist.

    Raises:
        RejectedError: The row names none, or the path leaves the folder.
    """
    from ..images.pixels import inside

    if not isinstance(name, str) or not name.strip():
        raise RejectedError(f"image is not named by a path: {name!r:.80}")
    if not is_unicode(name):
        raise RejectedError(f"image name holds half a character: {name!r:.80}")
    return inside(root, name, allow_outside=allow_outside)


@lru_cache(maxsize=10)
def folder(place: str) -> Path:
    """The same for the same place, since a path keeps what it has found out of itself."""
    return Path(place)


def image_file(root: Path, name: Any, *, allow_outside: bool) -> str:
    """Absolute path of an image file that a row names.

    Raises:
        RejectedError: As `image_path`, or there is no such file.
    """
    # What is no name at all may be no key of a cache, either.
    find = _followed if isinstance(name, str) else image_path
    path = str(find(root, name, allow_outside=allow_outside))
    if not os.path.isfile(path):
        raise RejectedError(f"image not found: {name} in {root}")
    return path


@lru_cache(maxsize=10_000)
def _followed(root: Path, name: str, *, allow_outside: bool) -> str:
    """`image_path`; its links are followed once, since many questions may be about one image."""
    return str(image_path(root, name, allow_outside=allow_outside))


def is_wanted(row: Row, key: str, choice: str) -> bool:
    """Whether a row belongs to a choice; one that does not say is kept, for `record` to refuse."""
    return choice == "all" or row.get(key) is None or row[key] == choice
