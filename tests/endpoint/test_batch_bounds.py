"""A Batch API that leads elsewhere, drips, swells, echoes keys and answers oddly."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pairs_server import Answer, PairsServer, error, well
from pairs_store import LinesStore

from firempo_plugin.endpoint import batch, batch_api
from firempo_plugin.endpoint.client import stored_reply
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.failures import CallFailedError, StopRunError
from firempo_plugin.endpoint.requests import ChatRequest, Message
from firempo_plugin.endpoint.settings import EndpointSettings

KEY = "sk-test-0123456789abcdef-SECRET"


class Handed:
    """A batch of four requests that has ended, and its files."""

    def __init__(self, server: PairsServer, root: Path, **more: Any) -> None:
        self.server, self.root = server, root
        self.settings = EndpointSettings(
            **{"base_url": server.url, "model": "judge", "backoff": 0.01, "retries": 2, "timeout": 60.0, **more}
        )
        self.store = LinesStore(root / "requests.jsonl")
        self.requests = [ChatRequest((Message("user", str(number)),)) for number in range(4)]
        (self.batch_id,) = self.submit().batch_ids
        server.finish_batch(self.batch_id)
        self.batch = server.batches[self.batch_id]
        self.output = self.batch.get("output_file_id", "")

    def submit(self) -> batch.Submission:
        return batch.submit(self.requests, self.settings, self.store, self.root / "batches", budget=Budget())

    def collect(self) -> batch.BatchStatus:
        return batch.collect(self.settings, self.store, self.root / "batches", budget=Budget())

    def replies(self) -> list[str | None]:
        found = [stored_reply(request, self.settings, self.store) for request in self.requests]
        return [None if reply is None else reply.text for reply in found]


@pytest.fixture
def server() -> Iterator[PairsServer]:
    with PairsServer(lambda call: well(f"reply to {call.text}")) as running:
        yield running


@pytest.fixture
def handed(server: PairsServer, tmp_path: Path) -> Handed:
    return Handed(server, tmp_path)


ALL = [f"reply to {number}" for number in range(4)]


def test_no_call_of_a_batch_follows_a_redirection(handed: Handed) -> None:
    with PairsServer() as elsewhere:
        away = error(307, location=f"{elsewhere.url}/batches")
        handed.server.uploads[handed.output] = away
        with pytest.raises(StopRunError, match="write the final address into base_url"):
            handed.collect()
        handed.server.on_create = lambda created: away
        handed.requests.append(ChatRequest((Message("user", "more"),)))
        with pytest.raises(StopRunError, match="write the final address into base_url"):
            handed.submit()
        assert (elsewhere.batches, elsewhere.calls) == ({}, [])


def test_a_packed_file_of_results_is_read(handed: Handed) -> None:
    content = handed.server.uploads[handed.output]
    handed.server.uploads[handed.output] = Answer(body=gzip.compress(content), headers={"Content-Encoding": "gzip"})
    assert handed.collect().stored == 4
    assert handed.replies() == ALL


def test_of_a_file_without_end_what_came_is_kept(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "LARGEST_FILE", 10_000)
    bomb = handed.server.uploads[handed.output] + b" " * 100_000
    handed.server.uploads[handed.output] = Answer(body=gzip.compress(bomb), headers={"Content-Encoding": "gzip"})
    status = handed.collect()
    assert status.stored == 4
    assert any("cut off: the answer is larger" in problem for problem in status.problems)
    assert handed.replies() == ALL


def test_a_line_without_end_is_no_reply(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "LARGEST_REPLY", 1000)
    lines = handed.server.uploads[handed.output].splitlines(keepends=True)
    handed.server.uploads[handed.output] = b"".join([lines[0], b"[" * 2500 + b"\n", *lines[1:]])
    status = handed.collect()
    assert (status.stored, status.due) == (4, 0)


def test_a_file_that_breaks_off_is_fetched_again_before_anything_is_due(handed: Handed) -> None:
    content = handed.server.uploads[handed.output]
    half = Answer(body=content[: len(content) // 2], headers={"Content-Length": str(len(content))}, drop=False)
    handed.server.uploads[handed.output] = half
    with pytest.raises(CallFailedError, match="results broke off"):
        handed.collect()
    assert batch.open_keys(handed.root / "batches"), "nothing is due"
    handed.server.uploads[handed.output] = content
    assert handed.collect().stored == 4
    assert handed.replies() == ALL


def test_a_dripping_file_does_not_hold_the_run(handed: Handed) -> None:
    handed.server.uploads[handed.output] = Answer(body=handed.server.uploads[handed.output], drip=0.05)
    handed.settings = replace(handed.settings, timeout=1.0, retries=1)
    start = time.monotonic()
    with pytest.raises(CallFailedError, match="results broke off: the call's time is up"):
        handed.collect()
    assert time.monotonic() - start < 30


def test_a_list_of_batches_without_end_hands_nothing_in_twice(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "_MOST_PAGES", 5)
    pages = iter(range(100))
    handed.server.list_batches = lambda query: Answer(  # type: ignore[method-assign]
        body={"data": [{"id": f"b{next(pages)}", "metadata": None}], "has_more": True}
    )
    with pytest.raises(CallFailedError, match="has no end"):
        batch_api.BatchApi(handed.settings).find("tag")
    handed.server.list_batches = lambda query: Answer(  # type: ignore[method-assign]
        body={"data": [{"id": "same"}, 7], "has_more": True}
    )
    assert batch_api.BatchApi(handed.settings).find("tag") is None


@pytest.mark.parametrize(
    "changes",
    [{"request_counts": {"completed": None, "failed": "1"}, "status": "in_progress"}, {"request_counts": [3]},
     {"errors": ["boom"]}, {"errors": {"data": [7, {"message": 5}]}}, {"metadata": "x"}],
    ids=str,
)  # fmt: skip
def test_odd_fields_of_a_batch_lose_nothing(handed: Handed, changes: dict[str, Any]) -> None:
    before = dict(handed.batch)
    handed.batch |= changes
    handed.collect()
    handed.batch |= before
    handed.collect()
    assert handed.replies() == ALL


def test_odd_results_are_kept_or_due_and_end_nothing(handed: Handed) -> None:
    results = [json.loads(line) for line in handed.server.uploads[handed.output].splitlines()]
    results[0]["response"]["body"]["usage"] = [10**30]
    results[1]["error"] = "none"
    results[2]["response"]["status_code"] = "200"
    lines = [json.dumps(result) for result in results]
    lines[3] = lines[3].replace('"prompt_tokens": 20', '"prompt_tokens": ' + "9" * 5000)
    odd = ['{"custom_id": "x", "response": {"status_code": 1e999, "body": 1}}', "[" * 100_000, "9" * 5000]
    handed.server.uploads[handed.output] = "\n".join([*odd, *lines]).encode()
    assert handed.collect().stored == 4
    assert sorted(filter(None, handed.replies())) == ALL


@pytest.mark.parametrize("part", [KEY, KEY[:-5], KEY[::-1]], ids=["whole", "beginning", "backwards"])
def test_no_part_of_the_key_is_kept_or_shown(
    server: PairsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """By any of the ways on which a server's words come: results, refusals, errors of batches, files and calls."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    answers = {"0": well(part), "1": error(400, part, "content_filter"), "2": error(500, part), "3": well("fine")}
    server.script = lambda call: answers[call.text]
    handed = Handed(server, tmp_path, key_env="JUDGE_KEY")
    handed.batch["errors"] = {"data": [{"message": part}, {"code": part}]}
    lost = {"custom_id": handed.requests[3].key(handed.settings), "response": None, "error": {"message": part}}
    server.uploads[handed.batch["error_file_id"]] += json.dumps(lost).encode()
    told = repr(handed.collect())
    handed.requests.append(ChatRequest((Message("user", "more"),)))
    for answer in (error(401, part), Answer(body={"key": part}), Answer(body=f"<{part}>".encode()), error(503, part)):
        server.on_create = lambda created, answer=answer: answer
        server.list_batches = lambda query, answer=answer: answer  # type: ignore[method-assign]
        with pytest.raises((StopRunError, CallFailedError)) as stopped:
            handed.submit()
        told += str(stopped.value)
        for path in (tmp_path / "batches").glob("*.json"):
            if not json.loads(path.read_text())["collected"]:
                path.unlink()
    told += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert told.count("***") >= 8
    assert not {part[n : n + 8] for n in range(len(part) - 7)} & {told[n : n + 8] for n in range(len(told))}


def test_a_refusal_for_good_is_not_handed_in_again(handed: Handed) -> None:
    handed.collect()
    handed.server.script = lambda call: error(400, "filtered", "content_filter")
    handed.requests.append(ChatRequest((Message("user", "refused"),)))
    (batch_id,) = handed.submit().batch_ids
    handed.server.finish_batch(batch_id)
    assert handed.collect().refused == 1
    assert handed.submit().requests == 0


def test_a_server_that_has_answered_nobody_is_not_believed_when_it_refuses_a_batch(
    server: PairsServer, tmp_path: Path
) -> None:
    """One that takes no images, say: no request may be lost for good, and each is handed in again."""
    server.script = lambda call: error(400, "I have no eyes")
    handed = Handed(server, tmp_path)
    status = handed.collect()
    assert (status.refused, status.due) == (0, 4)
    assert handed.submit().requests == 4
