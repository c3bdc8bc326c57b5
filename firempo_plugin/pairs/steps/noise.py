"""The step that noises a record's images where the target is."""

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from ...images.settings import NoiseConfig
from ...records import Kind, Noised
from ...respond.read import file_id
from ...store.engine import Item, Step
from ...store.place import Place
from ...store.workspace import later

REMEMBERED = 100_000
"""Shared images of which it is known that they are written."""


class NoiseStep(Step):
    """Writes the noised twins of an item's images."""

    name = "noise"
    version = 1

    def __init__(self, config: NoiseConfig, place: Place, *, located: bool) -> None:
        """Without a segmenter (`located` false), nothing was looked for: a record has no target then."""
        self._config = config
        self._place = place
        self._located = located
        self.workers, self.at_once = config.workers, 8
        self._written: set[str] = set()

    def _target(self, item: Item) -> str | None:
        return item.target.phrase if item.target and self._located else None

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Images, masks, target and corruption."""
        settings = {
            name: value
            for name, value in asdict(self._config).items()
            if name not in ("by", "workers") and value != {}  # builds from before there were options have none
        }
        return {
            "images": list(item.image_ids),
            "masks": [file_id(found.mask) if found.mask else None for found in item.segmentations],
            "target": self._target(item),
            "kind": _kind(item),
            "record": item.record.id,
            "settings": settings,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Corrupts the images with a detection; where there is none, all of them by the rules of `choose_noise`."""
        from ...images.noise import choose_noise
        from ...images.pixels import png

        masks = [found.mask for found in item.segmentations] or [None] * len(item.images)
        choice = choose_noise(_kind(item), self._target(item), any(masks), self._config)
        made = []
        for place, (path, mask_file) in enumerate(zip(item.images, masks, strict=True)):
            name = self._name(item, place, choice, mask_file)
            file = self._place.path("images", "noised", f"{name}.png")
            owner = (item.image_ids[place], 0) if self._config.shared else (item.record.id, place)
            if name not in self._written:
                self._place.put(file, png(_noised(path, mask_file, choice, owner)))
            if self._config.shared:
                if len(self._written) >= REMEMBERED:
                    self._written.clear()
                self._written.add(name)
            made.append({"file": self._place.relative(file), "clean": item.images[place]})
        return {"path": choice.path, "sigma": choice.how.sigma, "corruption": choice.how.name, "images": made}

    def _name(self, item: Item, place: int, choice: Any, mask_file: str | None) -> str:
        """Names an image by what makes it, so that records whose noise is shared name the same one."""
        if not self._config.shared:
            return hashlib.sha256(f"{self.key(item)}/{place}".encode()).hexdigest()[:32]
        mask = file_id(mask_file) if choice.use_mask and mask_file else None
        version = later(version=self.version).values()
        return hashlib.sha256(
            json.dumps([item.image_ids[place], choice.path, choice.how.settings, mask, *version]).encode()
        ).hexdigest()[:32]

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `noised`."""
        return with_noised(item, data, self._place)


def _kind(item: Item) -> Kind:
    """How its image is noised: a statement of a report as an answer is."""
    return "vqa" if item.is_local else "report"


def with_noised(item: Item, data: dict[str, Any], place: Place) -> Item:
    """The item with its noised twins as a step has stored them."""
    shared = {name: data[name] for name in ("path", "sigma", "corruption")}
    files = [place.absolute(image["file"]) for image in data["images"]]
    return replace(
        item,
        noised=tuple(Noised(file=file, clean=clean, **shared) for file, clean in zip(files, item.images, strict=True)),
    )


def _noised(path: str, mask_file: str | None, choice: Any, owner: tuple[str, int]) -> Any:
    """The twin of one image; only its pixels live on, not what they were made of."""
    from ...images.masks import read_mask
    from ...images.noise import corrupt, seed_of
    from ...images.pixels import decode

    pixels = decode(path)
    if choice.use_mask and mask_file is None:
        return pixels  # the evidence is on another image of the record
    mask = read_mask(mask_file, pixels.shape[:2]) if choice.use_mask and mask_file else None
    return corrupt(pixels, mask, choice.how, seed_of(*owner, choice.how))
