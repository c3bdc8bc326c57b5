"""The steps that read a record's images and get the model's response to its question."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..endpoint.failures import StopRunError
from ..endpoint.requests import Ask, ChatRequest, Message
from ..errors import UserError
from ..pairs.config import BuildConfig, RespondConfig
from ..records import Record, RejectedError
from ..store.engine import Item, PendingError, Step
from ..store.workspace import Workspace

PLACEHOLDERS = ("<image>", "<video>", "<audio>", "<mask>", "</mask>")
THOUGHT_START, THOUGHT_END = "<think>", "</think>"


class ChatEngine(Protocol):
    """A model in this process."""

    def respond(self, question: str, images: tuple[str, ...], system: str, temperature: float, max_tokens: int) -> str:
        """The model's answer."""


@lru_cache(maxsize=100_000)
def file_id(path: str) -> str:
    from ..images.pixels import content_id

    return content_id(path)


class ReadStep(Step):
    """Decodes a record's images, and writes those that the trainer cannot read as they are as 8-bit PNG."""

    name = "read"
    version = 1
    workers = 2

    def __init__(self, config: BuildConfig, workspace: Workspace) -> None:
        self._window = tuple(config.source.window) if config.source.window else None
        self._max_pixels = config.source.max_pixels
        self._workspace = workspace

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The files' content, and how they are read; the first placeholder in a text, which is not there as a rule."""
        ids = [
            file_id(path) if os.access(path, os.R_OK) and Path(path).is_file() else None for path in item.record.images
        ]
        return {
            "images": list(item.record.images),
            "content": ids,
            "window": self._window,
            "max_pixels": self._max_pixels,
            **_placeholder(item.record),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where an image cannot be read, or the text holds a placeholder."""
        from ..images.pixels import decode, pixel_id, write_png

        for what, mark in _placeholder(item.record).items():
            raise RejectedError(f"placeholder in the {what}: {mark}")
        files, ids = [], []
        for path in item.record.images:
            pixels = decode(path, self._window, self._max_pixels)  # type: ignore[arg-type]
            content = file_id(path)
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


def _placeholder(record: Record) -> dict[str, str]:
    """The first placeholder in a record's texts, by where it is; empty where there is none."""
    texts = {"question": record.question, "ground truth": record.truth}
    held = [(what, mark) for what, text in texts.items() for mark in PLACEHOLDERS if mark in text]
    return dict(held[:1])


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


def read_responses(file: Path) -> dict[str, str]:
    """Responses by record id, from JSON lines of {id, response}.

    Raises:
        UserError: Names the line that lacks one of them or repeats an id.
    """
    from ..sources.files import read_jsonl

    responses: dict[str, str] = {}
    for number, row in enumerate(read_jsonl(file), start=1):
        key, response = row.get("id"), row.get("response")
        if not isinstance(key, str) or not isinstance(response, str):
            raise UserError(f"{file}: row {number}: expected the texts id and response, found {str(row)[:200]}")
        if key in responses:
            raise UserError(f"{file}: row {number}: the id {key!r} is there twice; write one response per record")
        responses[key] = response
    return responses


class RespondStep(Step):
    """The model's own answer to the question."""

    name = "respond"
    version = 1

    def __init__(self, config: RespondConfig, ask: Ask | None, engine: Callable[[], ChatEngine] | None) -> None:
        self._config = config
        self._ask = ask
        self._engine = engine
        self._loaded: ChatEngine | None = None
        self._recorded = read_responses(Path(config.file)) if config.file is not None else None
        if config.backend == "engine" and engine is not None and find_spec("llamafactory") is None:
            raise UserError("respond.backend: engine needs LLaMA-Factory, which is not installed; use endpoint")
        self.workers = config.endpoint.concurrency if config.backend == "endpoint" else 1

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question, images and model; or the source's own response."""
        if self._config.backend == "recorded":
            return {"response": self._known(item)}
        endpoint = self._config.endpoint
        engine = {**self._config.engine, "temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
        return {
            # An answer has no schema, so that `structured` does not matter.
            "model": endpoint.identity | {"structured": ""} if self._config.backend == "endpoint" else engine,
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
            response = self._known(item)
            if response is None:
                where = "the source brings none" if self._recorded is None else f"{self._config.file} has none"
                raise RejectedError(f"no recorded response: {where} for this record")
            return response
        if self._config.backend == "endpoint":
            if self._ask is None:
                raise PendingError
            return self._ask(self.request(item))
        if self._engine is None:
            raise StopRunError("respond.backend: engine needs LLaMA-Factory; run it through the firempo command")
        self._loaded = self._loaded or self._engine()
        endpoint = self._config.endpoint
        assert endpoint.temperature is not None
        assert endpoint.max_tokens is not None
        return self._loaded.respond(
            record.question, item.images, self._config.system, endpoint.temperature, endpoint.max_tokens
        )

    def _known(self, item: Item) -> str | None:
        return item.record.response if self._recorded is None else self._recorded.get(item.record.id)

    def request(self, item: Item) -> ChatRequest:
        """The question as it is sent."""
        system = (Message("system", self._config.system),) if self._config.system else ()
        return ChatRequest((*system, Message("user", item.record.question)), item.images, sample=item.sample)

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `response`."""
        return replace(item, response=data["response"])
