"""The workspace's requests: an end for good is one, whatever its kind, and a changed row ends no run."""

import json
from dataclasses import asdict, replace

import pytest
from pairs_asking import ask, endpoint_for
from pairs_server import PairsServer, error, well

from firempo_plugin.endpoint.failures import RequestRefusedError
from firempo_plugin.endpoint.replies import Reply, StoredReply
from firempo_plugin.store.request_store import WorkspaceRequests
from firempo_plugin.store.workspace import Workspace

REPLY = Reply("fine", "m", 20, 5, "stop", 0.1, 0.25)


@pytest.fixture
def workspace(tmp_path):
    space = Workspace(tmp_path / "work")
    yield space
    space.close()


@pytest.fixture
def requests(workspace):
    return WorkspaceRequests(workspace)


def test_a_request_ends_once(requests):
    assert requests.get("k") is None
    requests.begin("k", {"model": "m"})
    assert requests.get("k") is None
    requests.fail("k", "busy", permanent=False)
    assert requests.get("k") is None
    assert not requests.answers("m")
    requests.begin("k", {"model": "m"})
    requests.finish("k", REPLY)
    requests.finish("k", Reply("later", "m", 1, 1, "stop", 0.1))
    assert requests.get("k") == StoredReply(reply=REPLY)
    assert requests.answers("m")
    assert not requests.answers("n")


def test_a_refusal_for_good_stays_one(requests):
    requests.begin("k", {"model": "m"})
    requests.fail("k", "filtered", permanent=True)
    assert requests.get("k") == StoredReply(error="filtered")
    requests.begin("k", {"model": "m"})
    assert requests.get("k") == StoredReply(error="filtered")


def test_it_is_not_asked_again_in_another_run(workspace):
    """Through the store of a build, and not the one of the tests."""

    def script(call):
        return well() if call.text == "first" else error(400, "filtered", "content_filter")

    with PairsServer(script) as server:
        for _ in range(3):
            endpoint = endpoint_for(server, WorkspaceRequests(workspace))
            assert endpoint.complete(ask("first")).text == "fine"
            with pytest.raises(RequestRefusedError, match="filtered"):
                endpoint.complete(ask("second"))
        assert server.texts() == ["first", "second"]


NUMBER = json.dumps({**asdict(REPLY), "text": 5})
UNKNOWN = json.dumps({**asdict(REPLY), "more": 1})


@pytest.mark.parametrize(
    "reply", ["not JSON", "{}", "[]", NUMBER, UNKNOWN, b"\xff", "[" * 100_000], ids=lambda reply: str(reply)[:20]
)
def test_a_changed_reply_is_its_requests_problem(workspace, requests, reply):
    for key in ("a", "b"):
        requests.begin(key, {"model": "m"})
        requests.finish(key, REPLY)
    with workspace.transaction() as db:
        db.execute("UPDATE requests SET reply = ? WHERE key = 'a'", (reply,))
    found = requests.get("a")
    assert found is not None
    assert "was changed and cannot be read; delete its row" in (found.error or "")
    assert requests.get("b") == StoredReply(reply=REPLY)
    totals = requests.totals()
    assert (totals.replies, totals.cost, totals.unpriced) == (2, 0.25, 1)


def test_a_changed_payload_ends_nothing(workspace, requests):
    requests.begin("a", {"model": "m"})
    requests.finish("a", REPLY)
    with workspace.transaction() as db:
        db.execute("UPDATE requests SET payload = 'not JSON'")
    assert not requests.answers("m")


def test_what_replies_take_is_counted_as_they_come_as_in_a_store_that_is_opened(workspace):
    """By those who have counted before, too: a budget begins with them."""
    requests = WorkspaceRequests(workspace)
    for number in range(2500):
        requests.begin(f"k{number}", {"model": "m"})
        requests.finish(f"k{number}", replace(REPLY, cost=None if number % 5 else 0.25))
        requests.totals()
        requests.finish(f"k{number}", REPLY)
    found = requests.totals()
    assert found == WorkspaceRequests(workspace).totals()
    assert (found.replies, found.prompt_tokens, found.cost, found.unpriced) == (2500, 50_000, 125.0, 2000)
