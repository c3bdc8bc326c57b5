"""Masks that exist as files: those that the record brings, and those of a folder, matched by name."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ...errors import UserError
from ...images.masks import NOTHING, Found, box_around, joined, read_mask
from ...images.pixels import Pixels, inside
from ...records import Region, RejectedError
from ...settings import config_key
from .regions import matching
from .segmenter import Segmenter

_FIELDS = {"target": "(?P<target>.+)", "part": r"\d+"}


@dataclass(frozen=True)
class FileSegmenter(Segmenter):
    """Looks for the phrase among the names of mask files.

    | layout | options |
    |---|---|
    | `scan_left+lung.png` | folder |
    | `scan_lung_left_000.png`, listed in a JSON file | folder, index, pattern: `{stem}_{target}_{part}.png` |
    | `left lung/scan.png` | folder, pattern: `{target}/{stem}.png` |
    | `scan.jpg`, all masks of the lungs | folder, pattern: `{stem}.jpg`, target: lung |

    A mask whose name fits several images belongs to the one of the longest name: beside `scan_2.png`, the mask
    `scan_2_lung.png` is none of `scan.png`. Images of one name in several folders need masks in folders named alike.
    """

    name: ClassVar[str] = "file"
    cached: ClassVar[bool] = False

    folder: str = config_key("", "folder of mask files; none: only the masks of the record")
    pattern: str = config_key(
        "{stem}_{target}.png",
        "path of a mask, its last components: {stem} the image's file name without suffix, {target} what the mask "
        "shows (+ and _ stand for spaces), {part} a number",
    )
    target: str = config_key("", "what every mask shows, where the pattern does not say")
    index: str = config_key(
        "",
        "JSON file with {image: [masks]} or {mask: image}, relative to folder; none: the masks of an image are those "
        "whose path fits the pattern",
    )

    def __post_init__(self) -> None:
        """Raises ValueError where the options do not fit each other or the disk."""
        if self.folder and not Path(self.folder).is_dir():
            raise UserError(f"folder: {self.folder} is no folder; write the folder of the mask files")
        if self.index and not self.folder:
            raise UserError("index needs folder, which its paths are relative to")
        unknown = set(re.findall(r"{(\w*)}", self.pattern)) - {"stem", "target", "part"}
        if unknown:
            raise UserError(f"pattern: {{{unknown.pop()}}} is unknown; use {{stem}}, {{target}}, {{part}}")
        if self.pattern.count("{target}") + bool(self.target) != 1:
            raise UserError("pattern must have {target}, or target what all masks show")
        if self.index and not any(image.is_file() for image in self._listed):
            raise UserError(f"folder: {self.folder} has none of the images that {self.index} names")

    def settings(self) -> dict[str, Any]:
        """The options, and the state of the files."""
        return {"pattern": self.pattern, "target": self.target, "files": self._state}

    def segment(self, image_path: str, image: Pixels, phrase: str, regions: tuple[Region, ...] = ()) -> Found:
        """Joins all masks whose name fits the phrase, by the rules of `regions.matching`."""
        named = [region for region in regions if region.mask is not None] + self._in_folder(Path(image_path))
        chosen = [named[index] for index in matching(phrase, [region.name for region in named])]
        if not chosen:
            return NOTHING
        shape = (image.shape[0], image.shape[1])
        masks = [read_mask(region.mask or "", shape, region.values) for region in chosen]
        return joined(masks, [1.0] * len(masks), [box_around(mask) for mask in masks])

    def _in_folder(self, image: Path) -> list[Region]:
        if self.index:
            return self._listed.get(image.resolve(), [])
        fitting = [mask for mask in self._files if image.stem in mask and self._shown(mask, image.stem)]
        own = [mask for mask in fitting if not self._is_of_another(mask, image)]
        # Of images of one name in several folders, each has the masks whose folders are named as its own are.
        alike = {mask: len(set(self._above(mask)) & set(image.parent.parts)) for mask in own}
        own = [mask for mask in own if alike[mask] == max(alike.values())]
        folders = {self._above(mask) for mask in own}
        if len(folders) > 1:
            names = " and ".join(sorted("/".join(parts) or "." for parts in folders)[:2])
            raise RejectedError(f"masks of several folders fit the image's name: {image}: {names} in {self.folder}")
        return [Region(self._shown(mask, image.stem), mask=str(Path(self.folder, mask))) for mask in own]

    def _is_of_another(self, mask: str, image: Path) -> bool:
        """Whether an image of a longer name, or one in the folder named as the mask's own, has the better claim."""
        file, itself, above = Path(self.folder, mask).resolve(), image.resolve(), self._above(mask)
        longer = (stem for stem in self._beside(image.parent) if stem != image.stem and stem.startswith(image.stem))
        if file.parent != itself.parent and any(
            self._shown(mask, stem) for stem in longer
        ):  # else masks pass for images
            return True
        if image.parent.parts[-len(above) :] == above or len(image.parents) <= len(above):
            return False
        other = image.parents[len(above)].joinpath(*above, image.name)
        return other.resolve() not in (file, itself) and other.is_file()

    def _beside(self, folder: Path) -> frozenset[str]:
        """Stems of the files of a folder."""
        if folder not in self._stems:
            self._stems[folder] = frozenset(path.stem for path in folder.glob("*"))
        return self._stems[folder]

    @cached_property
    def _stems(self) -> dict[Path, frozenset[str]]:
        return {}

    def _above(self, mask: str) -> tuple[str, ...]:
        """The folders that lead to a mask, down to where the pattern begins."""
        return PurePosixPath(mask).parts[: -len(PurePosixPath(self.pattern).parts)]

    def _shown(self, mask: str, stem: str) -> str:
        """What a mask shows, as its path tells; "" where it is no mask of that image."""
        parts = re.split(r"{(\w+)}", self.pattern)
        fields = _FIELDS | {"stem": re.escape(stem)}
        expression = "".join(fields[part] if place % 2 else re.escape(part) for place, part in enumerate(parts))
        depth = len(PurePosixPath(self.pattern).parts)
        match = re.fullmatch(expression, "/".join(PurePosixPath(mask).parts[-depth:]))
        return "" if match is None else self.target or match.group("target")

    @cached_property
    def _state(self) -> str:
        """A digest of names, sizes and times of all mask files and of the index."""
        paths = [Path(self.folder, file) for file in self._files] + [Path(self.index)] * bool(self.index)
        stats = [(str(path), path.stat()) for path in paths]
        return hashlib.sha256(repr([(path, s.st_size, s.st_mtime_ns) for path, s in stats]).encode()).hexdigest()

    @cached_property
    def _files(self) -> list[str]:
        folder = Path(self.folder)
        below = folder.rglob("*") if self.folder else ()
        return sorted(path.relative_to(folder).as_posix() for path in below if path.is_file())

    @cached_property
    def _listed(self) -> dict[Path, list[Region]]:
        """The masks of each image, as the index tells."""
        folder = Path(self.folder)
        try:
            index = json.loads(Path(self.index).read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"segment.options.index: cannot read {self.index}: {error}") from error
        if not isinstance(index, dict):
            found = type(index).__name__
            raise UserError(f"{self.index} must hold {{image: [masks]}} or {{mask: image}}, found a {found}")
        listed: dict[Path, list[Region]] = {}
        for key, value in index.items():
            image, masks = (value, [key]) if isinstance(value, str) else (key, value)
            try:
                for mask in masks:
                    file, name = inside(folder, mask), self._shown(mask, PurePosixPath(image).stem)
                    if not name:
                        raise UserError(f"{mask} does not fit segment.options.pattern {self.pattern}")
                    listed.setdefault(inside(folder, image), []).append(Region(name, mask=str(file)))
            except (TypeError, ValueError) as error:
                raise UserError(f"{self.index}: {key}: {error}; write paths below {folder}") from error
        return listed
