"""Images of the training records that a test split holds too."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..records import Record, RejectedError


def leaks(records: Iterable[Record], test_images: Path | Iterable[str | Path]) -> dict[str, str]:
    """Finds records that show an image of a test split: the same file, or the same pixels in another lossless file.

    A file that cannot be decoded is compared by its bytes alone, and one that is gone not at all: neither has pixels
    that a model could learn.

    Args:
        records: Records to check.
        test_images: The test split's image files, or a folder of them, with its subfolders.

    Returns:
        For each record that shows a test image, by its id: the path of that test image.

    Raises:
        ValueError: A test image is not there, or there is none at all.
    """
    known: dict[str, str] = {}
    for file in _files(test_images):
        for identity in _identities(str(file)):
            known.setdefault(identity, str(file))
    if not known:
        raise ValueError(f"{test_images} holds no test image")
    seen: dict[str, str | None] = {}
    found: dict[str, str] = {}
    for record in records:
        for image in record.images:
            if image not in seen:
                seen[image] = next((known[identity] for identity in _identities(image) if identity in known), None)
            test_image = seen[image]
            if test_image is not None:
                found.setdefault(record.id, test_image)
    return found


def _files(test_images: Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(test_images, Path):
        files = [Path(file) for file in test_images]
    elif test_images.is_dir():
        files = sorted(file for file in test_images.rglob("*") if file.is_file())
    else:
        raise ValueError(f"{test_images} is no folder; write the folder of the test images")
    for file in files:
        if not file.is_file():
            raise ValueError(f"test image {file} does not exist")
    return files


def _identities(file: str) -> Iterator[str]:
    from ..images import content_id, decode, pixel_id

    try:
        yield content_id(file)
        yield pixel_id(decode(file))
    except RejectedError:
        return
