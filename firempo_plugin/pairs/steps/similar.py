"""The step that shows a record's twin: for each of its images the one of another record that looks most like it."""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from ...records import Record, RejectedError
from ...respond.read import file_id
from ...sources.settings import SourceConfig
from ...store.engine import Item, Step
from ...store.workspace import Workspace, later
from .noise import with_noised


class SimilarStep(Step):
    """Takes the place of the noise step: the noised twin of an image is another record's image.

    Never one of the same record, or of a record of the same study, and no copy of the image itself. All images of the
    source can be taken, whatever became of their records, so that the choice does not depend on how far a build is.

    Args:
        config: How images are decoded.
        workspace: Of the build.
        records: All of the source.
        workers: Images at a time.
    """

    name = "noise"
    version = 1

    def __init__(self, config: SourceConfig, workspace: Workspace, records: Iterable[Record], workers: int) -> None:
        self._reading: Any = (tuple(config.window) if config.window else None, config.max_pixels)
        self._workspace = workspace
        self.workers = workers
        self._files: dict[str, str] = {}
        self._marks: dict[str, set[str]] = {}
        for record in records:
            marks = {f"record {record.id}"} | ({f"study {record.study}"} if record.study else set())
            for path in record.images:
                if os.access(path, os.R_OK) and Path(path).is_file():
                    self._files.setdefault(file_id(path), path)
                    self._marks.setdefault(file_id(path), set()).update(marks)
        pool = [[name, sorted(marks)] for name, marks in sorted(self._marks.items())]
        self._pool = hashlib.sha256(json.dumps([pool, self._reading]).encode()).hexdigest()
        self._lock = Lock()
        self._gallery: Any = None

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The images, and all that can be taken in their place."""
        return {"images": [file_id(path) for path in item.record.images], "similar": self._pool}

    def run(self, item: Item) -> dict[str, Any]:
        """Writes the twins; raises RejectedError where an image has none."""
        from ...images.pixels import decode, write_png

        made = []
        for path, clean in zip(item.record.images, item.images, strict=True):
            like = self._like(file_id(path))
            if like is None:
                raise RejectedError(f"no similar image: none of the {len(self._files)} images of the source is like it")
            made_of = json.dumps([like, self._reading, later(version=self.version)])
            name = hashlib.sha256(made_of.encode()).hexdigest()[:32]
            file = self._workspace.path("images", "similar", f"{name}.png")
            write_png(decode(self._files[like], *self._reading), file)
            made.append({"file": self._workspace.relative(file), "clean": clean})
        return {"path": "similar", "sigma": 0.0, "corruption": "similar", "images": made}

    def _like(self, name: str) -> str | None:
        with self._lock:
            self._gallery = self._gallery or self._look()
        found: str | None = self._gallery.like(name)
        return found

    def _look(self) -> Any:
        """All images of the source that can be read; the others' records were rejected when they were read."""
        from ...images.similar import Gallery

        with ThreadPoolExecutor(self.workers) as pool:
            found = zip(self._files, pool.map(self._thumbnail, self._files.values()), strict=True)
            return Gallery({name: levels for name, levels in found if levels is not None}, self._marks)

    def _thumbnail(self, path: str) -> Any:
        from ...images.pixels import decode
        from ...images.similar import thumbnail

        try:
            return thumbnail(decode(path, *self._reading))
        except RejectedError:
            return None

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `noised`."""
        return with_noised(item, data, self._workspace)
