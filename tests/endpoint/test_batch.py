"""The Batch API: handed in once, collected whatever became of it, never paid for twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pairs_server import DROP, Answer, PairsServer, error, well
from pairs_store import LinesStore
from PIL import Image

from firempo_plugin.endpoint import batch
from firempo_plugin.endpoint.batch_parts import BatchLimits
from firempo_plugin.endpoint.client import stored_reply
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.failures import CallFailedError, ReplyTruncatedError, RequestRefusedError, StopRunError
from firempo_plugin.endpoint.requests import ChatRequest, Message, Schema
from firempo_plugin.endpoint.settings import EndpointSettings

KEY = "sk-test-0123456789abcdef-SECRET"
PRICES = {"price_in": 1.0, "price_out": 10.0, "max_tokens": 100}


class Work:
    """A workspace: a server, a store, a folder of batches."""

    def __init__(self, server: PairsServer, root: Path, **more: Any) -> None:
        self.server = server
        self.root = root
        self.folder = root / "batches"
        self.budget = Budget()
        self.settings = EndpointSettings(
            **{"base_url": server.url, "model": "judge", "backoff": 0.01, "retries": 2, **more}
        )
        self.reopen()

    def reopen(self) -> None:
        self.store = LinesStore(self.root / "requests.jsonl")

    def submit(self, requests: list[ChatRequest], **more: Any) -> batch.Submission:
        return batch.submit(requests, self.settings, self.store, self.folder, budget=self.budget, **more)

    def collect(self) -> batch.BatchStatus:
        return batch.collect(self.settings, self.store, self.folder, budget=self.budget)

    def reply(self, request: ChatRequest) -> str | None:
        found = stored_reply(request, self.settings, self.store)
        return None if found is None else found.text

    @property
    def creations(self) -> int:
        return len(self.server.batches)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with PairsServer(lambda call: well(f"reply to {call.text}")) as server:
        yield Work(server, tmp_path)


def asks(*numbers: int) -> list[ChatRequest]:
    return [ChatRequest((Message("user", str(number)),)) for number in numbers]


def test_submit_leave_collect(work: Work) -> None:
    requests = asks(*range(5))
    done = work.submit([*requests, requests[0]])
    assert (len(done.batch_ids), done.requests, done.open, done.waiting, done.rejected) == (1, 5, 0, 0, ())
    assert batch.open_keys(work.folder) == {request.key(work.settings) for request in requests}
    assert [work.reply(request) for request in requests] == [None] * 5
    line = work.server.lines(done.batch_ids[0])[0]
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"] == requests[0].body(work.settings, "none")
    created = work.server.batches[done.batch_ids[0]]
    assert (created["endpoint"], created["completion_window"]) == ("/v1/chat/completions", "24h")
    assert work.collect().open == 1

    work.server.finish_batch(done.batch_ids[0])
    status = work.collect()
    assert (status.open, status.stored, status.due, status.refused, status.problems) == (0, 5, 0, 0, {})
    assert [work.reply(request) for request in requests] == [f"reply to {n}" for n in range(5)]
    assert batch.open_keys(work.folder) == set()
    assert not list(work.folder.glob("*.jsonl"))


def test_nothing_is_handed_in_or_downloaded_twice(work: Work) -> None:
    requests = asks(*range(4))
    first = work.submit(requests)
    again = work.submit([*requests, *asks(9)])
    assert (again.requests, again.open) == (1, 4)
    assert (work.submit(requests).batch_ids, work.creations) == ((), 2)
    for batch_id in (*first.batch_ids, *again.batch_ids):
        work.server.finish_batch(batch_id)
    work.reopen()
    assert work.collect().stored == 5
    assert work.collect().stored == 0
    assert (work.submit(requests).requests, work.creations) == (0, 2)
    assert set(work.server.downloads.values()) == {1}


def test_parts_keep_the_limits_of_the_api(work: Work) -> None:
    done = work.submit(asks(*range(7)), limits=BatchLimits(requests=3))
    assert [len(work.server.lines(batch_id)) for batch_id in done.batch_ids] == [3, 3, 1]
    line = len(work.server.uploads[work.server.batches[done.batch_ids[2]]["input_file_id"]])
    more = work.submit(asks(*range(10, 16)), limits=BatchLimits(size=2 * line + 10))
    assert [len(work.server.lines(batch_id)) for batch_id in more.batch_ids] == [2, 2, 2]
    ids = [line["custom_id"] for batch_id in work.server.batches for line in work.server.lines(batch_id)]
    assert len(set(ids)) == len(ids) == 13


def test_images_fill_a_file_and_one_too_large_is_rejected(work: Work, tmp_path: Path) -> None:
    paths = []
    for number, side in enumerate((50, 50, 50, 400)):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(paths[-1])
    requests = [ChatRequest((Message("user", "?"),), (path,)) for path in [*paths, "/nowhere.png"]]
    done = work.submit(requests, limits=BatchLimits(size=25_000))
    assert [len(work.server.lines(batch_id)) for batch_id in done.batch_ids] == [2, 1]
    assert len(done.rejected) == 2
    with pytest.raises(RequestRefusedError, match="does not fit"):
        work.reply(requests[3])


def test_enqueued_tokens_leave_the_rest_for_later(work: Work) -> None:
    limits = BatchLimits(tokens=30)
    first = work.submit(asks(*range(6)), limits=limits)
    assert first.requests == 3
    assert (first.waiting, "collect" in first.reason) == (3, True)
    assert work.submit(asks(*range(6)), limits=limits).requests == 0
    work.server.finish_batch(first.batch_ids[0])
    work.collect()
    assert work.submit(asks(*range(6)), limits=limits).requests == 3


def test_an_expired_batch_gives_what_it_finished_and_the_rest_is_due(work: Work) -> None:
    requests = asks(*range(6))
    (batch_id,) = work.submit(requests).batch_ids
    finished = [request.key(work.settings) for request in requests[:4]]
    work.server.finish_batch(batch_id, "expired", only=finished)
    status = work.collect()
    assert (status.stored, status.due, status.open) == (4, 2, 0)
    assert status.problems == {"This request could not be executed in time.": 2, "a batch has expired": 1}
    rest = work.submit(requests)
    assert rest.requests == 2
    work.server.finish_batch(rest.batch_ids[0])
    work.collect()
    assert [work.reply(request) for request in requests] == [f"reply to {n}" for n in range(6)]
    assert sorted(work.server.texts()) == [str(n) for n in range(6)]


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_batch_that_came_to_nothing_is_due_and_handed_in_anew(work: Work, ending: str) -> None:
    (batch_id,) = work.submit(asks(1, 2)).batch_ids
    failed = work.server.batches[batch_id]
    failed["status"] = ending
    failed["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued limit"}]}
    status = work.collect()
    assert (status.due, status.problems["Enqueued limit: set edit.batch_tokens below it"]) == (2, 1)
    assert work.submit(asks(1, 2)).requests == 2
    assert work.creations == 2


def test_results_of_every_kind(work: Work) -> None:
    answers = {
        "0": well("fine\u2028with a line separator"),
        "1": error(400, "filtered", "content_filter"),
        "2": error(500, "boom"),
        "3": well("half", finish="length"),
        "4": Answer(body={"choices": []}),
        "5": error(429, "slow"),
        "6": error(400, "response_format json_schema is not supported"),
    }
    work.server.script = lambda call: answers[call.text]
    schema = Schema("edit", {"type": "object"})
    requests = [ChatRequest((Message("user", name),), schema=schema) for name in answers]
    (batch_id,) = work.submit(requests).batch_ids
    work.server.finish_batch(batch_id)
    status = work.collect()
    assert (status.stored, status.refused, status.due) == (2, 1, 4)
    assert work.reply(requests[0]) == "fine\u2028with a line separator"
    with pytest.raises(RequestRefusedError, match="filtered"):
        work.reply(requests[1])
    with pytest.raises(ReplyTruncatedError):
        work.reply(requests[3])
    assert {reason.split(":")[0] for reason in status.problems} == {
        "HTTP 500", "HTTP 429", "HTTP 400", "the answer is no chat completion",
    }  # fmt: skip
    assert any("Set structured to" in reason for reason in status.problems)
    assert work.submit(requests).requests == 4


def test_strange_results_do_no_harm(work: Work) -> None:
    (batch_id,) = work.submit(asks(1, 2)).batch_ids
    work.server.finish_batch(batch_id)
    output = work.server.batches[batch_id]["output_file_id"]
    foreign = {"custom_id": "other", "response": {"status_code": 200, "body": well().body}}
    lines = work.server.uploads[output].splitlines()
    work.server.uploads[output] = b"\n".join([lines[0], lines[0], json.dumps(foreign).encode(), b"[]", lines[1][:40]])
    status = work.collect()
    assert (status.stored, status.due) == (1, 1)
    assert status.problems == {"a result belongs to no request of its batch": 3}


# Interruptions.


def test_a_batch_that_was_created_but_not_recorded_is_found_again(work: Work) -> None:
    def lost(created: dict[str, Any]) -> Answer:
        work.server.on_create = lambda batch: None
        return DROP

    work.server.on_create = lost
    done = work.submit(asks(1, 2, 3))
    assert (done.requests, work.creations) == (3, 1)
    assert done.batch_ids == tuple(work.server.batches)


@pytest.mark.parametrize("first", ["submit", "collect"])
def test_a_submission_that_never_got_its_answer_is_completed_later(work: Work, first: str) -> None:
    # The last answer is lost, and so is every listing that could have told.
    work.server.on_create = lambda batch: DROP
    listing = work.server.list_batches
    work.server.list_batches = lambda query: DROP  # type: ignore[method-assign]
    with pytest.raises(CallFailedError):
        work.submit(asks(1, 2, 3))
    assert work.creations == 1
    work.server.on_create = lambda batch: None
    work.server.list_batches = listing  # type: ignore[method-assign]
    for number in range(150):
        work.server.create_batch({"input_file_id": "of others", "metadata": None, "endpoint": str(number)})
    if first == "submit":
        again = work.submit(asks(1, 2, 3))
        assert (again.requests, again.open, work.creations) == (0, 3, 151)
    work.server.finish_batch(next(iter(work.server.batches)))
    assert work.collect().stored == 3
    assert work.creations == 151


def test_a_batch_that_may_have_been_created_is_kept_where_no_list_is_allowed(work: Work) -> None:
    work.server.on_create = lambda created: DROP
    work.server.list_batches = lambda query: error(403, "no lists")  # type: ignore[method-assign]
    with pytest.raises(CallFailedError, match="no lists"):
        work.submit(asks(1, 2, 3))
    assert len(batch.open_keys(work.folder)) == 3, "due again, they would be paid for twice"


def test_a_batch_that_was_never_created_is_handed_in_anew(work: Work) -> None:
    work.server.create_batch = lambda wanted: error(503)  # type: ignore[method-assign]
    with pytest.raises(CallFailedError):
        work.submit(asks(1, 2))
    del work.server.create_batch
    status = work.collect()
    assert (status.due, len(status.problems)) == (2, 1)
    assert work.submit(asks(1, 2)).requests == 2
    assert work.creations == 1


@pytest.mark.parametrize(("code", "words"), [(401, "key_env"), (404, "base_url"), (400, "no batches here")])
def test_a_server_without_batches_ends_the_run_and_leaves_nothing_behind(work: Work, code: int, words: str) -> None:
    work.server.on_create = lambda batch: error(code, "no batches here")
    with pytest.raises(StopRunError, match=words):
        work.submit(asks(1, 2))
    assert batch.open_keys(work.folder) == set()
    assert work.budget.spent == 0
    work.server.on_create = lambda batch: None
    work.submit(asks(1, 2))
    assert len(list(work.folder.iterdir())) == 1


CLIENT = """
import sys, os
from pathlib import Path
from pairs_store import LinesStore
from firempo_plugin.endpoint import batch, batch_api, batch_parts
from firempo_plugin.endpoint.costs import Budget
from firempo_plugin.endpoint.requests import ChatRequest, Message
from firempo_plugin.endpoint.settings import EndpointSettings

url, root, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])


def counted(function):
    def run(*args, **more):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return function(*args, **more)
    return run


for owner, name in (
    (batch, "save_part"), (batch_api.BatchApi, "upload"), (batch_api.BatchApi, "create"),
    (batch_api.BatchApi, "download"), (LinesStore, "finish"), (batch_parts.PartWriter, "add"),
):
    setattr(owner, name, counted(getattr(owner, name)))
settings = EndpointSettings(url, "judge")
store = LinesStore(root / "requests.jsonl")
requests = [ChatRequest((Message("user", str(n)),)) for n in range(4)]
limits = batch_parts.BatchLimits(requests=2)
batch.collect(settings, store, root / "batches", budget=Budget())
batch.submit(requests, settings, store, root / "batches", budget=Budget(), limits=limits)
"""


def test_a_kill_at_any_moment_pays_nothing_twice(work: Work) -> None:
    """Kills the client at its nth step, n growing, and lets the server finish whatever it was given."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    steps, codes = 0, []
    while 0 not in codes:
        command = [sys.executable, "-c", CLIENT, work.server.url, str(work.root), str(steps)]
        codes.append(subprocess.run(command, env=environment, capture_output=True, timeout=600).returncode)
        if steps % 2:
            for batch_id, found in work.server.batches.items():
                if found["status"] == "in_progress":
                    work.server.finish_batch(batch_id)
        steps += 1
    for batch_id, found in work.server.batches.items():
        if found["status"] == "in_progress":
            work.server.finish_batch(batch_id)
    work.reopen()
    work.collect()
    assert set(codes) == {0, -9}
    assert [work.reply(request) for request in asks(*range(4))] == [f"reply to {n}" for n in range(4)]
    assert sorted(work.server.texts()) == ["0", "1", "2", "3"]


# Costs and secrets.


def test_batches_cost_half_and_open_ones_count_by_what_they_can_cost(work: Work, tmp_path: Path) -> None:
    priced = Work(work.server, tmp_path / "priced", **PRICES)
    priced.root.mkdir()
    priced.budget = Budget(max_cost=0.003)
    done = priced.submit(asks(*range(10)))
    most = batch.open_cost(priced.folder)
    assert done.requests == 5
    assert (done.waiting, "max_cost" in done.reason) == (5, True)
    assert priced.budget.spent == pytest.approx(most)
    assert 5 * 100 * 10.0 / 2e6 < most <= 0.003
    priced.server.finish_batch(done.batch_ids[0])
    # Another run, another budget.
    priced.budget = Budget(max_cost=0.003, spent=batch.open_cost(priced.folder))
    status = priced.collect()
    one = 0.5 * (20 * 1.0 + 5 * 10.0) / 1e6
    assert status.cost == pytest.approx(5 * one)
    assert priced.budget.spent == pytest.approx(5 * one)
    found = stored_reply(asks(0)[0], priced.settings, priced.store)
    assert found is not None
    assert found.cost == pytest.approx(one)
    assert priced.submit(asks(*range(10))).requests == 5


def test_a_limit_without_a_price_is_refused(work: Work) -> None:
    work.budget = Budget(1.0)
    with pytest.raises(ValueError, match="price_in"):
        work.submit(asks(1))


def test_the_key_is_never_written(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    keyed = Work(work.server, work.root, key_env="JUDGE_KEY")
    answers = {"0": well(f"key {KEY}"), "1": error(400, f"Bearer {KEY}"), "2": error(500, f"Bearer {KEY}")}
    work.server.script = lambda call: answers[call.text]
    (batch_id,) = keyed.submit(asks(0, 1, 2)).batch_ids
    work.server.finish_batch(batch_id)
    failed = work.server.batches[batch_id]
    failed["errors"] = {"data": [{"message": f"Bearer {KEY}"}]}
    lost = {
        "custom_id": asks(2)[0].key(keyed.settings),
        "response": None,
        "error": {"message": "Bearer sk-of-others-1"},
    }
    work.server.uploads[failed["error_file_id"]] += json.dumps(lost).encode()
    status = keyed.collect()
    assert status.stored == 1
    work.server.on_create = lambda batch: error(401, f"wrong key {KEY}")
    with pytest.raises(StopRunError) as stopped:
        keyed.submit(asks(4))
    written = b"".join(path.read_bytes() for path in work.root.rglob("*") if path.is_file())
    everything = written.decode() + repr(status) + str(stopped.value)
    assert KEY[:12] not in everything
    assert "sk-of-others" not in everything
    assert b"key ***" in written
