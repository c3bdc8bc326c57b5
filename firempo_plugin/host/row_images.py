"""The images of an aligned row, decoded and checked before they reach the host."""

import os
import re
from io import BytesIO
from typing import Any

from .reasons import RowError

DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def open_images(aligned: dict[str, Any], media_dir: str) -> tuple[list[Any], list[Any]]:
    """The clean and the noised images of a row, fully decoded.

    Args:
        aligned: The row.
        media_dir: Named in messages about missing files.

    Raises:
        RowError: An image cannot be used, or the noised ones do not fit the clean ones.
    """
    clean, noised = (
        [_open(image, f"{name}[{number}]", media_dir) for number, image in enumerate(_images(aligned, name))]
        for name in ("images", "rejected_images")
    )
    if noised and len(noised) != len(clean):
        raise RowError(
            f"rejected_images has {len(noised)} images and images has {len(clean)}; each noised image stands for "
            "the clean one at its place"
        )
    if noised and all(_same_pixels(*twins) for twins in zip(clean, noised, strict=True)):
        raise RowError("its rejected_images are pixel for pixel its images: nothing is noised")
    return clean, noised


def images_that_decode(aligned: dict[str, Any], name: str) -> list[Any]:
    """The images of a row that cannot be used, as they are; none where they cannot be decoded."""
    try:
        return _images(aligned, name)
    except RowError:  # the row's problem is known already
        return []


def _images(aligned: dict[str, Any], name: str) -> list[Any]:
    """Those that lie inside the data are decoded here, when they are asked for."""
    try:
        return list(aligned[f"_{name}"])
    except Exception as error:  # decoders raise whatever broken bytes make them raise
        raise RowError(f"{name} cannot be read as images: {_say(error)}") from error


def _open(image: Any, name: str, media_dir: str) -> Any:
    """Decodes an image fully.

    Raises:
        RowError: Missing, unreadable, or deeper than 8 bits, which the host would clip to white.
    """
    from PIL import Image

    where = f"{name} = {image!r}" if isinstance(image, str) else name
    if isinstance(image, str) and not os.path.isfile(image):
        raise RowError(f"{where} does not exist (looked there and in media_dir {media_dir!r})")
    try:
        if isinstance(image, dict):
            image = BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        opened.load()
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise RowError(f"{where} cannot be read as an image: {_say(error)}") from error
    if opened.mode in DEEP_MODES:
        raise RowError(
            f"{where} has more than 8 bits a channel (mode {opened.mode}), which the host would clip to white; "
            "save it as an 8-bit image with the window that you want"
        )
    return opened


def _say(error: Exception) -> str:
    """An error without the address of an object, which differs from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")


def _same_pixels(clean: Any, noised: Any) -> bool:
    return clean.size == noised.size and clean.convert("RGB").tobytes() == noised.convert("RGB").tobytes()
