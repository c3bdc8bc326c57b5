"""A question to a model: what identifies it, and what goes over the wire."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..files import is_unicode
from ..records import RejectedError
from .settings import EndpointSettings, Structured

_MEDIA_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True)
class Message:
    """A turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Schema:
    """The JSON schema of a reply; `name` is letters, digits, "_" and "-"."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class ChatRequest:
    """A request, apart from where and how it is sent.

    Attributes:
        messages: The conversation so far.
        images: PNG or JPEG files, shown with the first user message.
        schema: Of the reply; None: free text.
        sample: Which of several replies to the same question this asks for, from 0.
    """

    messages: tuple[Message, ...]
    images: tuple[str, ...] = ()
    schema: Schema | None = None
    sample: int = 0

    def payload(self, settings: EndpointSettings) -> dict[str, Any]:
        """Everything on which the reply depends, images by their content: what is stored of a request.

        Where the server is does not belong to it: one that moves to another port repeats no call.

        Raises:
            RejectedError: An image cannot be read or is neither PNG nor JPEG, or a text is not Unicode.
        """
        if not all(is_unicode(message.text) for message in self.messages):
            raise RejectedError("a text to send has half a surrogate pair, which is no Unicode")
        return {
            "model": settings.model,
            "messages": [{"role": message.role, "text": message.text} for message in self.messages],
            "images": [hashlib.sha256(_read_image(path)[1]).hexdigest() for path in self.images],
            "schema": None if self.schema is None else {"name": self.schema.name, "body": dict(self.schema.body)},
            "structured": None if self.schema is None else settings.structured,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "seed": settings.seed,
            "sample": self.sample,
            "extra_body": dict(settings.extra_body),
        }

    def key(self, settings: EndpointSettings) -> str:
        """SHA-256 of the payload, as 64 hex digits."""
        return payload_key(self.payload(settings))

    def body(self, settings: EndpointSettings, structured: Structured) -> dict[str, Any]:
        """The request as it goes over the wire, images as data URLs.

        Args:
            settings: How to ask.
            structured: In which way a JSON reply is asked for, where the request has a schema; not `auto`.

        Raises:
            RejectedError: An image cannot be read or is neither PNG nor JPEG.
        """
        body: dict[str, Any] = {"model": settings.model, "messages": self._messages()}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            body["max_tokens"] = settings.max_tokens
        if settings.seed is not None:
            body["seed"] = settings.seed + self.sample
        if self.schema is not None and structured != "none":
            body["response_format"] = {"type": structured}
            if structured == "json_schema":
                held = {"name": self.schema.name, "strict": True, "schema": dict(self.schema.body)}
                body["response_format"]["json_schema"] = held
        return {**body, **settings.extra_body}

    def _messages(self) -> list[dict[str, Any]]:
        """The messages, the images before the text of the first user message."""
        images = [{"type": "image_url", "image_url": {"url": data_url(path)}} for path in self.images]
        written: list[dict[str, Any]] = []
        for message in self.messages:
            content: Any = message.text
            if images and message.role == "user":
                content = [*images, {"type": "text", "text": message.text}]
                images = []
            written.append({"role": message.role, "content": content})
        if images:
            raise UserError("a request with images needs a user message that they belong to")
        return written


Ask = Callable[[ChatRequest], str]
"""Sends a request and returns the reply's text; raises PendingError where the reply comes later."""


def payload_key(payload: Mapping[str, Any]) -> str:
    """SHA-256 of a payload, whatever the order of its keys."""
    text = json.dumps(payload, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def data_url(path: str) -> str:
    """An image file, as it is, as a base64 data URL.

    Raises:
        RejectedError: It cannot be read or is neither PNG nor JPEG.
    """
    media_type, content = _read_image(path)
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _read_image(path: str) -> tuple[str, bytes]:
    """The media type, by content and not by name, and the bytes."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise RejectedError(f"the image {path} cannot be read: {error.strerror}") from None
    for start, media_type in _MEDIA_TYPES.items():
        if content.startswith(start):
            return media_type, content
    raise RejectedError(f"the image {path} is neither PNG nor JPEG: convert it before it is sent")
