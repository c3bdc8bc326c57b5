"""The review page, without server or network, on which a person accepts and rejects pairs.

It is one HTML file with small pictures, and a folder beside it with those in full resolution.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...errors import UserError
from ...files import write_text
from ...pages.static_page import data_json, data_lines, fill, picture_blocks
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
SCRIPTS = ("page.js", "marks.js", "list.js", "pair.js", "keys.js")
"""Parts of the page's one script, in their order."""
FACTS = ("noise_path", "target", "sigma", "was_correct", "judge", "error_type", "kind", "language", "weight", "note")


def write_page(pairs: Iterable[Pair], path: Path) -> dict[str, str]:
    """Writes the review page of pairs, in their order, into an HTML file.

    Returns:
        Reason by file of the images and masks that cannot be shown.

    Raises:
        UserError: Two pairs have the same id.
    """
    shown = list(pairs)
    if len({pair.id for pair in shown}) < len(shown):
        raise UserError("two pairs have the same id; marks could not tell them apart")
    folder = Folder(path.with_name(f"{path.stem}_files"), f"{quote(path.stem)}_files/")
    pictures, outlines, problems = _pictures(shown, folder)
    index = {file: place for place, file in enumerate(pictures)}
    page = {
        "title": TITLE,
        "format": FORMAT,
        "store": f"firempo review {hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]}",
        "download": f"{path.stem}.marks.json",
    }

    def picture(file: str) -> dict[str, Any]:
        if file not in pictures:
            return {"index": None, "problem": problems[file]}
        return {"index": index[file], **pictures[file].attributes}

    data = {
        "page-data": data_json(page),
        "record-data": data_lines(_record(pair, picture, outlines) for pair in shown),
        **picture_blocks([found.uri for found in pictures.values()]),
    }
    write_text(path, fill(files(__package__).joinpath("static"), title=TITLE, data=data, scripts=SCRIPTS))
    folder.sweep()
    return problems


def _pictures(
    pairs: Sequence[Pair], folder: Folder
) -> tuple[dict[str, "Thumbnail"], dict[str, tuple[str, str]], dict[str, str]]:
    """Pictures by image file, outlines by mask file, and reasons by file of what cannot be read."""
    from ...pages.thumbnails import outline, thumbnail

    image_files = dict.fromkeys(file for pair in pairs for file in (*pair.images, *pair.rejected_images))
    mask_files = dict.fromkeys(file for pair in pairs for file in pair.masks if file is not None)
    jobs: list[tuple[str, Callable[[], Any]]] = [
        *((file, partial(thumbnail, file, SIDE, folder)) for file in image_files),
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
    }


def _pieces(text: str, spans: Sequence[Span]) -> list[str]:
    """The text cut at the edges of its phrases: pieces outside and inside take turns, outside first."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]
