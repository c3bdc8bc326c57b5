"""All rows as one HTML file that needs neither server nor network, and a folder of their images beside it."""

import html
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path, PurePath

from ...files import write_text
from ...pages.book import Book, Part
from ...pages.static_page import data_blocks, data_json, data_lines, fill
from ...pages.viewer import Folder
from ..data.reasons import kinds_of
from .page import legend_html, row_html
from .pictures import Picture, picture
from .seen import SeenRow

SIDE = 256
"""Pixels of the longer side of a picture: three of them stand beside each other."""
STYLES = ("row.css", "page.css")

Tick = Callable[[int, int], None]
Key = tuple[str, str | None]
"""A clean image file and its noised twin, whose difference is shown, or one file and None."""


def write_page(
    rows: Iterable[SeenRow],
    path: Path,
    *,
    title: str = "FiRe-MPO rows",
    note: str = "",
    tick: Tick | None = None,
) -> None:
    """Writes the page, or of more than 2,000 rows an index and its pages. A picture is on a page once.

    Args:
        rows: In the order of the pages.
        path: The HTML file; written whole or not at all, after all that it leads to.
        title: Shown on the page.
        note: A sentence for people about all rows; "" for none.
        tick: Called with the number of pictures made and of all.
    """
    book = Book(path, list(rows))
    jobs = [_jobs(part.items) for part in book.parts()]
    total = sum(len(keys) for part in jobs for keys in part)
    done = 0

    def made(number: int) -> None:
        nonlocal done
        done += number
        if tick is not None:
            tick(done, total)

    for part, keys in zip(book.parts(), jobs, strict=True):
        _write_part(part, _make_pictures(keys, book.pictures, made), title, note, book.folder_name)
    if book.has_index:
        _write_index(book, title, note)
    book.sweep()


def _write_part(part: Part[SeenRow], pictures: dict[Key, Picture], title: str, note: str, folder: str) -> None:
    index = {key: number for number, key in enumerate(key for key, found in pictures.items() if found.uri)}

    def picture_of(clean: str, noised: str | None) -> Picture:
        found = pictures[clean, noised]
        return replace(found, uri=f"#{index[clean, noised]}") if found.uri else found

    entries = [{"place": row.place, "kinds": kinds_of(row.problem), "text": _searched(row)} for row in part.items]
    data = {
        "page-data": data_json({"note": note, "kinds": _kinds(part.items), "place": part.place}),
        "row-data": data_lines(entries),
        **data_blocks("markup", (row_html(row, picture_of) for row in part.items)),
        **data_blocks("picture", (pictures[key].uri for key in index)),
    }
    markup = {"legend": legend_html(), "folder": html.escape(folder)}
    write_text(part.path, fill(files(__package__), title=title, data=data, styles=STYLES, **markup))


def _write_index(book: Book[SeenRow], title: str, note: str) -> None:
    pages = [
        {
            "address": part.address,
            "first": part.items[0].place,
            "last": part.items[-1].place,
            "rows": len(part.items),
            "problems": sum(bool(row.problem) for row in part.items),
            "kinds": _kinds(part.items),
        }
        for part in book.parts()
    ]
    data = {"page-data": data_json({"note": note, "pages": pages})}
    text = fill(files(__package__), title=title, data=data, body="index.html", styles=STYLES, scripts=("index.js",))
    write_text(book.path, text)


def _kinds(rows: Sequence[SeenRow]) -> list[tuple[str, int]]:
    return Counter(kind for row in rows for kind in kinds_of(row.problem)).most_common()


def _searched(row: SeenRow) -> str:
    """What a search in the text of rows looks at."""
    responses = ("".join(piece.text for piece in side) for side in (row.chosen, row.rejected))
    files = (PurePath(file).name for file in (*row.images, *row.rejected_images))
    return "\n".join((row.place, row.problem, row.earlier, row.question, *responses, *files, *row.about.values()))


def _jobs(rows: Sequence[SeenRow]) -> list[list[Key]]:
    """Every picture once. Those of a row are made together, so that its images are decoded once."""
    jobs: list[list[Key]] = []
    wanted: set[Key] = set()
    for row in rows:
        files = ((file, None) for file in (*row.images, *row.rejected_images))
        twins = zip(row.images, row.rejected_images, strict=False)
        jobs.append([key for key in dict.fromkeys([*files, *twins]) if key not in wanted])
        wanted.update(jobs[-1])
    return [keys for keys in jobs if keys]


def _make_pictures(jobs: list[list[Key]], folder: Folder, tick: Callable[[int], None]) -> dict[Key, Picture]:
    made: dict[Key, Picture] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for pictures in pool.map(partial(_row_pictures, folder), jobs):
            made |= pictures
            tick(len(pictures))
    return made


def _row_pictures(folder: Folder, keys: list[Key]) -> dict[Key, Picture]:
    return {(clean, noised): picture(clean, noised, folder=folder, side=SIDE) for clean, noised in keys}
