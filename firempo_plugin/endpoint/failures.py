"""What can go wrong with a call, and what follows from it: ask again, wait, give the record up, or stop the run."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from ..records import RejectedError

LONGEST_MESSAGE = 300

Kind = Literal["failed", "paused", "unsupported", "refused", "stop"]
"""`failed`: may pass, ask again. `paused`: the server wants no calls for a while. `unsupported`: it does not know
the way in which a JSON reply was asked for. `refused`: this request will never be answered. `stop`: none will."""


class StopRunError(RuntimeError):
    """The run cannot go on; the message says why and what to do. Replies until then are stored."""


class CallFailedError(RuntimeError):
    """A request went unanswered after all repetitions; it stays due, and the next run asks again."""


class RequestRefusedError(RejectedError):
    """The server will never answer this request (too long, filtered, malformed); stored and not asked again."""


class DoubtfulRefusalError(CallFailedError):
    """The server refused this request, but has never answered any: its settings may be what is wrong."""


class ReplyTruncatedError(RejectedError):
    """The reply ended at `max_tokens`; stored, and asked again once `max_tokens` is another.

    Attributes:
        text: The reply until then.
    """

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


@dataclass(frozen=True)
class Failure:
    """An unanswered call.

    Attributes:
        kind: What follows from it.
        message: For people, without secrets.
        pause: Seconds that the server asked for.
        billed: Whether the server may have done the work nonetheless, and charge for it.
        unreachable: Whether no server was there.
        doubtful: Whether it may be owed to the settings or the server as well as to this request; such a failure may
            never pass.
    """

    kind: Kind
    message: str
    pause: float | None = None
    billed: bool = False
    unreachable: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class _Rule:
    """A row of the table: which answers, and what they mean. The first row that fits decides."""

    kind: Kind
    statuses: range | tuple[int, ...]
    words: re.Pattern[str] | None = None
    advice: str = ""
    doubtful: bool = False


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_ANY_4XX = range(400, 500)
_MALFORMED = (400, 415, 422)

_RULES = (
    _Rule("stop", range(300, 400), None,
          "Redirections are not followed, since they carry images elsewhere: write the final address into base_url"),
    _Rule("stop", _ANY_4XX, _words("insufficient_quota", "billing_hard_limit", "insufficient.balance"),
          "The account has no credit left: add some and run again; no answered request is repeated"),
    _Rule("stop", (401,), None, "Check the key in the environment variable that key_env names"),
    _Rule("stop", _MALFORMED, _words("api.?key.{0,20}(invalid|not valid)", "invalid.api.?key"),
          "Check the key in the environment variable that key_env names"),
    _Rule("stop", (402,), None, "The account has no credit left: add some and run again"),
    _Rule("refused", (403,), _words("flagged", "moderation")),
    _Rule("stop", (403,), None, "The key may not use this model: check the account's rights"),
    _Rule("stop", (404, 405), None, "Check base_url (it usually ends in /v1) and model"),
    _Rule("stop", _MALFORMED, _words("model_not_found", "model.{0,80}(does not exist|not found)"), "Check model"),
    _Rule("refused", _MALFORMED, _words("context.?length", "maximum context", "too long", "content.?(filter|policy)",
                                        "content_management", "safety", "flagged")),
    _Rule("unsupported", _MALFORMED, _words("response_?format", "json_schema", "json_object", "structured.?output",
                                            "guided_", "grammar")),
    _Rule("stop", _MALFORMED, _words("unsupported_(parameter|value)", "unknown_parameter", "unrecognized request arg",
                                     "extra.?forbidden", "unknown name"),
          "Correct the endpoint's settings or its extra_body"),
    _Rule("paused", (429, 529)),
    _Rule("failed", (408, 409, 425)),
    _Rule("refused", (413,)),
    _Rule("refused", _ANY_4XX, doubtful=True),
    _Rule("failed", (500, 501), doubtful=True),
    _Rule("failed", range(1000)),
)  # fmt: skip


def classify(status: int, body: str, retry_after: float | None = None) -> Failure:
    """What an answer other than a completion means.

    The message holds what the server said, secrets included.

    Args:
        status: HTTP status.
        body: Of the answer.
        retry_after: Seconds that the server asked for, if it did.
    """
    message, haystack = _read(body)
    rule = next(
        rule for rule in _RULES if status in rule.statuses and (rule.words is None or rule.words.search(haystack))
    )
    text = f"HTTP {status}: {message}"
    if rule.advice:
        text = f"{text.rstrip('. ')}. {rule.advice}"
    # A server in maintenance says when it will be back, as one that limits does.
    asks_to_wait = rule.kind == "failed" and retry_after is not None
    return Failure("paused" if asks_to_wait else rule.kind, text, pause=retry_after, doubtful=rule.doubtful)


def _read(body: str) -> tuple[str, str]:
    """The server's sentence, and the text in which rules look for words: never the echoed request."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = " ".join(re.sub(r"<[^<>]*>", " ", body).split())[:LONGEST_MESSAGE]
        return text or "no explanation", text
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        found = next((found[name] for name in ("error", "detail", "message") if found.get(name)), found)
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return str(found)[:LONGEST_MESSAGE], str(found)[:LONGEST_MESSAGE]
    named = {name: str(found[name])[:LONGEST_MESSAGE] for name in ("message", "msg", "code", "type") if found.get(name)}
    message = named.get("message") or named.get("msg") or ", ".join(named.values()) or "no explanation"
    return message, " ".join(named.values())
