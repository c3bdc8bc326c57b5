"""The steps that find the target on a record's images and noise them there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...endpoint.failures import StopRunError
from ...records import Noised, RejectedError, Segmentation
from ...respond.steps import absolute, file_id, relative
from ...store.engine import Item, Made, Step
from ...store.workspace import Workspace, later
from ..config import BuildConfig, NoiseConfig


class SegmentStep(Step):
    """Finds the target on the images; a record without one, or a report, has nothing to find."""

    name = "segment"
    version = 1

    def __init__(self, config: BuildConfig, workspace: Workspace) -> None:
        self._config = config
        self._workspace = workspace
        self._segmenter: Any = None
        if config.segment.by != "none":
            from ..segmenters.segmenter import make

            self._segmenter = make(config.segment.by, config.segment.options)
            self.at_once = self._segmenter.at_once

    def _wanted(self, item: Item) -> str | None:
        target = item.target
        return target.phrase if target and item.record.kind == "vqa" and self._segmenter is not None else None

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
        for number, item in enumerate(items):
            phrase = self._wanted(item)
            for place, path in enumerate(item.images if phrase else ()):
                regions = tuple(region for region in item.record.regions if region.image == place)
                # Masks beside a source's file are looked up by that file's name, not by a converted copy's.
                requests.append(Request(item.record.images[place], decode(path), str(phrase), regions))
                owners.append(number)
        try:
            found = find(self._segmenter, MaskCache(self._workspace.path("masks")), requests) if requests else []
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
        mask = relative(Path(found.mask), self._workspace) if found.mask else None
        return {**asdict(found), "mask": mask}

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `segmentations`."""
        return replace(
            item,
            segmentations=tuple(
                Segmentation(
                    mask=absolute(found["mask"], self._workspace) if found["mask"] else None,
                    boxes=tuple(tuple(box) for box in found["boxes"]),
                    scores=tuple(found["scores"]),
                    segmenter=found["segmenter"],
                )
                for found in data["segmentations"]
            ),
        )


class NoiseStep(Step):
    """Writes the noised twins of an item's images."""

    name = "noise"
    version = 1

    def __init__(self, config: NoiseConfig, workspace: Workspace, *, located: bool) -> None:
        """Without a segmenter (`located` false), nothing was looked for: a record has no target then."""
        self._config = config
        self._workspace = workspace
        self._located = located
        self.workers = config.workers

    def _target(self, item: Item) -> str | None:
        return item.target.phrase if item.target and self._located else None

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Images, masks, target and corruption."""
        settings = {name: value for name, value in asdict(self._config).items() if name != "workers"}
        return {
            "images": list(item.image_ids),
            "masks": [file_id(found.mask) if found.mask else None for found in item.segmentations],
            "target": self._target(item),
            "kind": item.record.kind,
            "record": item.record.id,
            "settings": settings,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Corrupts the images with a detection; where there is none, all of them by the rules of `plan_noise`."""
        from ...images.noise import plan_noise
        from ...images.pixels import write_png

        masks = [found.mask for found in item.segmentations] or [None] * len(item.images)
        plan = plan_noise(item.record.kind, self._target(item), any(masks), self._config)
        made = []
        for place, (path, mask_file) in enumerate(zip(item.images, masks, strict=True)):
            name = self._name(item, place, plan, mask_file)
            file = self._workspace.path("images", "noised", f"{name}.png")
            owner = (item.image_ids[place], 0) if self._config.shared else (item.record.id, place)
            write_png(_noised(path, mask_file, plan, owner), file)
            made.append({"file": relative(file, self._workspace), "clean": item.images[place]})
        return {"path": plan.path, "sigma": plan.how.sigma, "corruption": plan.how.name, "images": made}

    def _name(self, item: Item, place: int, plan: Any, mask_file: str | None) -> str:
        """Names an image by what makes it, so that records whose noise is shared name the same one."""
        if not self._config.shared:
            return hashlib.sha256(f"{self.key(item)}/{place}".encode()).hexdigest()[:32]
        mask = file_id(mask_file) if plan.use_mask and mask_file else None
        version = later(version=self.version).values()
        return hashlib.sha256(
            json.dumps([item.image_ids[place], plan.path, asdict(plan.how), mask, *version]).encode()
        ).hexdigest()[:32]

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `noised`."""
        shared = {name: data[name] for name in ("path", "sigma", "corruption")}
        files = [absolute(image["file"], self._workspace) for image in data["images"]]
        return replace(
            item,
            noised=tuple(
                Noised(file=file, clean=clean, **shared) for file, clean in zip(files, item.images, strict=True)
            ),
        )


def _noised(path: str, mask_file: str | None, plan: Any, owner: tuple[str, int]) -> Any:
    """The twin of one image; only its pixels live on, not what they were made of."""
    from ...images.masks import read_mask
    from ...images.noise import corrupt, seed_of
    from ...images.pixels import decode

    pixels = decode(path)
    if plan.use_mask and mask_file is None:
        return pixels  # the evidence is on another image of the record
    mask = read_mask(mask_file, pixels.shape[:2]) if plan.use_mask and mask_file else None
    return corrupt(pixels, mask, plan.how, seed_of(*owner, plan.how))
