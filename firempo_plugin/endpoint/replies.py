"""Replies, how they are read off the wire, and who keeps them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..files import plain
from .failures import Failure, classify

MOST_TOKENS = 10_000_000
"""Of one call; no model takes or gives as many, so that a count above it is an error."""

OF_HOST = (
    {"id", "object", "created", "model", "choices", "usage"},
    {"index", "message", "finish_reason"},
    {"role", "content", "tool_calls"},
)
"""The fields of a completion, its choices and their messages, as LLaMA-Factory's server writes them; other servers
write more, or no `tool_calls` where there are none."""


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: The message; "" where the model sent none.
        model: Who answered, by the server's word.
        prompt_tokens, completion_tokens: As the server counted, thinking included; estimated where it did not.
        finish_reason: "stop", "length", "content_filter", "refusal", ...
        latency: Seconds from sending to the last byte; 0 for a reply out of a batch.
        cost: In the currency of the prices; None where the model's price is unknown.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    latency: float
    cost: float | None = None


@dataclass(frozen=True)
class StoredReply:
    """How a request ended for good: with a reply, or with the reason why there will never be one."""

    reply: Reply | None = None
    error: str | None = None


class RequestStore(Protocol):
    """Keeps requests and replies; called from many threads at once. What it has kept survives a kill."""

    def get(self, key: str) -> StoredReply | None:
        """How the request ended, or None where it is due: never asked, interrupted, or failed in passing."""

    def answers(self, model: str) -> bool:
        """Whether any request to the model has a reply."""

    def begin(self, key: str, payload: Mapping[str, Any]) -> None:
        """Notes a request that is about to be sent; called again for one that was interrupted."""

    def finish(self, key: str, reply: Reply) -> None:
        """Keeps a reply."""

    def fail(self, key: str, error: str, permanent: bool) -> None:
        """Keeps a reason; a permanent one is what `get` returns from now on."""


@dataclass(frozen=True)
class Completion:
    """A chat completion off the wire; token counts are None where the server gave none.

    Attributes:
        of_host: Whether it has the fields that LLaMA-Factory's server writes, and no others.
    """

    text: str
    model: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    of_host: bool


def read_completion(body: str) -> Completion | Failure:
    """Reads the body of an answer with status 200, which need not be what it should be.

    An answer that is there is kept, whatever else is wrong: it is paid for.
    """
    try:
        found: Any = load(body)
    except (ValueError, RecursionError):
        return Failure("failed", f"the answer is not JSON: {body[:80]!r}", billed=True)
    try:
        choice = found["choices"][0]
        message = choice["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
        finish = str(choice.get("finish_reason") or "stop")
    except (KeyError, IndexError, TypeError, AttributeError):
        return _no_completion(found, body)
    if not isinstance(text, str):
        return Failure("failed", f"the message is no text: {str(text)[:80]!r}", billed=True)
    if finish == "error" or (not text and found.get("error")):
        return _no_completion(found, body)
    prompt, completion = _usage(found.get("usage"))
    if refusal and not text:
        text, finish = str(refusal), "refusal"
    of_host = (set(found), set(choice), set(message)) == OF_HOST
    return Completion(plain(text), plain(str(found.get("model") or "")), plain(finish), prompt, completion, of_host)


def load(text: str) -> Any:
    """Reads JSON, in which a number of thousands of digits, which Python refuses to read, is infinite.

    Raises:
        ValueError, RecursionError: It is none.
    """
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 1000 else math.inf)


def _no_completion(found: Any, body: str) -> Failure:
    """What an answer without a message says; some gateways report so what their upstream said, under status 200."""
    if isinstance(found, dict) and found.get("error"):
        error = found["error"]
        code = error.get("code") if isinstance(error, dict) else None
        return classify(code if isinstance(code, int) and 400 <= code < 600 else 500, body)
    return Failure("failed", f"the answer is no chat completion: {body[:80]!r}", billed=True)


def _text(content: Any) -> Any:
    """A message's content; of a list of parts, those that are text and no thought."""
    if not isinstance(content, list):
        return content or ""
    return "".join(part["text"] for part in content if part["type"] in ("text", "output_text"))


def _usage(usage: Any) -> tuple[int | None, int | None]:
    """Prompt and completion tokens; None where the server gives none, or none that can be right."""
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion, total = (_tokens(counts.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if prompt is not None and total is not None:
        # Thinking tokens are billed as output, but some servers count them in the total only.
        completion = max(completion or 0, total - prompt)
    return prompt, completion


def _tokens(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None
