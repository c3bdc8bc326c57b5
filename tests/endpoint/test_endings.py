"""A model whose replies do not come to an end is asked no more."""

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, well

from firempo_plugin.endpoint.endings import MOST_CUT, Endings
from firempo_plugin.endpoint.failures import ReplyTruncatedError, StopRunError

RECORDS = 60


def cut():
    raise ReplyTruncatedError("the reply was cut off: 7 tokens; raise max_tokens (7)", "The")


def test_the_first_replies_being_all_cut_off_ends_the_run():
    endings = Endings("some.max_tokens")
    for _ in range(MOST_CUT - 1):
        with pytest.raises(ReplyTruncatedError):
            endings.of(cut)
    with pytest.raises(StopRunError, match=rf"^{MOST_CUT} replies .*raise some\.max_tokens; .*: 7 tokens"):
        endings.of(cut)


def test_one_whole_reply_means_that_others_may_be_whole():
    endings = Endings("some.max_tokens")
    assert endings.of(lambda: "fine") == "fine"
    for _ in range(3 * MOST_CUT):
        with pytest.raises(ReplyTruncatedError):
            endings.of(cut)


@pytest.fixture
def table(tmp_path):
    def write(**sections):
        return written(tmp_path, [(f"Is there a mass in lobe {n}?", "No", "Yes.") for n in range(RECORDS)], **sections)

    return write


@pytest.mark.parametrize(
    ("asked", "sections"),
    [
        ("respond", {"respond": {"backend": "endpoint"}}),
        ("edit", {"edit": {"judge": "endpoint", "rules_first": False}}),
    ],
)
def test_a_build_does_not_pay_for_what_it_cannot_use(table, asked, sections):
    with PairsServer(lambda call: well("The", finish="length")) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "max_tokens": 512, "concurrency": 4}
        sections[asked]["endpoint"] = endpoint
        progress = built(table(**sections))
        paid = len(server.calls)
    assert MOST_CUT <= paid < MOST_CUT + 8, "but for the calls under way"
    assert f"raise {asked}.endpoint.max_tokens" in progress.stopped
    assert "tokens; raise max_tokens (512)" in progress.stopped


def test_an_engine_in_the_same_process_ends_likewise(table):
    asked = []

    class Engine:
        def respond(self, *words):
            asked.append(words)
            cut()

    engine = {"model_name_or_path": "somewhere", "template": "default"}
    progress = built(table(respond={"backend": "engine", "engine": engine}), engine=lambda arguments: Engine())
    assert MOST_CUT <= len(asked) < MOST_CUT + 3
    assert "raise respond.endpoint.max_tokens" in progress.stopped
