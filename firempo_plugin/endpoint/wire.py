"""Calls to one endpoint, one attempt each: what comes back is an answer or a failure, and tells no secret."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from http.client import HTTPException
from typing import IO, Any, TypeVar

from ..files import plain
from ..scrub import hide, scrub
from .costs import price_of, text_tokens
from .failures import CallFailedError, Failure, StopRunError, classify
from .http_call import SLOWEST, HttpAnswer, NothingSentError, TooLargeError, call
from .limits import duration
from .pauses import backoff, retry_after
from .replies import Completion, Reply, read_completion
from .settings import EndpointSettings

T = TypeVar("T")

LARGEST_REPLY = 4 * 2**20
"""Bytes of an answer, unpacked: a million tokens."""
LONGEST_PAUSE = 600.0
"""Seconds; a server that asks for a longer pause ends the run, which is resumed later."""


class Wire:
    """Calls to one endpoint. The key is read at the first of them."""

    def __init__(self, settings: EndpointSettings) -> None:
        """Connects nothing yet."""
        self.settings = settings
        self._key: str | None = None

    def open(self) -> None:
        """Reads the key; raises StopRunError where what should be one is none."""
        self._key = self._key or self.settings.read_key()

    def chat(self, body: dict[str, Any], prompt_estimate: int) -> Reply | Failure:
        """One chat completion of a complete body, whose prompt has about so many tokens."""
        start = time.monotonic()
        answer = self.send("POST", "/chat/completions", _json(body))
        if isinstance(answer, Failure):
            return answer
        # What is whole is taken, whatever became of the connection: it is paid for.
        found = self.reply(_text(answer), prompt_estimate, latency=time.monotonic() - start)
        return self._broken(answer.trouble) if isinstance(found, Failure) and answer.trouble else found

    def reply(self, body: str, prompt_estimate: int, *, latency: float = 0.0, share: float = 1.0) -> Reply | Failure:
        """Reads an answer into a priced reply; token counts that the server does not give are estimated.

        Args:
            body: Of an answer with status 200.
            prompt_estimate: Tokens.
            latency: Seconds.
            share: Of the price that is charged.
        """
        found = read_completion(body)
        if isinstance(found, Failure):
            return self.without_secrets(found)
        prompt = prompt_estimate if found.prompt_tokens is None else found.prompt_tokens
        completion = text_tokens(found.text) if found.completion_tokens is None else found.completion_tokens
        price = price_of(self.settings)
        return Reply(
            text=hide(found.text, self._key),
            model=hide(found.model, self._key) or self.settings.model,
            prompt_tokens=prompt,
            completion_tokens=completion,
            finish_reason=hide(self._finish_reason(found), self._key),
            latency=latency,
            cost=None if price is None else share * price.of(prompt, completion),
        )

    def _finish_reason(self, found: Completion) -> str:
        """Why a reply ended; LLaMA-Factory's server says "length" of what a stop word of the template has ended.

        Of other servers it is true below the limit too: SGLang, llama.cpp and others lower it to what is left of
        their context.
        """
        most, tokens = self.settings.most_completion_tokens, found.completion_tokens
        whole = found.of_host and most is not None and tokens is not None and tokens < most
        return "stop" if found.finish_reason == "length" and whole else found.finish_reason

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        headers: dict[str, str] | None = None,
        limit: int = LARGEST_REPLY,
        into: IO[bytes] | None = None,
    ) -> HttpAnswer | Failure:
        """One attempt at a call; an answer has a status of success, and may have been cut off.

        Args:
            method: "GET" or "POST".
            path: Behind `base_url`.
            body: JSON; in pieces, a file.
            headers: Beside the usual ones.
            limit: Bytes of the answer.
            into: Takes the answer, a file.

        Raises:
            StopRunError: What should be the key is none.
        """
        self.open()
        own = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            own["Authorization"] = f"Bearer {self._key}"
        slowest = {} if isinstance(body, bytes) and into is None else {"slowest": SLOWEST}
        try:
            answer = call(
                method, self.settings.base_url.rstrip("/") + path, {**own, **(headers or {})}, body,
                timeout=self.settings.timeout, limit=limit, into=into, **slowest,
            )  # fmt: skip
        except NothingSentError as error:
            message = f"{self.settings.base_url} cannot be reached: {error}"
            return self.without_secrets(Failure("paused", message, unreachable=True))
        except (OSError, HTTPException) as error:
            return self._broken(error)
        if 200 <= answer.status < 300:
            return answer
        return self.without_secrets(self._refusal(answer))

    def _refusal(self, answer: HttpAnswer) -> Failure:
        """What an answer without success means."""
        failure = classify(answer.status, _text(answer), retry_after(answer.headers))
        if answer.status == 401 and self._key is None:
            return replace(failure, message=f"{failure.message}. That variable is not set")
        if failure.kind == "paused" and failure.pause is not None and failure.pause > LONGEST_PAUSE:
            wish = f"the server asks for a pause of {duration(failure.pause)}: run again after it"
            return replace(failure, kind="stop", message=f"{failure.message}. {wish}")
        return failure

    def _broken(self, error: Exception) -> Failure:
        """A call that was sent, and may be billed."""
        if isinstance(error, TimeoutError):
            return Failure("failed", f"no answer within {self.settings.timeout:g} s", billed=True)
        if isinstance(error, TooLargeError):
            return Failure("refused", str(error), billed=True, doubtful=True)
        return self.without_secrets(Failure("failed", f"the connection broke: {error}", billed=True))

    def json(self, answer: HttpAnswer | Failure) -> dict[str, Any] | Failure:
        """The JSON object of an answer."""
        if isinstance(answer, Failure):
            return answer
        if answer.trouble:
            return self._broken(answer.trouble)
        try:
            found = json.loads(_text(answer))
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        return self.without_secrets(Failure("failed", f"the answer is no JSON object: {_text(answer)[:80]!r}"))

    def patiently(self, attempt: Callable[[], T | Failure]) -> T:
        """Attempts until one succeeds.

        Raises:
            StopRunError: It cannot succeed.
            CallFailedError: It still fails after all repetitions.
        """
        for repetition in range(self.settings.retries + 1):
            answer = attempt()
            if not isinstance(answer, Failure):
                return answer
            if answer.kind not in ("failed", "paused"):
                raise StopRunError(f"{self.settings.base_url}: {answer.message}")
            last = answer
            if repetition < self.settings.retries:
                time.sleep(max(answer.pause or 0.0, backoff(self.settings.backoff, repetition)))
        raise CallFailedError(f"{self.settings.base_url}: {last.message}")

    def without_secrets(self, failure: Failure) -> Failure:
        """A failure whose message can be stored and shown, should a server have sent the key too."""
        return replace(failure, message=self.shown(failure.message))

    def shown(self, text: str) -> str:
        """What a server says, without secrets."""
        return scrub(plain(text), self._key)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _text(answer: HttpAnswer) -> str:
    return answer.content.decode("utf-8-sig", errors="replace")
