"""Asking a `PairsServer`: settings without waits, requests, and what became of them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pairs_server import Answer, PairsServer
from pairs_store import LinesStore

from firempo_plugin.endpoint.client import Endpoint
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.failures import CallFailedError, StopRunError
from firempo_plugin.endpoint.requests import ChatRequest, Message, Schema
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.records import RejectedError

SCHEMA = Schema("edit", {"type": "object", "properties": {"a": {"type": "string"}}})


def settings_for(server: PairsServer, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"base_url": server.url, "model": "judge", "backoff": 0.01, "timeout": 60.0, **more})


def endpoint_for(server: PairsServer, store: LinesStore, budget: Budget | None = None, **more: Any) -> Endpoint:
    return Endpoint(settings_for(server, **more), store, budget or Budget())


def ask(text: str = "Is there an effusion?", **more: Any) -> ChatRequest:
    return ChatRequest((Message("system", "You are a radiologist."), Message("user", text)), **more)


def outcome(endpoint: Endpoint, request: ChatRequest) -> str | Exception:
    try:
        return endpoint.complete(request).text
    except (RejectedError, CallFailedError, StopRunError) as problem:
        return problem


def all_at_once(endpoint: Endpoint, requests: list[ChatRequest], threads: int = 8) -> list[str | Exception]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda request: outcome(endpoint, request), requests))


def in_turn(*answers: Answer) -> Any:
    """A script that gives each body these answers one after the other, the last one for ever."""
    return lambda call: answers[min(call.number, len(answers) - 1)]
