"""All rows as one HTML file that needs neither server nor network, and a folder of their images beside it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path, PurePath
from urllib.parse import quote

from ...files import write_text
from ...pages.static_page import data_json, data_lines, fill, picture_blocks
from ...pages.viewer import Folder
from ..data.reasons import kinds_of
from .page import legend_html, row_html
from .pictures import Picture, picture
from .seen import SeenRow

SIDE = 256
"""Pixels of the longer side of a picture: three of them stand beside each other."""
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
    """Writes the page. A picture is embedded once, however many rows show it.

    Args:
        rows: In the order of the page.
        path: The HTML file; written whole or not at all.
        title: Shown on the page.
        note: A sentence for people about all rows; "" for none.
        tick: Called with the number of pictures made and of all.
    """
    seen = list(rows)
    folder = Folder(path.with_name(f"{path.stem}_files"), f"{quote(path.stem)}_files/")
    pictures = _make_pictures(seen, folder, tick)
    index = {key: number for number, key in enumerate(key for key, found in pictures.items() if found.uri)}

    def picture_of(clean: str, noised: str | None) -> Picture:
        found = pictures[clean, noised]
        return replace(found, uri=f"#{index[clean, noised]}") if found.uri else found

    entries = [
        {"place": row.place, "kinds": kinds_of(row.problem), "text": _searched(row), "html": row_html(row, picture_of)}
        for row in seen
    ]
    kinds = Counter(kind for row in seen for kind in kinds_of(row.problem)).most_common()
    data = {
        "page-data": data_json({"note": note, "kinds": kinds}),
        "row-data": data_lines(entries),
        **picture_blocks([pictures[key].uri for key in index]),
    }
    text = fill(files(__package__), title=title, data=data, styles=("row.css", "page.css"), legend=legend_html())
    write_text(path, text)
    folder.sweep()


def _searched(row: SeenRow) -> str:
    """What a search in the text of rows looks at."""
    responses = ("".join(piece.text for piece in side) for side in (row.chosen, row.rejected))
    files = (PurePath(file).name for file in (*row.images, *row.rejected_images))
    return "\n".join((row.place, row.problem, row.earlier, row.question, *responses, *files))


def _make_pictures(rows: Sequence[SeenRow], folder: Folder, tick: Tick | None) -> dict[Key, Picture]:
    """Every picture once. Those of a row are made together, so that its images are decoded once."""
    jobs: list[list[Key]] = []
    wanted: set[Key] = set()
    for row in rows:
        files = ((file, None) for file in (*row.images, *row.rejected_images))
        twins = zip(row.images, row.rejected_images, strict=False)
        jobs.append([key for key in dict.fromkeys([*files, *twins]) if key not in wanted])
        wanted.update(jobs[-1])
    made: dict[Key, Picture] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for pictures in pool.map(partial(_row_pictures, folder), jobs):
            made |= pictures
            if tick is not None and pictures:
                tick(len(made), len(wanted))
    return made


def _row_pictures(folder: Folder, keys: list[Key]) -> dict[Key, Picture]:
    return {(clean, noised): picture(clean, noised, folder=folder, side=SIDE) for clean, noised in keys}
