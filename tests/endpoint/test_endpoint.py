"""Asking a server that answers well, slowly or in passing not at all: the right end, with the fewest calls."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from pairs_asking import SCHEMA, all_at_once, ask, endpoint_for, in_turn, outcome
from pairs_server import BROKEN, DROP, Answer, Call, PairsServer, error, well
from pairs_store import LinesStore
from PIL import Image

from firempo_plugin.endpoint.client import stored_reply
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.failures import CallFailedError, ReplyTruncatedError, RequestRefusedError, StopRunError
from firempo_plugin.endpoint.pauses import retry_after
from firempo_plugin.endpoint.requests import ChatRequest
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.records import RejectedError

# Good answers, and the cache.


def test_a_reply_is_stored_and_costs_no_second_call(server: PairsServer, store: LinesStore, tmp_path: Path) -> None:
    endpoint = endpoint_for(server, store)
    first = endpoint.complete(ask())
    assert (first.text, first.model, first.prompt_tokens, first.completion_tokens) == ("fine", "served-model", 20, 5)
    assert first.latency > 0
    assert first.cost is None
    assert endpoint.complete(ask()) == first
    reopened = LinesStore(tmp_path / "requests.jsonl")
    assert endpoint_for(server, reopened).complete(ask()) == first
    assert stored_reply(ask(), endpoint.settings, reopened) == first
    assert stored_reply(ask("other"), endpoint.settings, reopened) is None
    assert len(server.calls) == 1
    assert (endpoint.usage.calls, endpoint.usage.replies, endpoint.usage.cached) == (1, 1, 1)


def test_what_goes_over_the_wire(server: PairsServer, store: LinesStore) -> None:
    extra = {"top_p": 0.9, "chat_template_kwargs": {"enable_thinking": False}}
    endpoint_for(server, store, seed=7, max_tokens=99, extra_body=extra).complete(ask(schema=SCHEMA, sample=2))
    body = server.calls[0].body
    held = {"name": "edit", "strict": True, "schema": dict(SCHEMA.body)}
    assert body == {
        "model": "judge",
        "messages": [
            {"role": "system", "content": "You are a radiologist."},
            {"role": "user", "content": "Is there an effusion?"},
        ],
        "temperature": 0.0,
        "max_tokens": 99,
        "seed": 9,
        "response_format": {"type": "json_schema", "json_schema": held},
        **extra,
    }


def test_an_image_goes_as_its_own_bytes_and_counts_by_content(
    server: PairsServer, store: LinesStore, tmp_path: Path
) -> None:
    picture = io.BytesIO()
    Image.new("L", (40, 30), 128).save(picture, "PNG")
    for name in ("a.png", "b.dat"):
        (tmp_path / name).write_bytes(picture.getvalue())
    Image.new("RGB", (40, 30)).save(tmp_path / "c.jpg")
    endpoint = endpoint_for(server, store)
    endpoint.complete(ask(images=(str(tmp_path / "a.png"), str(tmp_path / "c.jpg"))))
    content = server.calls[0].body["messages"][1]["content"]
    encoded = base64.b64encode(picture.getvalue()).decode()
    assert content[0] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    assert content[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert content[2] == {"type": "text", "text": "Is there an effusion?"}
    endpoint.complete(ask(images=(str(tmp_path / "b.dat"), str(tmp_path / "c.jpg"))))
    assert len(server.calls) == 1
    assert encoded not in json.dumps(list(store.begun.values()))


@pytest.mark.parametrize("content", [None, b"GIF89a...", b"II*\0..."])
def test_an_image_that_cannot_be_sent_rejects_its_record(
    server: PairsServer, store: LinesStore, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RejectedError, match=r"x\.png"):
        endpoint_for(server, store).complete(ask(images=(str(path),)))
    assert not server.calls


def test_the_key_of_a_request() -> None:
    def key(request: ChatRequest, **more: Any) -> str:
        return request.key(EndpointSettings(**{"base_url": "http://a:1/v1", "model": "m", **more}))

    same = key(ask())
    assert re.fullmatch("[0-9a-f]{64}", same)
    assert key(ask(), base_url="http://b:2/v1", timeout=3, concurrency=1, retries=0, key_env="K") == same
    others = [
        key(ask("Is it left?")),
        key(ask(sample=1)),
        key(ask(schema=SCHEMA)),
        key(ask(), model="n"),
        key(ask(), temperature=0.5),
        key(ask(), max_tokens=5),
        key(ask(), seed=1),
        key(ask(), extra_body={"top_p": 0.5}),
    ]
    assert len({same, *others}) == 9


def test_two_threads_that_ask_the_same_make_one_call(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: well(delay=0.1)
    assert all_at_once(endpoint_for(server, store), [ask()] * 16) == ["fine"] * 16
    assert len(server.calls) == 1


def test_no_more_calls_at_once_than_concurrency(server: PairsServer, store: LinesStore) -> None:
    three = Barrier(3, timeout=60)

    def script(call: Call) -> Answer:
        if call.before:  # the first one goes alone
            three.wait()
        return well(delay=0.03)

    server.script = script
    results = all_at_once(endpoint_for(server, store, concurrency=3), [ask(str(n)) for n in range(13)], threads=12)
    assert results == ["fine"] * 13
    assert server.most_at_once == 3


# Failures that pass.


@pytest.mark.parametrize(
    "bad",
    [error(500), error(503), error(408), error(529), BROKEN, DROP, Answer(body={"choices": []}),
     Answer(body={"error": {"code": 502, "message": "upstream"}}), Answer(body=b"<html>Bad gateway</html>")],
    ids=["500", "503", "408", "529", "broken", "drop", "empty", "error-in-200", "html"],
)  # fmt: skip
def test_a_passing_failure_is_repeated_until_it_passes(server: PairsServer, store: LinesStore, bad: Answer) -> None:
    server.script = in_turn(bad, bad, well("after all"))
    assert endpoint_for(server, store).complete(ask()).text == "after all"
    assert len(server.calls) == 3


def test_a_record_that_always_fails_stays_due_and_ends_nothing(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: error(500, "boom") if "bad" in call.text else well()
    endpoint = endpoint_for(server, store, retries=2)
    results = all_at_once(endpoint, [ask("bad"), *(ask(str(n)) for n in range(10))])
    assert isinstance(results[0], CallFailedError)
    assert "boom" in str(results[0])
    assert results[1:] == ["fine"] * 10
    assert server.texts().count("bad") == 3
    assert list(store.failed.values()) == ["HTTP 500: boom"]
    server.script = lambda call: well("now")
    assert endpoint.complete(ask("bad")).text == "now"


def test_a_server_out_of_order_ends_the_run(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: error(500, "out of memory")
    endpoint = endpoint_for(server, store, retries=0)
    results = all_at_once(endpoint, [ask(str(n)) for n in range(100)], threads=4)
    assert sum(isinstance(result, CallFailedError) for result in results) == 19
    assert isinstance(results[-1], StopRunError)
    assert len(server.calls) <= 23


def test_an_error_that_meets_every_request_ends_the_run_soon_in_the_servers_words(
    server: PairsServer, store: LinesStore
) -> None:
    server.script = lambda call: error(500, f"request {call.before}f3: this model takes no images")
    results = all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(100)], threads=8)
    assert {type(result) for result in results} == {StopRunError}
    assert all("takes no images" in str(result) and "5 requests have failed so" in str(result) for result in results)
    assert len(server.calls) <= 24


@pytest.mark.parametrize("bad", [error(503, "loading"), BROKEN], ids=["503", "broken"])
def test_what_passes_by_its_nature_meets_everybody_for_a_while(
    server: PairsServer, store: LinesStore, bad: Answer
) -> None:
    server.script = lambda call: bad if call.number < 3 else well()
    assert all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(8)], threads=8) == ["fine"] * 8


def test_an_error_that_some_requests_meet_ends_nothing(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: (
        well() if int(call.text) % 7 == 0 else error(500, "boom") if call.before < 3 else well()
    )
    assert all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(21)], threads=3) == ["fine"] * 21


def test_a_timeout_is_a_passing_failure(server: PairsServer, store: LinesStore) -> None:
    server.script = in_turn(well(delay=60), well("quick"))
    assert endpoint_for(server, store, timeout=1.0).complete(ask()).text == "quick"
    assert len(server.calls) == 2


def test_no_server_at_all_ends_the_run_at_once(store: LinesStore) -> None:
    with PairsServer() as gone:
        pass
    endpoint = endpoint_for(gone, store, retries=10)
    with pytest.raises(StopRunError, match=r"cannot be reached.*check the server"):
        endpoint.complete(ask())


def test_a_server_that_dies_ends_the_run_and_loses_nothing(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: well(call.text, delay=0.01)
    endpoint = endpoint_for(server, store, retries=2)
    requests = [ask(str(n)) for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(outcome, endpoint, request) for request in requests]
        while len(store) < 20:
            time.sleep(0.005)
        server.die()
        results = [future.result() for future in running]
    assert {type(result) for result in results} <= {str, StopRunError, CallFailedError}
    finished = [result for result in results if isinstance(result, str)]
    assert len(finished) == len(store) >= 20
    with PairsServer(lambda call: well(call.text)) as again:
        assert all_at_once(endpoint_for(again, store), requests) == [str(n) for n in range(60)]
        assert len(again.calls) == 60 - len(finished)


def test_everything_at_once_ends_rightly_with_the_fewest_calls(server: PairsServer, store: LinesStore) -> None:
    once = [error(500), DROP, BROKEN, error(503)]
    never = [error(400, "filtered", "content_filter"), well("cut", finish="length")]

    def script(call: Call) -> Answer:
        number = int(call.text)
        if number == 4 and call.number == 0:
            return well("late", delay=60)
        if number % 10 == 9:
            return never[number // 10 % 2]
        fails = number % 10 < len(once) and call.number == 0
        return once[number % 10] if fails else well(call.text, prompt=30, completion=10)

    server.script = script
    prices = {"price_in": 1.0, "price_out": 1.0, "max_tokens": 50}
    endpoint = endpoint_for(server, store, Budget(100.0), concurrency=16, timeout=3.0, **prices)
    results = all_at_once(endpoint, [ask(str(n), schema=SCHEMA) for n in range(160)] * 2, threads=24)
    for number, result in enumerate(results):
        kinds = (RequestRefusedError, ReplyTruncatedError)
        assert isinstance(result, kinds) if number % 10 == 9 else result == str(number % 160)
    assert len(server.calls) == 160 + 16 * len(once) + 1
    assert len(store) == 160


# What the server asks for.


def test_one_429_pauses_all_threads_and_one_call_goes_first(server: PairsServer, store: LinesStore) -> None:
    until: list[float] = []

    def script(call: Call) -> Answer:
        if not until:
            until.append(call.time + 0.4)
            return error(429, "slow down", retry_after="0.4")
        return error(429, "slow down", retry_after="0.4") if call.time < until[0] else well(delay=0.05)

    server.script = script
    assert all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(16)]) == ["fine"] * 16
    refused = [call for call in server.calls if call.time < until[0]]
    assert len(refused) <= 8
    assert len(server.calls) == 16 + len(refused)
    # Nobody came before the pause was over, and after it one came alone.
    after = [call.time for call in server.calls[len(refused) :]]
    assert min(after) >= until[0] - 0.005
    assert after[1] - after[0] >= 0.045


def test_a_server_that_keeps_pausing_gets_one_call_a_pause(server: PairsServer, store: LinesStore) -> None:
    start = time.monotonic()
    server.script = lambda call: error(429, retry_after="0.1") if call.time - start < 0.55 else well()
    assert all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(8)]) == ["fine"] * 8
    assert len(server.calls) <= 8 + 8 + 6


def test_rate_limits_do_not_use_up_the_repetitions_of_a_request(server: PairsServer, store: LinesStore) -> None:
    lately: list[float] = []

    def script(call: Call) -> Answer:
        if lately and call.time - lately[-1] < 0.02:
            return error(429, retry_after="0.02")
        lately.append(call.time)
        return well()

    server.script = script
    results = all_at_once(endpoint_for(server, store, retries=1), [ask(str(n)) for n in range(12)])
    assert results == ["fine"] * 12


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_pause_until_a_date_is_kept(server: PairsServer, store: LinesStore) -> None:
    def script(call: Call) -> Answer:
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return error(429, retry_after=at) if call.number == 0 else well()

    server.script = script
    endpoint_for(server, store).complete(ask())
    first, second = server.calls
    assert 0.9 <= second.time - first.time < 30  # dates have whole seconds


def test_a_very_long_pause_ends_the_run(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: error(429, "daily limit", retry_after="7200")
    with pytest.raises(StopRunError, match="120 minutes"):
        endpoint_for(server, store).complete(ask())
    assert len(server.calls) == 1


def test_requests_per_minute_are_kept_over_threads(server: PairsServer, store: LinesStore) -> None:
    all_at_once(endpoint_for(server, store, requests_per_minute=600), [ask(str(n)) for n in range(12)])
    times = sorted(call.time for call in server.calls)
    # 11 intervals of 0.1 s, less what the first call may have been late.
    assert times[-1] - times[0] >= 0.5


def test_tokens_per_minute_are_kept_and_corrected_by_the_count_of_the_server(
    server: PairsServer, store: LinesStore
) -> None:
    server.script = lambda call: well(prompt=90, completion=10)
    endpoint = endpoint_for(server, store, tokens_per_minute=30_000, max_tokens=5)
    all_at_once(endpoint, [ask(str(n)) for n in range(6)], threads=1)
    times = sorted(call.time for call in server.calls)
    # 5 intervals of 0.2 s, where those of the estimate would be shorter; less what the first call may have been late.
    assert times[-1] - times[0] >= 0.7


# Kills.

CLIENT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pairs_store import LinesStore
from firempo_plugin.endpoint.client import Endpoint
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.requests import ChatRequest, Message
from firempo_plugin.endpoint.settings import EndpointSettings

url, path = sys.argv[1:]
endpoint = Endpoint(EndpointSettings(url, "judge", concurrency=4), LinesStore(Path(path)), Budget())
requests = [ChatRequest((Message("user", str(n)),)) for n in range(60)]
with ThreadPoolExecutor(4) as pool:
    print(*[reply.text for reply in pool.map(endpoint.complete, requests)])
"""


def test_a_kill_in_mid_run_repeats_no_finished_call(server: PairsServer, tmp_path: Path) -> None:
    server.script = lambda call: well(call.text, delay=0.02)
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", CLIENT, server.url, str(tmp_path / "requests.jsonl")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    path = tmp_path / "requests.jsonl"
    kills: list[tuple[set[str], int]] = []
    for kept in (10, 30):
        client = subprocess.Popen(command, env=environment)
        while len(LinesStore(path)) < kept:
            time.sleep(0.005)
        client.send_signal(signal.SIGKILL)
        client.wait()
        kills.append((LinesStore(path).texts(), len(server.calls)))
    assert len(kills[-1][0]) < 60
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n) for n in range(60)]
    for finished, before in kills:  # what the killed client had sent may be read, and counted, after its end
        assert not finished & set(server.texts()[before:])
    assert len(server.calls) <= 60 + 2 * 4
    assert len(LinesStore(path)) == 60


def test_importing_the_endpoint_loads_no_client() -> None:
    code = (
        "import sys, firempo_plugin.endpoint.client, firempo_plugin.endpoint.batch\n"
        "print([m for m in ('openai', 'httpx', 'PIL', 'numpy', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
