"""The key reaches the server, and nobody else."""

import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pairs_asking import ask, endpoint_for
from pairs_server import DROP, Answer, PairsServer, error, well
from pairs_store import LinesStore

from firempo_plugin.pairs.endpoint.failures import StopRunError
from firempo_plugin.pairs.endpoint.scrub import scrub
from firempo_plugin.pairs.endpoint.settings import EndpointSettings

KEY = "sk-test-0123456789abcdef-SECRET"


@pytest.fixture
def server() -> Iterator[PairsServer]:
    with PairsServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> LinesStore:
    return LinesStore(tmp_path / "requests.jsonl")


def test_the_key_is_sent_and_never_shown(
    server: PairsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else-entirely")
    caplog.set_level(logging.DEBUG)
    told = f"Incorrect key {KEY}, header Authorization: Bearer {KEY}"
    script = {
        "echo": Answer(body={**well(f"your key is {KEY}").body, "model": KEY}),
        "refused": error(400, told, "content_filter"),
        "500": error(500, told),
        "html": Answer(body=f"<p>{told}</p>".encode()),
        "dropped": DROP,
        "401": error(401, told),
    }
    server.script = lambda call: script[call.text]
    shown = []
    store = LinesStore(tmp_path / "requests.jsonl")
    for name in script:
        endpoint = endpoint_for(server, store, key_env="JUDGE_KEY", retries=1)
        try:
            shown.append(repr(endpoint.complete(ask(name))))
        except Exception:
            shown.append(traceback.format_exc())
        shown += [repr(endpoint.settings), str(vars(endpoint.settings)), repr(endpoint)]
    assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in server.calls)
    printed = capfd.readouterr()
    everything = "\n".join([*shown, caplog.text, printed.out, printed.err])
    everything += (tmp_path / "requests.jsonl").read_text()
    assert "Incorrect key ***" in everything
    assert KEY not in everything
    assert KEY[:12] not in everything


def test_no_key_is_taken_from_the_environment_unasked(
    server: PairsServer, store: LinesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint_for(server, store).complete(ask())
    assert KEY not in str(server.calls[0].headers)
    server.script = lambda call: error(401, "key, please")
    with pytest.raises(StopRunError, match="That variable is not set"):
        endpoint_for(server, store, key_env="NOT_SET_ANYWHERE").complete(ask("b"))


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://me:hunter2@host/v1"},
        {"base_url": f"http://host/v1?key={KEY}"},
        {"extra_body": {"api_key": "0123456789abcdef"}},
        {"extra_body": {"headers": {"Authorization": "Bearer abcdefgh12345"}}},
        {"key_env": KEY},
        {"model": "the-key-itself-in-the-wrong-place", "key_env": "WRONG_PLACE"},
        {"base_url": "localhost:8000/v1"},
        {"base_url": "ftp://host/v1"},
        {"model": ""},
        {"temperature": -1},
        {"max_tokens": 0},
        {"timeout": 0},
        {"concurrency": 0},
        {"retries": -1},
        {"requests_per_minute": 0},
        {"price_in": 1.0},
        {"structured": "yaml"},
        {"extra_body": {"stream": True}},
    ],
    ids=str,
)
def test_settings_that_cannot_work_or_hold_secrets_are_refused(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG_PLACE", "the-key-itself-in-the-wrong-place")
    with pytest.raises(ValueError, match=r"key_env|expected") as caught:
        EndpointSettings(**{"base_url": "http://h/v1", "model": "m", **change})
    assert not re.search(r"hunter2|0123456789abcdef|abcdefgh12345|wrong-place", str(caught.value))


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Incorrect API key provided: sk-proj-abcd****efgh.", "Incorrect API key provided: ***."),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("http://user:pw@host/v1", "http://***@host/v1"),
        ("https://h/v1?key=AIzaSyA1234567890abcdefghij&x=1", "https://h/v1?key=***&x=1"),
        ("the task-related left lung opacity (5 mm)", "the task-related left lung opacity (5 mm)"),
    ],
)
def test_scrub(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


def test_a_customary_placeholder_is_no_secret() -> None:
    assert scrub("EMPTY bladder", "EMPTY") == "EMPTY bladder"
