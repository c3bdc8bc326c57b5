"""The images of an aligned row, decoded and checked before they reach the host."""

import hashlib
import os
import re
from io import BytesIO
from typing import Any

from ...images.tiles import cut, tiles
from .reasons import RowError, together

DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
ORIENTATION, UPRIGHT = 0x0112, 1
"""The EXIF tag, and its value where nothing is turned."""
KEPT, KEPT_PIXELS = 64, 16_000_000
"""Images that were decoded last, and their pixels: 64 MB at most, unless one alone has more."""
STRIP = 2**14
"""Pixels that are compared at once: what is noised is found in the first few, which the middle of an image gives."""

_recent: dict[tuple[str, int, int], Any] = {}


def open_images(aligned: dict[str, Any], media_dir: str) -> tuple[list[Any], list[Any]]:
    """The clean and the noised images of a row, fully decoded.

    Args:
        aligned: The row.
        media_dir: Named in messages about missing files.

    Raises:
        RowError: Images cannot be used, or the noised ones do not fit the clean ones; names all that is wrong.
    """
    opened: dict[str, list[Any]] = {"images": [], "rejected_images": []}
    problems: list[str] = []
    for name, images in opened.items():
        for number, image in enumerate(aligned[f"_{name}"]):
            try:
                images.append(_open(image, f"{name}[{number}]", media_dir))
            except RowError as problem:
                problems.append(str(problem))
    clean_count, noised_count = len(aligned["_images"]), len(aligned["_rejected_images"])
    if noised_count not in (0, clean_count):
        problems.append(
            f"rejected_images has {noised_count} images and images has {clean_count}; each noised image stands for "
            "the clean one at its place"
        )
    if problems:
        raise RowError(together(problems))
    clean, noised = opened.values()
    if noised and all(_same_pixels(*twins) for twins in zip(clean, noised, strict=True)):
        raise RowError("its rejected_images are pixel for pixel its images: nothing is noised")
    return clean, noised


def as_stored(image: Any) -> Any:
    """An image as the rows keep it: a path, or bytes that are one image wherever they are equal.

    Bytes stay as they came, unless their EXIF turns the image: the host's other stages see such a one upright, so
    it is encoded anew, upright and without loss.

    Args:
        image: A path, encoded bytes, or a dict of both.
    """
    from PIL import Image, ImageOps

    if isinstance(image, str):
        return image
    stored = {"path": None, "bytes": image} if isinstance(image, bytes) else {"path": None, "bytes": None, **image}
    if stored["bytes"] is None:
        return stored
    try:
        with Image.open(BytesIO(stored["bytes"])) as opened:
            if opened.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT:
                return stored
            file = BytesIO()
            ImageOps.exif_transpose(opened).save(file, format="PNG" if opened.mode in PNG_MODES else "TIFF")
    except Exception:  # an image that cannot be decoded is named when the row is encoded
        return stored
    return {"path": None, "bytes": file.getvalue()}


def _open(image: Any, name: str, media_dir: str) -> Any:
    """Decodes an image fully.

    Raises:
        RowError: Missing, unreadable, or deeper than 8 bits, which the host would clip to white.
    """
    data = image["bytes"] if isinstance(image, dict) else None
    path = image["path"] if isinstance(image, dict) else image
    where = name if data is not None else f"{name} = {path!r}"
    if data is None and not (isinstance(path, str) and os.path.isfile(path)):
        raise RowError(f"{where} does not exist (looked there and in media_dir {media_dir!r})")
    try:
        opened = _decoded(path if data is None else data)
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise RowError(f"{where} cannot be read as an image: {_say(error)}") from error
    if opened.mode in DEEP_MODES:
        raise RowError(
            f"{where} has more than 8 bits a channel (mode {opened.mode}), which the host would clip to white; "
            "save it as an 8-bit image with the window that you want"
        )
    return opened


def _decoded(source: str | bytes) -> Any:
    """An image by its path or its bytes, decoded once for the rows that share it while they come one after another."""
    from PIL import Image

    if isinstance(source, bytes):
        key = (hashlib.sha256(source).hexdigest(), len(source), 0)
    else:
        state = os.stat(source)
        key = (source, state.st_size, state.st_mtime_ns)
    image = _recent.pop(key, None)
    if image is None:
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source)
        _make_room(image.width * image.height)
        image.load()
    _recent[key] = image
    return image


def _make_room(pixels: int) -> None:
    """Forgets images until one more is within the limits."""
    held = sum(image.width * image.height for image in _recent.values())
    while _recent and (len(_recent) >= KEPT or held + pixels > KEPT_PIXELS):
        oldest = _recent.pop(next(iter(_recent)))
        held -= oldest.width * oldest.height


def _say(error: Exception) -> str:
    """An error without the address of an object, which differs from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")


def _same_pixels(clean: Any, noised: Any) -> bool:
    """Compares piece by piece, from the middle outwards, so that neither image is held a second time."""
    if clean.size != noised.size:
        return False
    strips = sorted(tiles(clean.height, clean.width, STRIP), key=lambda place: abs(2 * place[0].start - clean.height))
    return all(
        cut(clean, place).convert("RGB").tobytes() == cut(noised, place).convert("RGB").tobytes() for place in strips
    )
