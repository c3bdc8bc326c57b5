"""What no repetition mends, in which form JSON is asked for, and how answers are read."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pairs_asking import SCHEMA, all_at_once, ask, endpoint_for, outcome
from pairs_server import Answer, Call, PairsServer, error, well
from pairs_store import LinesStore

from firempo_plugin.endpoint.failures import (
    DoubtfulRefusalError,
    ReplyTruncatedError,
    RequestRefusedError,
    StopRunError,
    classify,
)
from firempo_plugin.endpoint.limits import ReplyFormat
from firempo_plugin.endpoint.replies import Completion, Reply, read_completion

# Failures that do not pass.


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (error(401, "Incorrect API key provided"), "key_env"),
        (error(403, "not for you"), "rights"),
        (error(429, "You exceeded your current quota", "insufficient_quota", retry_after="1"), "no credit left"),
        (error(402, "Insufficient Balance"), "no credit left"),
        (error(404, "The model `judge` does not exist", "model_not_found"), "model"),
        (error(400, "API key not valid. Please pass a valid API key."), "key_env"),
        (error(400, "Unsupported parameter: 'max_tokens'", "unsupported_parameter"), "extra_body"),
    ],
    ids=["401", "403", "quota", "402", "404", "gemini-key", "parameter"],
)
def test_what_no_request_survives_ends_the_run_at_once(
    server: PairsServer, store: LinesStore, answer: Answer, advice: str
) -> None:
    server.script = lambda call: answer
    endpoint = endpoint_for(server, store)
    results = all_at_once(endpoint, [ask(str(n)) for n in range(50)])
    assert all(isinstance(result, StopRunError) for result in results)
    assert advice in str(results[0])
    assert len(server.calls) == 1
    assert len(store) == 0


def test_threads_that_wait_are_woken_by_a_stop(server: PairsServer, store: LinesStore) -> None:
    server.script = lambda call: error(401) if call.text == "last" else error(429, retry_after="60")
    endpoint = endpoint_for(server, store)
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(outcome, endpoint, ask(str(n))) for n in range(4)]
        time.sleep(0.2)
        endpoint.stop("interrupted")
        assert {str(future.result()) for future in waiting} == {"interrupted"}
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"),
        error(400, "filtered", "content_filter"),
        error(422, "image could not be decoded"),
        error(413, "too large"),
    ],
    ids=["length", "filter", "422", "413"],
)
def test_a_refused_request_is_stored_and_never_asked_again(
    server: PairsServer, store: LinesStore, tmp_path: Path, answer: Answer
) -> None:
    server.script = lambda call: well() if call.text == "first" else answer
    endpoint_for(server, store).complete(ask("first"))
    for attempt in range(2):
        kept = store if attempt == 0 else LinesStore(tmp_path / "requests.jsonl")
        with pytest.raises(RequestRefusedError, match=answer.body["error"]["message"]):
            endpoint_for(server, kept).complete(ask())
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(well("half a", finish="length"), ReplyTruncatedError), (well("", finish="content_filter"), RequestRefusedError)],
)
def test_a_reply_that_is_not_whole_is_paid_once(
    server: PairsServer, store: LinesStore, answer: Answer, kind: type[Exception]
) -> None:
    server.script = lambda call: answer
    for _ in range(2):
        with pytest.raises(kind):
            endpoint_for(server, store).complete(ask())
    assert len(server.calls) == 1
    if kind is ReplyTruncatedError:
        server.script = lambda call: well("whole")
        assert endpoint_for(server, store, max_tokens=4096).complete(ask()).text == "whole"


@pytest.mark.parametrize(
    ("usage", "settings", "whole"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 18}, {}, True),
        ({"prompt_tokens": 20, "completion_tokens": 512}, {}, False),
        ({"prompt_tokens": 20, "completion_tokens": 18}, {"max_tokens": 18}, False),
        ({"prompt_tokens": 20}, {}, False),
        (None, {}, False),
        ({"prompt_tokens": 20, "completion_tokens": 18}, {"max_tokens": None}, False),
    ],
    ids=["fewer tokens", "all tokens", "all of fewer", "uncounted", "no usage", "no limit"],
)
def test_what_a_stop_word_ended_is_whole_whatever_the_server_calls_it(
    server: PairsServer, store: LinesStore, usage: Any, settings: dict[str, Any], whole: bool
) -> None:
    """LLaMA-Factory's own server says "length" of a reply that ends by a stop word of the template."""
    body = well("Left.", finish="length").body
    choice = body["choices"][0] | {"message": {"role": "assistant", "content": "Left.", "tool_calls": None}}
    server.script = lambda call: Answer(body={**body, "choices": [choice], "usage": usage})
    endpoint = endpoint_for(server, store, **settings)
    if whole:
        assert endpoint.complete(ask()).text == "Left."
        return
    with pytest.raises(ReplyTruncatedError, match="cut off"):
        endpoint.complete(ask())


@pytest.mark.parametrize(
    ("top", "choice", "message"),
    [
        ({}, {"matched_stop": None}, {"tool_calls": None}),
        ({"system_fingerprint": "b1"}, {}, {"tool_calls": None}),
        ({}, {}, {}),
    ],
    ids=["SGLang", "llama.cpp", "without tool_calls"],
)
def test_a_context_that_is_full_cuts_a_reply_off_below_the_limit(
    server: PairsServer, store: LinesStore, top: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]
) -> None:
    body = well("There is a mass in the", finish="length").body
    said = body["choices"][0]
    said = {**said, **choice, "message": {**said["message"], **message}}
    usage = {"prompt_tokens": 4078, "completion_tokens": 18, "total_tokens": 4096}
    server.script = lambda call: Answer(body={**body, **top, "choices": [said], "usage": usage})
    with pytest.raises(ReplyTruncatedError, match="cut off"):
        endpoint_for(server, store).complete(ask())


# JSON replies.


def knows(*ways: str) -> Any:
    def script(call: Call) -> Answer:
        way = call.body.get("response_format", {}).get("type", "none")
        return well(way) if way in ways else error(400, f"'response_format.type' {way} is not supported")

    return script


@pytest.mark.parametrize("way", ["json_schema", "json_object", "none"])
def test_the_strictest_way_is_found_once_for_all_threads(server: PairsServer, store: LinesStore, way: str) -> None:
    server.script = knows(way)
    endpoint = endpoint_for(server, store)
    assert all_at_once(endpoint, [ask(str(n), schema=SCHEMA) for n in range(12)]) == [way] * 12
    assert len(server.calls) == 12 + ("json_schema", "json_object", "none").index(way)


def test_threads_that_were_refused_together_step_down_once() -> None:
    ways = ReplyFormat("auto")
    assert [ways.refused("json_schema") for _ in range(3)] == [True] * 3
    with ways.trial() as way:
        assert way == "json_object"


def test_a_way_that_was_chosen_is_not_changed(server: PairsServer, store: LinesStore) -> None:
    server.script = knows("json_object")
    with pytest.raises(StopRunError, match="set structured to auto"):
        endpoint_for(server, store, structured="json_schema").complete(ask(schema=SCHEMA))
    assert len(server.calls) == 1
    assert endpoint_for(server, store, structured="json_object").complete(ask(schema=SCHEMA)).text == "json_object"


def test_a_complaint_about_formats_that_were_not_asked_for_is_a_refusal(server: PairsServer, store: LinesStore) -> None:
    refuse = error(400, "bad json_schema")
    server.script = lambda call: well() if call.text == "first" else refuse
    endpoint_for(server, store).complete(ask("first"))
    for request in (ask(), ask("b", schema=SCHEMA)):
        with pytest.raises(RequestRefusedError):
            endpoint_for(server, store).complete(request)
    assert len(server.calls) == 5


def test_a_server_that_has_answered_nobody_is_not_believed_when_it_refuses(
    server: PairsServer, store: LinesStore
) -> None:
    """One without an eye for images refuses every request: none of them may be lost for good."""
    server.script = lambda call: error(400, "At most 0 images may be provided.")
    with pytest.raises(DoubtfulRefusalError, match="At most 0 images"):
        endpoint_for(server, store).complete(ask())
    assert len(store) == 0
    found = all_at_once(endpoint_for(server, store), [ask(str(n)) for n in range(40)], threads=2)
    assert isinstance(found[-1], StopRunError), "twenty are enough"
    assert len(server.calls) <= 22
    server.script = lambda call: well()
    assert endpoint_for(server, store).complete(ask()).text == "fine"
    server.script = lambda call: error(400, "At most 0 images may be provided.")
    with pytest.raises(RequestRefusedError):
        endpoint_for(server, store).complete(ask("this one only"))


# Reading answers.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": "response is bad"}', "response is bad"),
        ('{"detail": [{"msg": "field required", "type": "missing"}]}', "field required"),
        ('[{"error": {"message": "gemini says no", "status": "X"}}]', "gemini says no"),
        ('{"object": "error", "message": "vLLM says no", "code": 400}', "vLLM says no"),
        ("<html><body><h1>502</h1> nginx</body></html>", "502 nginx"),
        ("", "no explanation"),
        ("{}", "no explanation"),
    ],
)
def test_the_sentence_of_an_error_is_found_in_every_form(body: str, message: str) -> None:
    assert classify(418, body).message == f"HTTP 418: {message}"


def test_a_message_in_parts_is_its_texts_without_its_thoughts() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    body = well("x").body
    body["choices"][0]["message"]["content"] = parts
    found = read_completion(json.dumps(body))
    assert isinstance(found, Completion)
    assert found.text == "a b"


def test_thinking_that_is_counted_in_the_total_only_is_paid_for() -> None:
    body = {**well("x").body, "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 315}}
    found = read_completion(json.dumps(body))
    assert not isinstance(found, type(classify(500, "")))
    assert (found.prompt_tokens, found.completion_tokens) == (10, 305)


def test_a_server_that_counts_nothing_is_estimated(server: PairsServer, store: LinesStore) -> None:
    body = {name: value for name, value in well("four words of text").body.items() if name != "usage"}
    server.script = lambda call: Answer(body=body)
    reply: Reply = endpoint_for(server, store).complete(ask())
    assert reply.completion_tokens == 5
    assert 10 < reply.prompt_tokens < 40
