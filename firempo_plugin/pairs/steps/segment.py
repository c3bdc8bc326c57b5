"""The step that finds the target on a record's images."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from ...endpoint.failures import StopRunError
from ...records import RejectedError, Segmentation
from ...respond.read import file_id
from ...store.engine import Item, Made, Step
from ...store.place import Place
from ..config import BuildConfig


class SegmentStep(Step):
    """Finds the target on the images; a record without one, or a whole report, has nothing to find."""

    name = "segment"
    version = 1

    def __init__(self, config: BuildConfig, place: Place) -> None:
        self._config = config
        self._place = place
        self._segmenter: Any = None
        self.pace(None)
        if config.segment.by != "none":
            from ..segmenters.segmenter import make

            self._segmenter = make(config.segment.by, config.segment.options)
            self.at_once = self._segmenter.at_once

    def _wanted(self, item: Item) -> str | None:
        target = item.target
        return target.phrase if target and item.is_local and self._segmenter is not None else None

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Images, target and segmenter."""
        phrase = self._wanted(item)
        if phrase is None:
            return {"phrase": None}
        regions = [asdict(region) for region in item.record.regions] if not self._segmenter.cached else []
        masks = sorted({region.mask for region in item.record.regions if region.mask})
        # Masks and boxes are looked up by the names of the source's files.
        names = {} if self._segmenter.cached else {"names": list(item.record.images)}
        return {
            **names,
            "phrase": phrase,
            "images": list(item.image_ids),
            "segmenter": [self._config.segment.by, self._segmenter.identity()],
            "regions": regions,
            "masks": [file_id(path) for path in masks if Path(path).is_file()],
        }

    def beside(self, item: Item) -> Any:
        """Targets on the same images come together, so that a model encodes an image once, and what has none apart."""
        return item.image_ids if self._wanted(item) else None

    def run(self, item: Item) -> dict[str, Any]:
        """One item; see `run_many`."""
        (made,) = self.run_many([item])
        if isinstance(made, Exception):
            raise made
        return made

    def run_many(self, items: Sequence[Item]) -> list[Made]:
        """Segments all images of the items together, so that a model sees full batches."""
        from ...images.masks import MaskCache
        from ...images.pixels import decode
        from ..segmenters.segmenter import Request, find

        requests, owners = [], []
        pixels = cache(decode)
        for number, item in enumerate(items):
            phrase = self._wanted(item)
            for place, path in enumerate(item.images if phrase else ()):
                regions = tuple(region for region in item.record.regions if region.image == place)
                # Masks beside a source's file are looked up by that file's name, not by a converted copy's.
                requests.append(Request(item.record.images[place], pixels(path), str(phrase), regions))
                owners.append(number)
        try:
            masks = MaskCache(self._place.path("masks"), self._place.put)
            found = find(self._segmenter, masks, requests) if requests else []
        except ConnectionError as error:
            return [StopRunError(str(error))] * len(items)
        made: list[Made] = [{"segmentations": []} for _ in items]
        for number, answer in zip(owners, found, strict=True):
            own = made[number]
            if isinstance(answer, RejectedError):
                made[number] = answer
            elif isinstance(own, dict):
                own["segmentations"].append(self._plain(answer))
        return made

    def _plain(self, found: Segmentation) -> dict[str, Any]:
        mask = self._place.relative(Path(found.mask)) if found.mask else None
        return {**asdict(found), "mask": mask}

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `segmentations`."""
        return replace(
            item,
            segmentations=tuple(
                Segmentation(
                    mask=self._place.absolute(found["mask"]) if found["mask"] else None,
                    boxes=tuple(tuple(box) for box in found["boxes"]),
                    scores=tuple(found["scores"]),
                    segmenter=found["segmenter"],
                )
                for found in data["segmentations"]
            ),
        )
