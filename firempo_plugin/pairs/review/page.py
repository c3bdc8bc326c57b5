"""The review page, without server or network, on which a person accepts and rejects pairs.

It is one HTML file with small pictures, and a folder beside it with those in full resolution. More than 2,000 pairs are
several pages in that folder, and the file is their index, which shows how far the review is.
"""

import hashlib
import html
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import write_text
from ...pages.book import Book, Part
from ...pages.static_page import data_blocks, data_json, data_lines, fill
from ...pages.viewer import Folder
from ...phrases import Span
from ...records import RejectedError
from ..pair import Pair
from .decisions import FORMAT, digest

if TYPE_CHECKING:
    from ...pages.thumbnails import Thumbnail

TITLE = "FiRe-MPO pairs"
SIDE = 256
"""Pixels of the longer side of pictures."""
MARKS = ("data.js", "marks.js", "files.js")
SCRIPTS = (*MARKS, "page.js", "list.js", "pair.js", "keys.js")
INDEX_SCRIPTS = (*MARKS, "index.js")
"""Parts of a page's one script, in their order."""
FACTS = ("noise_path", "target", "sigma", "was_correct", "judge", "error_type", "kind", "language", "weight", "note")
_STATIC = files(__package__).joinpath("static")


def write_page(pairs: Iterable[Pair], path: Path) -> dict[str, str]:
    """Writes the review of pairs, in their order: a page, or an index and its pages.

    Returns:
        Reason by file of the images and masks that cannot be shown.

    Raises:
        UserError: Two pairs have the same id.
    """
    shown = list(pairs)
    if len({pair.id for pair in shown}) < len(shown):
        raise UserError("two pairs have the same id; marks could not tell them apart")
    book = Book(path, shown)
    problems: dict[str, str] = {}
    for part in book.parts():
        problems |= _write_part(part, book)
    if book.has_index:
        _write_index(shown, book)
    book.sweep()
    return problems


def _write_part(part: Part[Pair], book: Book[Pair]) -> dict[str, str]:
    pictures, outlines, problems = _pictures(part.items, book.pictures)
    index = {file: place for place, file in enumerate(pictures)}

    def picture(file: str) -> dict[str, Any]:
        if file not in pictures:
            return {"index": None, "problem": problems[file]}
        return {"index": index[file], **pictures[file].attributes}

    data = {
        "page-data": data_json(_about(book, part)),
        "record-data": data_lines(_record(pair, picture, outlines) for pair in part.items),
        **data_blocks("picture", (found.uri for found in pictures.values())),
    }
    write_text(part.path, fill(_STATIC, title=TITLE, data=data, scripts=SCRIPTS, meaning=_meaning(book)))
    return problems


def _write_index(pairs: Sequence[Pair], book: Book[Pair]) -> None:
    pages = [{"address": part.address, "pairs": len(part.items)} for part in book.parts()]
    data = {
        "page-data": data_json({**_about(book, None), "pages": pages}),
        "record-data": data_lines({"id": pair.id, "digest": digest(pair)} for pair in pairs),
    }
    text = fill(_STATIC, title=TITLE, data=data, body="index.html", scripts=INDEX_SCRIPTS, meaning=_meaning(book))
    write_text(book.path, text)


def _about(book: Book[Pair], part: Part[Pair] | None) -> dict[str, Any]:
    """What the script of a page, or of the index, needs to know. Marks of all pages are kept under one name."""
    place = part.place if part else None
    name = "index" if part is None else f"page {place['number']}" if place else ""
    return {
        "title": TITLE,
        "format": FORMAT,
        "store": f"firempo review {hashlib.sha256(os.path.realpath(book.path).encode()).hexdigest()[:16]}",
        "part": name,
        "place": place,
        "download": f"{book.path.stem}{'.' + name.replace(' ', '-') if place else ''}.marks.json",
    }


def _meaning(book: Book[Pair]) -> str:
    text = _STATIC.joinpath("meaning.html").read_text(encoding="utf-8")
    return Template(text).substitute(folder=html.escape(book.folder_name))


def _pictures(
    pairs: Sequence[Pair], folder: Folder
) -> tuple[dict[str, "Thumbnail"], dict[str, tuple[str, str]], dict[str, str]]:
    """Pictures by image file, outlines by mask file, and reasons by file of what cannot be read."""
    from ...pages.thumbnails import outline, thumbnail

    image_files = dict.fromkeys(file for pair in pairs for file in (*pair.images, *pair.rejected_images))
    sources = {file: source for pair in pairs for file, source in zip(pair.images, pair.sources, strict=False)}
    mask_files = dict.fromkeys(file for pair in pairs for file in pair.masks if file is not None)
    jobs: list[tuple[str, Callable[[], Any]]] = [
        *((file, partial(thumbnail, file, SIDE, folder, sources.get(file))) for file in image_files),
        *((file, partial(outline, file)) for file in mask_files),
    ]
    made: dict[str, Any] = {}
    problems: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, result, problem in pool.map(_attempt, jobs):
            if problem is None:
                made[file] = result
            else:
                problems[file] = problem
    return (
        {file: made[file] for file in image_files if file in made},
        {file: made[file] for file in mask_files if file in made},
        problems,
    )


def _attempt(job: tuple[str, Callable[[], Any]]) -> tuple[str, Any, str | None]:
    file, make = job
    try:
        return file, make(), None
    except RejectedError as error:
        return file, None, str(error)


def _record(
    pair: Pair, picture: Callable[[str], dict[str, Any]], outlines: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    images = []
    for place, clean in enumerate(pair.images):
        mask = pair.masks[place] if pair.masks else None
        path, view = outlines.get(mask, (None, None)) if mask else (None, None)
        noised = picture(pair.rejected_images[place]) if pair.rejected_images else None
        images.append({"clean": picture(clean), "noised": noised, "outline": path, "view": view})
    return {
        "id": pair.id,
        "digest": digest(pair),
        "question": pair.question,
        "truth": pair.truth,
        "chosen": _pieces(pair.chosen, pair.chosen_spans),
        "rejected": _pieces(pair.rejected, pair.rejected_spans),
        "images": images,
        "facts": {name: vars(pair)[name] for name in FACTS},
        "finding": {"of": pair.response_id, **vars(pair.finding)} if pair.finding else None,
    }


def _pieces(text: str, spans: Sequence[Span]) -> list[str]:
    """The text cut at the edges of its phrases: pieces outside and inside take turns, outside first."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]
