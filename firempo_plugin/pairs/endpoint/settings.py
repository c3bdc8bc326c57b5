"""Where a model answers and how it is asked; the key itself is never part of it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ...errors import UserError
from ..http_call import is_address, key_of
from .failures import StopRunError
from .scrub import scrub

Structured = Literal["auto", "json_schema", "json_object", "none"]

OWNED = ("model", "messages", "stream", "n", "response_format", "temperature", "max_tokens", "seed")
"""Fields of a request that the settings or the pipeline decide, and `extra_body` may not."""


@dataclass(frozen=True)
class EndpointSettings:
    """An OpenAI-compatible endpoint.

    Attributes:
        base_url: Up to and including "/v1", without credentials.
        model: Its name is a model's identity for the cache of replies: two models need two names.
        key_env: The NAME of the environment variable that holds the key; None, or a variable that
            is not set: the server needs none.
        temperature: 0 is greedy; None sends none, for models that refuse it.
        max_tokens: Most tokens of a reply; None sends none (give `max_completion_tokens` in `extra_body` to
            models that want that instead).
        timeout: Seconds of silence after which a call has failed.
        concurrency: Most calls at once, over all threads.
        requests_per_minute, tokens_per_minute: Limits to keep; None: none but what the server says.
        retries: How often a call is repeated after a failure that may pass.
        backoff: Seconds before the first repetition; each further one waits twice as long.
        price_in, price_out: Per million tokens, in the currency of `max_cost`; None: see `costs.PRICES`.
        structured: How a reply is held to a JSON schema; `auto` takes the strictest that the server knows.
        seed: Of the first sample; sample n is asked with seed + n. None sends none.
        extra_body: Further fields of every request ("top_p", "chat_template_kwargs", ...).

    Raises:
        UserError: A value is out of range, or holds a secret.
    """

    base_url: str
    model: str
    key_env: str | None = None
    temperature: float | None = 0.0
    max_tokens: int | None = 1024
    timeout: float = 120.0
    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 5
    backoff: float = 1.0
    price_in: float | None = None
    price_out: float | None = None
    structured: Structured = "auto"
    seed: int | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what cannot work, and secrets, which belong into the environment."""
        # First, because the messages of the other checks show values.
        values = asdict(self)
        key_env = values.pop("key_env") or "KEY"
        shown = json.dumps(values, ensure_ascii=False, default=str)
        told = scrub(shown, os.environ.get(key_env)) != shown or scrub(key_env) != key_env
        if told or "@" in self.base_url:
            raise UserError(
                "the endpoint's settings hold what looks like a key or password; put it into an environment "
                "variable and name that variable in key_env"
            )
        reachable = is_address(self.base_url) and not set("?#") & set(self.base_url)
        owned = sorted(set(self.extra_body) & set(OWNED))
        checks = (
            (re.fullmatch(r"[A-Za-z_]\w*", key_env), "key_env", "an environment variable's name", "something else"),
            (reachable, "base_url", "http://host:port/v1, in ASCII and without a query", self.base_url),
            (bool(self.model), "model", "a model's name", self.model),
            (self.temperature is None or 0 <= self.temperature <= 2, "temperature", "0 to 2", self.temperature),
            (self.max_tokens is None or self.max_tokens > 0, "max_tokens", "1 or more", self.max_tokens),
            (self.timeout > 0, "timeout", "seconds above 0", self.timeout),
            (self.concurrency > 0, "concurrency", "1 or more", self.concurrency),
            (_is_limit(self.requests_per_minute), "requests_per_minute", "above 0", self.requests_per_minute),
            (_is_limit(self.tokens_per_minute), "tokens_per_minute", "above 0", self.tokens_per_minute),
            (self.retries >= 0, "retries", "0 or more", self.retries),
            (self.backoff >= 0, "backoff", "seconds, 0 or more", self.backoff),
            (_are_prices(self.price_in, self.price_out), "price_in, price_out", "both or neither, 0 or more",
             (self.price_in, self.price_out)),
            (self.structured in get_args(Structured), "structured", ", ".join(get_args(Structured)), self.structured),
            (not owned, "extra_body", "no field that has a setting of its own", ", ".join(owned)),
        )  # fmt: skip
        for fine, name, expected, found in checks:
            if not fine:
                raise UserError(f"{name}: expected {expected}, found {found!r}")

    @property
    def most_completion_tokens(self) -> int | None:
        """The most tokens that a reply can have; None where nothing limits it."""
        return self.max_tokens or self.extra_body.get("max_completion_tokens")

    def read_key(self) -> str | None:
        """The key from the environment; None where no variable is named or it is not set, as for a local server.

        Raises:
            StopRunError: The variable does not hold a key.
        """
        try:
            return key_of(self.key_env)
        except ValueError as error:
            raise StopRunError(str(error)) from None


def _is_limit(per_minute: float | None) -> bool:
    return per_minute is None or per_minute > 0


def _are_prices(price_in: float | None, price_out: float | None) -> bool:
    if price_in is None or price_out is None:
        return price_in is None and price_out is None
    return price_in >= 0 and price_out >= 0
