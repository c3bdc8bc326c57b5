"""`firempo preview`: a page with all rows of a training set."""

import sys
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ...terminal import say
from ..validate import SOUND, UNSOUND, open_config, quiet_host, verdict

NO_MODEL = (
    "No model is named: rows are encoded with a small tokeniser. Token borders are not those of your model, and "
    "cutoff_len is not checked."
)


def preview(target: str, overrides: list[str], page: Path, rows: int | None) -> int:
    """Encodes rows as training does, writes a page that shows them, and counts those that cannot be used.

    Args:
        target, overrides: See `validate.validate`.
        page: The HTML file to write.
        rows: Only so many, from the first; None: all.

    Returns:
        0 where every row on the page can be used, else 1.

    Raises:
        UserError: The configuration or a data set cannot be read; says what to do.
    """
    from .rows import see
    from .static import write_page

    with TemporaryDirectory() as scratch, quiet_host():
        config, builtin = open_config(target, overrides, Path(scratch))
        found = see(config, Path(scratch))
        total = min(found.total, rows or found.total)
        seen = []
        for row in islice(found.rows, total):
            seen.append(row)
            _say(f"{len(seen)} of {total} rows", last=len(seen) == total)
        note = NO_MODEL if builtin or found.builtin_tokenizer else ""
        title = f"FiRe-MPO rows of {Path(target).name}"
        write_page(seen, page, title=title, note=note, tick=_pictures)
    problems = [{"row": row.place, "problem": row.problem} for row in seen if row.problem]
    where = f"The page is {page}; open it in a browser. Its images lie beside it, in {page.stem}_files."
    say(*([note] if note else []), where)
    say(*verdict(problems, total))
    return UNSOUND if problems else SOUND


def _pictures(done: int, total: int) -> None:
    _say(f"{done} of {total} pictures", last=done == total)


def _say(text: str, *, last: bool) -> None:
    """On a terminal, over the line before."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\n" if last else "", file=sys.stderr, flush=True)
