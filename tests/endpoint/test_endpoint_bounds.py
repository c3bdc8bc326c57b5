"""Servers that lead elsewhere, drip, swell, die or count wildly: a call has an end, and what is paid is kept."""

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pairs_asking import SCHEMA, all_at_once, ask, endpoint_for, in_turn, outcome
from pairs_server import DROP, Answer, Call, PairsServer, error, well
from pairs_store import LinesStore
from PIL import Image

from firempo_plugin.endpoint import limits
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.failures import RequestRefusedError, StopRunError
from firempo_plugin.endpoint.limits import PUT_OFF_IN_A_ROW, duration
from firempo_plugin.endpoint.pauses import retry_after
from firempo_plugin.endpoint.replies import Completion, read_completion
from firempo_plugin.endpoint.wire import LARGEST_REPLY

# Elsewhere.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
def test_a_redirection_is_not_followed_and_ends_the_run(
    server: PairsServer, store: LinesStore, tmp_path: Path, status: int, same: bool
) -> None:
    """To another host it would carry image and question; in a ring it would never end."""
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    with PairsServer() as elsewhere:
        target = server.url if same else elsewhere.url
        server.script = lambda call: error(status, location=f"{target}/chat/completions")
        endpoint = endpoint_for(server, store)
        results = all_at_once(endpoint, [ask(str(n), images=(str(tmp_path / "a.png"),)) for n in range(40)])
        assert all(isinstance(result, StopRunError) for result in results)
        assert "write the final address into base_url" in str(results[0])
        assert (len(server.calls), elsewhere.calls) == (1, [])


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "//127.0.0.1:9/x", "data:,x", ""])
def test_nor_is_one_to_another_scheme(server: PairsServer, store: LinesStore, place: str) -> None:
    server.script = lambda call: error(302, location=place)
    with pytest.raises(StopRunError, match="HTTP 302"):
        endpoint_for(server, store).complete(ask())


def test_images_go_through_no_proxy_and_no_cookie_is_kept(
    server: PairsServer, store: LinesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PairsServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        server.script = lambda call: replace(well(), headers={"Set-Cookie": "id=1; Path=/"})
        endpoint = endpoint_for(server, store)
        assert [endpoint.complete(ask(str(n))).text for n in range(2)] == ["fine", "fine"]
        assert proxy.calls == []
    assert "cookie" not in server.calls[1].headers


# Time and size.


@pytest.mark.parametrize("drips", ["head", "body"])
def test_the_timeout_is_that_of_the_whole_call(server: PairsServer, store: LinesStore, drips: str) -> None:
    """A byte every now and then is not silence, and held a call for ever."""
    server.script = in_turn(replace(well(), drip=0.2, drips=drips), well("quick"))
    start = time.monotonic()
    assert endpoint_for(server, store, timeout=1.0).complete(ask()).text == "quick"
    assert time.monotonic() - start < 30, "its bytes take a minute"
    assert len(server.calls) == 2


def packed(content: bytes) -> Answer:
    return Answer(body=gzip.compress(content), headers={"Content-Encoding": "gzip"})


BOMB = json.dumps(well("x" * (LARGEST_REPLY + 1)).body).encode()


@pytest.mark.parametrize("answer", [packed(BOMB), Answer(body=BOMB)], ids=["packed", "plain"])
def test_a_reply_has_a_largest_size_and_is_not_paid_again(
    server: PairsServer, store: LinesStore, tmp_path: Path, answer: Answer
) -> None:
    server.script = lambda call: answer if call.text == "bomb" else well()
    endpoint = endpoint_for(server, store, Budget(1.0), price_in=1.0, price_out=1.0)
    endpoint.complete(ask("first"))
    spent = endpoint._budget.spent
    for _ in range(2):
        with pytest.raises(RequestRefusedError, match="larger than 4 MB"):
            endpoint.complete(ask("bomb"))
    assert server.texts() == ["first", "bomb"]
    assert endpoint._budget.spent > spent, "it may be billed"
    assert (tmp_path / "requests.jsonl").stat().st_size < 10_000


def test_an_error_has_a_largest_size_too(server: PairsServer, store: LinesStore) -> None:
    server.script = in_turn(Answer(500, b"<" * (LARGEST_REPLY + 1)), Answer(500, b"[" * 100_000), well())
    start = time.process_time()
    assert endpoint_for(server, store).complete(ask()).text == "fine"
    assert time.process_time() - start < 2


def test_packed_replies_of_reasonable_size_are_read(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: packed(json.dumps(well("small").body).encode())
    assert endpoint_for(server, store).complete(ask()).text == "small"


@pytest.mark.parametrize("asked", ["9" * 400, "1e400", "99999999999"])
def test_a_pause_without_end_is_said_in_words(server: PairsServer, store: LinesStore, asked: str) -> None:
    server.script = lambda call: error(429, "later", retry_after_ms=f"{asked}000")
    with pytest.raises(StopRunError, match="asks for a pause of more than a day: run again"):
        endpoint_for(server, store).complete(ask())


@pytest.mark.parametrize(("asked", "words"), [("601", "10 minutes"), ("3600", "60 minutes")])
def test_a_pause_too_long_to_wait_for_ends_the_run(
    server: PairsServer, store: LinesStore, asked: str, words: str
) -> None:
    server.script = lambda call: error(429, "later", retry_after=asked)
    with pytest.raises(StopRunError, match=f"asks for a pause of {words}: run again after it"):
        endpoint_for(server, store, retries=0).complete(ask())
    assert len(server.calls) == 1


def test_pauses_that_are_none(server: PairsServer) -> None:
    assert retry_after({"retry-after": "9" * 400}) == float("inf")
    odd = ({"retry-after-ms": "nan"}, {"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"})
    assert [retry_after(headers) for headers in odd] == [None, None]
    assert retry_after({"retry-after-ms": "-5"}) == 0
    assert duration(7200) == "120 minutes"


# Dying.


def test_a_server_that_dies_in_mid_run_is_given_up_after_a_few_pauses(server: PairsServer, store: LinesStore) -> None:
    """All threads together wait so often, and not each of them: theirs would add up to an hour."""
    server.script = lambda call: well(call.text, delay=0.01)
    endpoint = endpoint_for(server, store, retries=4, concurrency=8)
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(outcome, endpoint, ask(str(n))) for n in range(1000)]
        while len(store) < 20:
            time.sleep(0.005)
        server.die()
        start = time.monotonic()
        results = [future.result() for future in running]
        assert time.monotonic() - start < 10, "where each of 980 waits for 0.3 s, 8 at once"
    stops = [result for result in results if isinstance(result, StopRunError)]
    assert len(stops) >= 900
    assert {type(result) for result in results} == {str, StopRunError}
    assert "Nothing has been answered for a while" in str(stops[-1])
    assert len(store) == sum(isinstance(result, str) for result in results)


def test_it_is_given_up_within_a_minute_however_long_its_pauses(
    server: PairsServer, store: LinesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST_ABSENCE", 0.3)
    monkeypatch.setattr(limits, "_ABSENT_BACKOFF", 0.1)
    endpoint = endpoint_for(server, store, retries=1000, backoff=30.0)
    endpoint.complete(ask("first"))
    server.die()
    start = time.monotonic()
    with pytest.raises(StopRunError, match="cannot be reached"):
        endpoint.complete(ask("second"))
    assert 0.3 < time.monotonic() - start < 20


def test_a_server_that_comes_back_in_time_is_asked_again(server: PairsServer, store: LinesStore) -> None:
    """What one that was away has missed is nobody's failure."""
    endpoint = endpoint_for(server, store, retries=6, backoff=0.05)
    endpoint.complete(ask("first"))
    port = int(server.url.split(":")[2].split("/")[0])
    server.die()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcome, endpoint, ask("second"))
        time.sleep(0.3)
        with PairsServer(port=port):
            assert waiting.result() == "fine"


def test_one_that_puts_everybody_off_is_given_up_by_all_at_once(server: PairsServer, store: LinesStore) -> None:
    """Each thread counted the pauses that it alone had tried out: together they waited for an hour."""
    server.script = lambda call: error(429, "later") if call.before >= 5 else well("fine")
    endpoint = endpoint_for(server, store, retries=1000, concurrency=4, backoff=0.001)
    results = all_at_once(endpoint, [ask(str(n)) for n in range(40)])
    assert results.count("fine") == 5
    stops = [result for result in results if isinstance(result, StopRunError)]
    assert len(stops) == 35
    assert "HTTP 429: later. Nothing has been answered for a while" in str(stops[0])
    assert len(server.calls) <= 5 + 4 + PUT_OFF_IN_A_ROW


# Odd, and paid for.


@pytest.mark.parametrize(
    "usage",
    [[], [1], "many", 7, True, {"prompt_tokens": 10**30, "completion_tokens": 10**30}, {"prompt_tokens": -1},
     {"prompt_tokens": 1.5, "total_tokens": "3"}, {"prompt_tokens": True}, {"prompt_tokens": [], "total_tokens": {}}],
    ids=str,
)  # fmt: skip
def test_a_reply_with_an_odd_usage_is_kept_and_its_tokens_are_estimated(
    server: PairsServer, store: LinesStore, usage: Any
) -> None:
    server.script = lambda call: Answer(body={**well("four words of text").body, "usage": usage})
    reply = endpoint_for(server, store, price_in=1.0, price_out=1.0).complete(ask())
    assert (reply.text, reply.completion_tokens) == ("four words of text", 5)
    assert 10 < reply.prompt_tokens < 40
    assert reply.cost is not None
    assert reply.cost < 1e-3
    assert len(server.calls) == 1


def odd(**changes: Any) -> bytes:
    return json.dumps({**well("kept").body, **changes}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=odd().replace(b'"created": 0', b'"created": ' + b"9" * 5000)),
        Answer(body=odd(model=["a"], error={"code": 0, "message": ""}, created="never", id={})),
        Answer(body=b"\xef\xbb\xbf" + odd()),
        Answer(body=odd(), headers={"Content-Type": "image/png; charset=utf-32"}),
        Answer(body=odd(), headers={"Content-Length": "99999", "Connection": "close"}),
        Answer(201, odd()),
    ],
    ids=["digits", "fields", "mark", "type", "length", "status"],
)
def test_a_reply_with_odd_surroundings_is_kept(server: PairsServer, store: LinesStore, answer: Answer) -> None:
    server.script = lambda call: answer
    assert endpoint_for(server, store).complete(ask()).text == "kept"
    assert len(server.calls) == 1


def test_half_a_surrogate_pair_is_no_end(server: PairsServer, store: LinesStore) -> None:
    body = {**well("a \ud83d b").body, "model": "m\udc00"}
    server.script = lambda call: Answer(body=json.dumps(body).encode()) if call.text == "reply" else refusal
    reply = endpoint_for(server, store).complete(ask("reply"))
    assert (reply.text, reply.model) == ("a \ufffd b", "m\ufffd")
    refusal = Answer(400, b'{"error": {"message": "no \\ud83d", "code": "content_filter"}}')
    with pytest.raises(RequestRefusedError, match="no \ufffd"):
        endpoint_for(server, store).complete(ask("refused"))


def test_a_reply_that_the_server_could_not_finish_is_none() -> None:
    body = well("half of").body
    body["choices"][0]["finish_reason"] = "error"
    assert not isinstance(read_completion(json.dumps(body)), Completion)
    assert not isinstance(read_completion("[" * 100_000), Completion)


def test_everything_odd_at_once_is_paid_for_once(server: PairsServer, store: LinesStore) -> None:
    """Each record gets at most one bad turn, and its reply is never asked for again once it came."""
    turns = [error(503), DROP, packed(b"{" * 1000), error(500), Answer(body=odd(usage="?"))]

    def script(call: Call) -> Answer:
        number = int(call.text)
        bad = replace(well(), drip=0.2) if number == 8 else turns[number % len(turns)]
        return bad if call.number == 0 else well("kept")

    server.script = script
    endpoint = endpoint_for(server, store, timeout=3.0, concurrency=16)
    assert all_at_once(endpoint, [ask(str(n), schema=SCHEMA) for n in range(40)], threads=16) == ["kept"] * 40
    assert len(server.calls) == 40 + 32
