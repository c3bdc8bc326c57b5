"""The key reaches the server, and nobody else."""

import base64
import json
import logging
import re
import traceback
import tracemalloc
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pairs_asking import ask, endpoint_for, outcome
from pairs_server import DROP, Answer, PairsServer, error, well
from pairs_store import LinesStore

from firempo_plugin.endpoint import wire
from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.endpoint.http_call import HttpAnswer, NothingSentError
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.scrub import hide, scrub

KEY = "sk-test-0123456789abcdef-SECRET"


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
        "escaped": Answer(body=json.dumps(well(f"it is {KEY}").body).replace(KEY[4], f"\\u{ord(KEY[4]):04x}").encode()),
        "reason": well("cut", finish=f"length {KEY}"),
        "refused": error(400, told, "content_filter"),
        "error in 200": Answer(body={"error": {"message": told, "code": 400}}),
        "not JSON": Answer(body=f"{KEY} <- your key".encode()),
        "no reply": Answer(body={"key": KEY}),
        "no text": Answer(body={"choices": [{"message": {"content": {"key": KEY}}}]}),
        "unpacked": Answer(body=b"x", headers={"Content-Encoding": KEY[:18]}),
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
    assert not leaks(everything)


def leaks(text: str) -> set[str]:
    """Every eight characters in a row of the key, or of the key backwards, that a text tells."""
    return {way[n : n + 8] for way in (KEY, KEY[::-1]) for n in range(len(KEY) - 7) if way[n : n + 8] in text}


PARTS = [KEY, KEY[:-4], KEY[4:], KEY[5:13], KEY[::-1], KEY[::-1][3:], KEY.upper(), f"{KEY}{KEY}", f"-{KEY}x{KEY[2:]}"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("place", ["reply", "model", "refusal", "failure"])
def test_nor_is_a_part_of_it(
    server: PairsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, place: str
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    answers = {
        "reply": well(f"you are {part}, welcome"),
        "model": Answer(body={**well("welcome").body, "model": part}),
        "refusal": error(400, f"no {part}", "content_filter"),
        "failure": error(500, f"no {part}"),
    }
    server.script = lambda call: answers[place] if call.text == place else well()
    endpoint = endpoint_for(server, LinesStore(tmp_path / "requests.jsonl"), key_env="JUDGE_KEY", retries=0)
    endpoint.complete(ask("first"))
    told = str(outcome(endpoint, ask(place))) + (tmp_path / "requests.jsonl").read_text()
    assert "***" in told
    assert not leaks(told) | leaks(told.lower().replace("secret", "SECRET"))
    assert "welcome" in told or place in ("refusal", "failure"), "the rest stays"


@pytest.mark.parametrize("error", [NothingSentError, ConnectionResetError, HTTPException])
def test_nor_is_it_in_what_a_call_ends_with(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error(f"no way for {KEY}")

    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr(wire, "call", fail)
    told = wire.Wire(EndpointSettings("http://host/v1", "m", key_env="JUDGE_KEY")).send("GET", "/models")
    assert "no way for ***" in told.message
    assert not leaks(told.message)


@pytest.mark.parametrize("content", [KEY, json.dumps([KEY]), f"<html>{KEY}"])
def test_nor_is_it_in_what_is_no_json(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    asking = wire.Wire(EndpointSettings("http://host/v1", "m", key_env="JUDGE_KEY"))
    asking.open()
    told = asking.json(HttpAnswer(200, {}, content.encode()))
    assert "no JSON object" in told.message
    assert not leaks(told.message)


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
        {"base_url": "http://host:abc/v1"},
        {"base_url": "http://host:99999/v1"},
        {"base_url": "http://[::1/v1"},
        {"base_url": "http://host/\u00fc/v1"},
        {"base_url": "http://host/a b/v1"},
        {"base_url": "http://host/v1?version=1"},
        {"base_url": "http://me:hun/ter2@host/v1"},
        {"price_in": 1.0},
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
    assert not re.search(r"hun/?ter2|0123456789abcdef|abcdefgh12345|wrong-place", str(caught.value))


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


def test_what_is_no_part_of_the_key_stays_as_it_is() -> None:
    reply = "There is an opacity; sk-test is no key, 0123456 is a number, and SECRET a word."
    assert hide(reply, KEY) == reply
    assert hide(f"a{KEY}b{KEY[:8]}c", KEY) == "a***b***c"
    assert hide("short1 and 1trohs", "short1") == "*** and ***"


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:"])
@pytest.mark.parametrize("key", [KEY, "plus+and/slash=here/and+there"])
def test_nor_is_it_told_in_base64_hexadecimal_or_as_in_an_address(before: str, key: str) -> None:
    content = f"{before}{key} and more".encode()
    told = (base64.b64encode(content).decode(), content.hex(), quote(content, safe=""))
    for text in told:
        kept = hide(f"<{text}>", key)
        assert len(kept) < len(text) - len(key) + 8, "what is left is what stood around it"
        assert kept.startswith("<")
        assert kept.endswith(">")


def test_a_flood_of_keys_is_hidden_in_little_memory() -> None:
    tracemalloc.start()
    assert hide(KEY * 5000, KEY) == "***"
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


def test_a_customary_placeholder_is_no_secret() -> None:
    assert scrub("EMPTY bladder", "EMPTY") == "EMPTY bladder"
