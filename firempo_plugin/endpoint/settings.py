"""Where a model answers and how it is asked; the key itself is never part of it."""

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import UserError
from ..scrub import scrub
from ..settings import config_key
from .failures import StopRunError
from .http_call import is_address, key_of

Structured = Literal["auto", "json_schema", "json_object", "none"]

OWNED = ("model", "messages", "stream", "n", "response_format", "temperature", "max_tokens", "seed")
"""Fields of a request that the settings or the pipeline decide, and `extra_body` may not."""

SHORTEST_ODD, DIGITS = 20, 3
"""A name of so many characters, with so many digits and no underscore, is none that a person gives a variable."""


def is_key_itself(name: str) -> bool:
    """Whether what stands for the name of a key's variable looks like the key: many are letters and digits alone."""
    odd = len(name) >= SHORTEST_ODD and name.isalnum() and sum(map(str.isdigit, name)) >= DIGITS
    return scrub(name) != name or (odd and name not in os.environ)


@dataclass(frozen=True)
class EndpointSettings:
    """An OpenAI-compatible endpoint."""

    base_url: str = config_key("http://127.0.0.1:8000/v1", "address of the endpoint, up to and including /v1")
    model: str = config_key("", "model name as the endpoint knows it; another model needs another name")
    key_env: str | None = config_key(None, "NAME of the environment variable that holds the key, which is never stored")
    temperature: float | None = config_key(
        0.0, "0: greedy; null sends none, for models that refuse it", least=0, most=2
    )
    max_tokens: int | None = config_key(
        512, "longest reply; null sends none: max_completion_tokens in extra_body takes its place", least=1
    )
    timeout: float = config_key(
        120.0, "seconds for the whole of a call; a file of a batch may take longer while it moves", above=0
    )
    concurrency: int = config_key(8, "calls at a time", least=1)
    requests_per_minute: float | None = config_key(None, "rate limit", above=0)
    tokens_per_minute: float | None = config_key(None, "rate limit", above=0)
    retries: int = config_key(6, "of a call that failed for now", least=0)
    backoff: float = config_key(1.0, "seconds before the first retry; each further one waits twice as long", least=0)
    price_in: float | None = config_key(None, "price of a million prompt tokens, in the currency of max_cost", least=0)
    price_out: float | None = config_key(None, "price of a million completion tokens", least=0)
    structured: Structured = config_key("auto", "json_schema, json_object, none, or auto: what the endpoint accepts")
    seed: int | None = config_key(None, "of the first sample; sample n is asked with seed + n; null sends none")
    extra_body: dict[str, Any] = config_key({}, "more fields of every request: top_p, chat_template_kwargs, ...")

    def __post_init__(self) -> None:
        """Refuses what cannot work, and secrets, which belong into the environment."""
        # First, because the messages of the other checks show values.
        values = asdict(self)
        key_env = values.pop("key_env") or "KEY"
        shown = json.dumps(values, ensure_ascii=False, default=str)
        told = scrub(shown, os.environ.get(key_env)) != shown or is_key_itself(key_env)
        if told or "@" in self.base_url:
            raise UserError(
                "key_env: the settings beside it hold what looks like a key or password; put that into an environment "
                "variable, and the variable's name here"
            )
        owned = sorted(set(self.extra_body) & set(OWNED))
        checks = (
            (re.fullmatch(r"[A-Za-z_]\w*", key_env), "key_env", "an environment variable's name", "something else"),
            (is_address(self.base_url) and not set("?#") & set(self.base_url), "base_url",
             "http://host:port/v1, in ASCII and without a query", self.base_url),
            ((self.price_in is None) == (self.price_out is None), "price_in", "a price_out beside it, or neither",
             (self.price_in, self.price_out)),
            (not owned, "extra_body", "no field that has a setting of its own", ", ".join(owned)),
        )  # fmt: skip
        for fine, name, expected, found in checks:
            if not fine:
                raise UserError(f"{name}: expected {expected}, found {found!r}")

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the replies: neither where the endpoint is nor how fast it may be asked."""
        seed = ("seed",) if self.seed is not None else ()
        return {n: vars(self)[n] for n in ("model", "temperature", "max_tokens", "structured", "extra_body", *seed)}

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
