"""The openai client, without its retries, whose exceptions become failures that tell no secret."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any, TypeVar

from .costs import price_of, text_tokens
from .failures import CallFailedError, Failure, StopRunError, classify
from .limits import backoff, retry_after
from .replies import Reply, read_completion
from .scrub import hide, scrub
from .settings import EndpointSettings

T = TypeVar("T")

NO_KEY = "none"
"""Sent where no key is named, so that the client does not take one from the environment by itself."""

_NEVER_SENT = ("ConnectError", "ConnectTimeout")


class Wire:
    """Calls to one endpoint, one attempt each. The client is made, and the key read, at the first call."""

    def __init__(self, settings: EndpointSettings) -> None:
        """A connection to the endpoint of the settings."""
        self.settings = settings
        self._key: str | None = None
        self._client: Any = None
        self._completions: Any = None
        self._making = Lock()

    def open(self) -> Any:
        """The client, made at the first call; takes half a second then.

        Raises:
            StopRunError: The openai package is missing, or what should be the key is none.
        """
        with self._making:
            if self._client is None:
                try:
                    from openai import OpenAI
                except ModuleNotFoundError:
                    raise StopRunError("an endpoint needs the openai package: pip install openai") from None
                self._key = self.settings.read_key()
                self._client = OpenAI(
                    base_url=self.settings.base_url,
                    api_key=self._key or NO_KEY,
                    max_retries=0,
                    timeout=self.settings.timeout,
                )
                # The package loads this part of itself at its first use only, which would delay the first call.
                self._completions = self._client.chat.completions.with_raw_response
            return self._client

    def chat(self, body: dict[str, Any]) -> str | Failure:
        """One chat completion.

        Args:
            body: Of the request, complete.

        Returns:
            The body of the answer, unparsed, with the key hidden in it; or a failure.
        """
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}

        def send(client: Any) -> str:
            raw = self._completions.create(model=body["model"], messages=body["messages"], extra_body=rest)
            return str(raw.http_response.text)

        answer = self.call(send)
        return answer if isinstance(answer, Failure) else self.without_key(answer)

    def call(self, send: Callable[[Any], T]) -> T | Failure:
        """One attempt at whatever `send` does with the client.

        Raises:
            StopRunError: The openai package is missing, or what should be the key is none.
        """
        client = self.open()
        import openai

        try:
            return send(client)
        except openai.APIStatusError as error:
            asked = retry_after(error.response.headers)
            failure = classify(error.status_code, scrub(error.response.text, self._key), asked)
            if error.status_code == 401 and self._key is None:
                return replace(failure, message=f"{failure.message}. That variable is not set")
            return failure
        except openai.APIConnectionError as error:
            return self._connection_failure(error)
        except (openai.APIError, json.JSONDecodeError) as error:
            return Failure("failed", scrub(f"the answer cannot be read: {error}", self._key), billed=True)

    def patiently(self, send: Callable[[Any], T]) -> T:
        """Attempts until `send` succeeds.

        Raises:
            StopRunError: It cannot succeed.
            CallFailedError: It still fails after all repetitions.
        """
        for repetition in range(self.settings.retries + 1):
            answer = self.call(send)
            if not isinstance(answer, Failure):
                return answer
            if answer.kind not in ("failed", "paused"):
                raise StopRunError(f"{self.settings.base_url}: {answer.message}")
            last = answer
            if repetition < self.settings.retries:
                time.sleep(max(answer.pause or 0.0, backoff(self.settings.backoff, repetition)))
        raise CallFailedError(f"{self.settings.base_url}: {last.message}")

    def without_key(self, text: str) -> str:
        """What a server sent, should it have sent the key too."""
        return hide(text, self._key)

    def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()

    def _connection_failure(self, error: Exception) -> Failure:
        """Whether the request was sent decides whether it may be billed."""
        # By name, because the exceptions are httpx's or httpx2's, by the version of openai.
        cause = error.__cause__
        name = type(cause).__name__
        if name in _NEVER_SENT:
            why = scrub(str(cause), self._key) or name
            return Failure("paused", f"{self.settings.base_url} cannot be reached: {why}", unreachable=True)
        if "Timeout" in name:
            return Failure("failed", f"no answer within {self.settings.timeout:g} s", billed=True)
        return Failure("failed", scrub(f"the connection broke: {cause or error}", self._key), billed=True)


def to_reply(
    body: str, settings: EndpointSettings, prompt_estimate: int, *, latency: float = 0.0, share: float = 1.0
) -> Reply | Failure:
    """Reads an answer into a priced reply; token counts that the server does not give are estimated.

    Args:
        body: Of an answer with status 200.
        settings: Whose price applies.
        prompt_estimate: Tokens.
        latency: Seconds.
        share: Of the price that is charged.
    """
    found = read_completion(body)
    if isinstance(found, Failure):
        return found
    prompt = prompt_estimate if found.prompt_tokens is None else found.prompt_tokens
    completion = text_tokens(found.text) if found.completion_tokens is None else found.completion_tokens
    price = price_of(settings)
    cost = None if price is None else share * price.of(prompt, completion)
    return Reply(found.text, found.model or settings.model, prompt, completion, found.finish_reason, latency, cost)
