"""The steps between a record and a pair, except the edit: reading, responding, target, segmentation, noise."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from .config import BuildConfig, ModelConfig, NoiseConfig, RespondConfig
from .endpoint.failures import StopRunError
from .endpoint.requests import ChatRequest, Message
from .endpoint.settings import EndpointSettings
from .engine import Item, Made, PendingError, Step
from .records import Noised, RejectedError, Segmentation
from .workspace import Workspace

PLACEHOLDERS = ("<image>", "<video>", "<audio>", "<mask>", "</mask>")
THOUGHT_START, THOUGHT_END = "<think>", "</think>"

Ask = Callable[[ChatRequest], str]
"""Sends a request and returns the reply's text; raises PendingError where the reply comes later."""


class ChatEngine(Protocol):
    """A model in this process."""

    def respond(self, question: str, images: tuple[str, ...], system: str, temperature: float, max_tokens: int) -> str:
        """The model's answer."""


def endpoint_settings(config: ModelConfig) -> EndpointSettings:
    """The endpoint's settings from their section of the configuration."""
    return EndpointSettings(**vars(config))


def identity(config: ModelConfig) -> dict[str, Any]:
    """What of an endpoint's settings decides its replies: neither where it is nor how fast it may be asked."""
    kept = ("model", "temperature", "max_tokens", "structured", "extra_body")
    return {name: value for name, value in asdict(config).items() if name in kept}


@lru_cache(maxsize=100_000)
def _file_id(path: str) -> str:
    from .images import content_id

    return content_id(path)


class ReadStep(Step):
    """Decodes a record's images, and writes those that the trainer cannot read as they are as 8-bit PNG."""

    name = "read"
    workers = 2

    def __init__(self, config: BuildConfig, workspace: Workspace) -> None:
        self._window = tuple(config.source.window) if config.source.window else None
        self._workspace = workspace

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The files' content."""
        ids = [
            _file_id(path) if os.access(path, os.R_OK) and Path(path).is_file() else None for path in item.record.images
        ]
        return {"images": list(item.record.images), "content": ids, "window": self._window}

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where an image cannot be read, or the text holds a placeholder."""
        from .images import decode, pixel_id, write_png

        record = item.record
        for what, text in (("question", record.question), ("ground truth", record.truth)):
            held = [mark for mark in PLACEHOLDERS if mark in text]
            if held:
                raise RejectedError(f"placeholder in the {what}: {held[0]}")
        files, ids = [], []
        for path in record.images:
            pixels = decode(path, self._window)  # type: ignore[arg-type]
            content = _file_id(path)
            if is_plain(path):
                files.append(path)
            else:
                content = pixel_id(pixels)
                file = self._workspace.path("images", "clean", f"{content[:32]}.png")
                write_png(pixels, file)
                files.append(relative(file, self._workspace))
            ids.append(content)
        return {"images": files, "ids": ids}

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `images` and `image_ids`."""
        files = tuple(absolute(path, self._workspace) for path in data["images"])
        return replace(item, images=files, image_ids=tuple(data["ids"]))


def is_plain(path: str) -> bool:
    """Whether trainers and endpoints read the file as it is: an 8-bit PNG or JPEG in grey or red-green-blue.

    Other modes do not do: a trainer that scales an image before it converts it makes other pixels of a palette or of
    transparency than of their plain twin.
    """
    from PIL import Image

    try:
        with Image.open(path) as image, open(path, "rb") as file:
            deep = image.format == "PNG" and file.read(25)[24] > 8
            return image.format in ("PNG", "JPEG") and image.mode in ("L", "RGB") and not deep
    except OSError:
        return False


def relative(path: Path, workspace: Workspace) -> str:
    """A file of the workspace by its place in it, so that the folder can be moved."""
    return str(path.relative_to(workspace.folder))


def absolute(path: str, workspace: Workspace) -> str:
    """The file's path; one that is already absolute stays."""
    return str((workspace.folder / path).absolute())


class RespondStep(Step):
    """The model's own answer to the question."""

    name = "respond"

    def __init__(self, config: RespondConfig, ask: Ask | None, engine: Callable[[], ChatEngine] | None) -> None:
        self._config = config
        self._ask = ask
        self._engine = engine
        self._loaded: ChatEngine | None = None
        if config.backend == "engine" and engine is not None and find_spec("llamafactory") is None:
            raise ValueError("respond.backend: engine needs LLaMA-Factory, which is not installed; use endpoint")
        self.workers = config.endpoint.concurrency if config.backend == "endpoint" else 1

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question, images and model; or the source's own response."""
        if self._config.backend == "recorded":
            return {"response": item.record.response}
        endpoint = self._config.endpoint
        engine = {**self._config.engine, "temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
        return {
            # An answer has no schema, so that `structured` does not matter.
            "model": identity(replace(endpoint, structured="")) if self._config.backend == "endpoint" else engine,
            "system": self._config.system,
            "question": item.record.question,
            "images": list(item.image_ids),
            "sample": item.sample,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError for an empty response or one that holds a placeholder; leaves out what it thought."""
        response = self._respond(item).rpartition(THOUGHT_END)[2].strip()
        if not response:
            raise RejectedError("empty response")
        held = [mark for mark in (*PLACEHOLDERS, THOUGHT_START) if mark in response]
        if held:
            raise RejectedError(f"placeholder in the response: {held[0]}")
        return {"response": response}

    def _respond(self, item: Item) -> str:
        record = item.record
        if self._config.backend == "recorded":
            if record.response is None:
                raise RejectedError("no recorded response: the source brings none; choose another respond.backend")
            return record.response
        if self._config.backend == "endpoint":
            if self._ask is None:
                raise PendingError
            return self._ask(self.request(item))
        if self._engine is None:
            raise StopRunError("respond.backend: engine needs LLaMA-Factory; run it through the firempo command")
        self._loaded = self._loaded or self._engine()
        endpoint = self._config.endpoint
        return self._loaded.respond(
            record.question, item.images, self._config.system, endpoint.temperature, endpoint.max_tokens
        )

    def request(self, item: Item) -> ChatRequest:
        """The question as it is sent."""
        system = (Message("system", self._config.system),) if self._config.system else ()
        return ChatRequest((*system, Message("user", item.record.question)), item.images, sample=item.sample)

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `response`."""
        return replace(item, response=data["response"])


class SegmentStep(Step):
    """Finds the target on the images; a record without one, or a report, has nothing to find."""

    name = "segment"

    def __init__(self, config: BuildConfig, workspace: Workspace) -> None:
        self._config = config
        self._workspace = workspace
        self._segmenter: Any = None
        if config.segment.by != "none":
            from .segmenters import make

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
        return {
            "phrase": phrase,
            "images": list(item.image_ids),
            "segmenter": [self._config.segment.by, self._segmenter.settings()],
            "regions": regions,
            "masks": [_file_id(path) for path in masks if Path(path).is_file()],
        }

    def run(self, item: Item) -> dict[str, Any]:
        """One item; see `run_many`."""
        (made,) = self.run_many([item])
        if isinstance(made, Exception):
            raise made
        return made

    def run_many(self, items: Sequence[Item]) -> list[Made]:
        """Segments all images of the items together, so that a model sees full batches."""
        from .images import decode
        from .masks import MaskCache
        from .segmenters import Request, find

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
            "masks": [_file_id(found.mask) if found.mask else None for found in item.segmentations],
            "target": self._target(item),
            "kind": item.record.kind,
            "record": item.record.id,
            "settings": settings,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Corrupts the images with a detection; where there is none, all of them by the rules of `plan_noise`."""
        from .images import decode, write_png
        from .masks import read_mask
        from .noise import corrupt, plan_noise, seed_of

        masks = [found.mask for found in item.segmentations] or [None] * len(item.images)
        plan = plan_noise(item.record.kind, self._target(item), any(masks), self._config)
        made = []
        for place, (path, mask_file) in enumerate(zip(item.images, masks, strict=True)):
            pixels = decode(path)
            if plan.use_mask and mask_file is None:
                noised = pixels  # the evidence is on another image of the record
            else:
                mask = read_mask(mask_file, pixels.shape[:2]) if plan.use_mask and mask_file else None
                owner = (item.image_ids[place], 0) if self._config.shared else (item.record.id, place)
                noised = corrupt(pixels, mask, plan.how, seed_of(*owner, plan.how))
            name = self._name(item, place, plan, mask_file)
            file = self._workspace.path("images", "noised", f"{name}.png")
            write_png(noised, file)
            made.append({"file": relative(file, self._workspace), "clean": item.images[place]})
        return {"path": plan.path, "sigma": plan.how.sigma, "corruption": plan.how.name, "images": made}

    def _name(self, item: Item, place: int, plan: Any, mask_file: str | None) -> str:
        """Names an image by what makes it, so that records whose noise is shared name the same one."""
        if not self._config.shared:
            return hashlib.sha256(f"{self.key(item)}/{place}".encode()).hexdigest()[:32]
        mask = _file_id(mask_file) if plan.use_mask and mask_file else None
        return hashlib.sha256(json.dumps([item.image_ids[place], plan.path, asdict(plan.how), mask]).encode()).hexdigest()[:32]

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
