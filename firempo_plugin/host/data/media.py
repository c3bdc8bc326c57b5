"""The image files of aligned rows: which there are, whether they have changed, and what rows share them."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any


def media_digest(dataset: Any, columns: tuple[str, str]) -> str:
    """Size and time of every media file by path, so that encoded rows never outlive their images."""
    digest = hashlib.sha256()
    for path in sorted(media_paths(dataset, columns)):
        state = os.stat(path) if os.path.exists(path) else None
        digest.update(f"{path}\0{state and (state.st_size, state.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def media_paths(dataset: Any, columns: tuple[str, str]) -> set[str]:
    """The files in two columns of lists of images; those that lie inside the data have none."""
    paths = set[str]()
    for column in columns:
        for table in dataset.select_columns(column).with_format("arrow").iter(batch_size=1000):
            paths.update(_paths(table.column(column)))
    return paths


def _paths(images: Any) -> Iterator[str]:
    """The paths in an Arrow column of lists of images that do not lie inside the data."""
    from pyarrow import compute, types

    for chunk in images.chunks:
        flat = chunk.flatten()
        if types.is_struct(flat.type):
            flat = flat.field("path").filter(compute.is_null(flat.field("bytes")))
        yield from (path for path in flat.to_pylist() if path is not None)


def by_image(dataset: Any) -> list[int]:
    """Numbers of aligned rows in an order in which those that share images follow one another.

    Rows come where the first row of their clean images is, and among these where the first of their noised ones is.
    """
    first: dict[Any, int] = {}
    columns = [_names(dataset, column) for column in ("_images", "_rejected_images")]
    places = [
        (first.setdefault(clean, number), first.setdefault((clean, noised), number))
        for number, (clean, noised) in enumerate(zip(*columns, strict=True))
    ]
    return sorted(range(len(places)), key=places.__getitem__)


def _names(dataset: Any, column: str) -> Iterator[tuple[str | None, ...]]:
    """The paths of each row's images, without the images that lie inside the data."""
    from pyarrow import ListArray, types

    for table in dataset.select_columns(column).with_format("arrow").iter(batch_size=1000):
        for chunk in table.column(column).chunks:
            if types.is_struct(chunk.type.value_type):
                chunk = ListArray.from_arrays(chunk.offsets, chunk.values.field("path"))
            yield from (tuple(images or ()) for images in chunk.to_pylist())
