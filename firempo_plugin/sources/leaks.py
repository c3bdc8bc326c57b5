"""Images of the training records that a test split holds too."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ..errors import UserError
from ..images.tiles import MAX_PIXELS
from ..records import Record, RejectedError

REMEMBERED = 100_000
"""Images whose comparison is kept for the next record that shows them."""


class TestImages:
    """The images of a test split.

    Args:
        test_images: Image files, or a folder of them, with its subfolders.
        max_pixels: Larger images are not decoded.

    Raises:
        UserError: A test image is not there, or there is none at all.
    """

    __test__ = False  # for pytest, which takes the name for a test's

    def __init__(self, test_images: Path | Iterable[str | Path], max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._known: dict[str, str] = {}
        for file, identities in _identified(map(str, _files(test_images)), max_pixels):
            for identity in identities:
                self._known.setdefault(identity, file)
        if not self._known:
            raise UserError(f"{test_images} holds no test image")
        self._seen: dict[str, str | None] = {}

    def shown(self, records: Sequence[Record]) -> dict[str, str]:
        """Finds records that show one of them: the same file, or the same pixels in another lossless file.

        A file that cannot be decoded is compared by its bytes alone, and one that is gone not at all: neither has
        pixels that a model could learn.

        Returns:
            For each record that shows a test image, by its id: the path of that test image.
        """
        if len(self._seen) > REMEMBERED:
            self._seen.clear()
        new = (image for record in records for image in record.images if image not in self._seen)
        for image, identities in _identified(new, self._max_pixels):
            self._seen[image] = next((self._known[name] for name in identities if name in self._known), None)
        found: dict[str, str] = {}
        for record in records:
            test_image = next((test for image in record.images if (test := self._seen[image]) is not None), None)
            if test_image is not None:
                found[record.id] = test_image
        return found


def _identified(files: Iterable[str], max_pixels: int) -> Iterator[tuple[str, list[str]]]:
    """Each file, once, with its identities; decoding holds no lock, so that threads share the work."""
    distinct = list(dict.fromkeys(files))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(distinct, pool.map(partial(_identities, max_pixels=max_pixels), distinct), strict=True)


def _files(test_images: Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(test_images, Path):
        files = [Path(file) for file in test_images]
    elif test_images.is_dir():
        files = sorted(file for file in test_images.rglob("*") if file.is_file())
    else:
        raise UserError(f"{test_images} is no folder; write the folder of the test images")
    for file in files:
        if not file.is_file():
            raise UserError(f"test image {file} does not exist")
    return files


def _identities(file: str, max_pixels: int) -> list[str]:
    from ..images.pixels import content_id, decode, pixel_id

    found = []
    try:
        found.append(content_id(file))
        found.append(pixel_id(decode(file, max_pixels=max_pixels)))
    except RejectedError:
        pass  # what cannot be read has no pixels, and what is gone no bytes either
    return found
