"""Steps, the store, and what a kill leaves behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.files import write_text
from firempo_plugin.records import Record, RejectedError
from firempo_plugin.store.engine import Item, PendingError, Step, advance
from firempo_plugin.store.halt import Halt
from firempo_plugin.store.reasons import lines_by_kind
from firempo_plugin.store.workspace import WITHIN, Outcome, Workspace


def items(number):
    return [Item(Record(f"r{i}", (), f"question {i}", "yes")) for i in range(number)]


class Answer(Step):
    """Answers every question; counts its calls."""

    name = "respond"
    workers = 4

    def __init__(self, tone="plain", behave=lambda item: None):
        self.tone = tone
        self.behave = behave
        self.calls = []

    def depends_on(self, item):
        return {"question": item.record.question, "tone": self.tone}

    def run(self, item):
        self.calls.append(item.record.id)
        self.behave(item)
        return {"response": f"{self.tone} answer to {item.record.question}"}

    def apply(self, item, data):
        return replace(item, response=data["response"])


@pytest.fixture
def workspace(tmp_path):
    space = Workspace(tmp_path / "work")
    yield space
    space.close()


def test_outcomes_are_made_once_and_found_again_in_order(workspace):
    step = Answer()
    first = advance(workspace, step, items(20))
    assert [item.response for item in first.items] == [f"plain answer to question {i}" for i in range(20)]
    assert (first.made, len(step.calls)) == (20, 20)
    again = Answer()
    second = advance(workspace, again, items(20))
    assert (second.made, again.calls) == (0, [])
    assert second.items == first.items


def test_items_that_belong_side_by_side_are_made_so_and_come_out_in_order(workspace):
    class ThreeImages(Answer):
        workers, at_once = 1, 3

        def beside(self, item):
            return int(item.record.id[1:]) % 3

        def run_many(self, items):
            self.chunks = [*getattr(self, "chunks", []), [item.record.id for item in items]]
            return super().run_many(items)

    step = ThreeImages()
    result = advance(workspace, step, items(7))
    assert step.chunks == [["r0", "r3", "r6"], ["r1", "r4", "r2"], ["r5"]]
    assert [item.record.id for item in result.items] == [f"r{i}" for i in range(7)]


def test_a_changed_setting_redoes_the_step_and_changing_back_does_not(workspace):
    advance(workspace, Answer(), items(3))
    changed = Answer(tone="kind")
    assert advance(workspace, changed, items(3)).made == 3
    back = Answer()
    assert advance(workspace, back, items(3)).made == 0


def test_rejections_are_kept_with_their_reason_and_not_tried_again(workspace):
    def behave(item):
        if item.record.id == "r1":
            raise RejectedError("image is broken: truncated")

    result = advance(workspace, Answer(behave=behave), items(3))
    assert [item.record.id for item in result.items] == ["r0", "r2"]
    assert result.rejected == {"r1": "image is broken: truncated"}
    assert lines_by_kind(result.rejected.values()) == ["     1  image is broken: truncated"]
    assert lines_by_kind(["a: x", "a: y", "b"]) == ["     2  a, such as: x", "     1  b"]
    again = Answer(behave=behave)
    assert advance(workspace, again, items(3)).rejected == result.rejected
    assert again.calls == []


def test_pending_items_are_neither_done_nor_rejected(workspace):
    def behave(item):
        if item.record.id != "r0":
            raise PendingError

    result = advance(workspace, Answer(behave=behave), items(3))
    assert (len(result.items), result.pending, result.rejected) == (1, 2, {})
    assert advance(workspace, Answer(), items(3)).made == 2


def test_a_stop_keeps_what_is_done_and_starts_nothing_new(workspace):
    def behave(item):
        if item.record.id == "r5":
            raise StopRunError("the budget is spent")

    step = Answer(behave=behave)
    result = advance(workspace, step, items(500))
    assert result.stopped == "the budget is spent"
    assert len(step.calls) < 60
    assert result.pending == 500 - len(result.items), "those that were not asked wait, and the one that ended it"
    rest = Answer()
    finished = advance(workspace, rest, items(500))
    assert len(finished.items) == 500
    assert len(rest.calls) == 500 - (len(step.calls) - 1)


def test_an_error_of_ours_ends_the_run_but_loses_nothing(workspace):
    def behave(item):
        if item.record.id == "r7":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        advance(workspace, Answer(behave=behave), items(50))
    rest = Answer()
    assert len(advance(workspace, rest, items(50)).items) == 50
    assert len(rest.calls) < 50


def test_samples_are_items_of_their_own(workspace):
    (record,) = [item.record for item in items(1)]
    two = [Item(record), Item(record, sample=1)]
    assert [item.name for item in two] == ["r0", "r0/1"]
    assert advance(workspace, Answer(), two).made == 2


def test_one_process_at_a_time(workspace, tmp_path):
    with pytest.raises(ValueError, match="another firempo run works in"):
        Workspace(tmp_path / "work")


def test_a_foreign_file_is_not_overwritten(tmp_path):
    (tmp_path / "store.sqlite").write_text("these are my notes, not a database; do not lose them" * 50)
    with pytest.raises(ValueError, match="is not a store of firempo"):
        Workspace(tmp_path)
    assert (tmp_path / "store.sqlite").read_text().startswith("these are my notes")


def test_records_of_the_last_reading_count(workspace):
    first, second, changed, last = (Record(name, (), "Is it?", truth) for name, truth in ("a1", "b2", "b3", "d4"))
    workspace.put_records([first, second], {"c": "no image"})
    workspace.put_records([changed, last], {})
    of_last = "WHERE reading = (SELECT max(reading) FROM records)"
    records = workspace.query(f"SELECT id, json_extract(data, '$.truth') FROM records {of_last} ORDER BY position")
    assert records == [("b", "3"), ("d", "4")]
    assert workspace.query(f"SELECT id FROM problems {of_last}") == []


def test_an_outcome_under_a_key_stays_what_it_was(workspace):
    workspace.put_outcome("edit", "a", 0, "k", Outcome({"x": 1}, None))
    workspace.put_outcome("edit", "a", 0, "k", Outcome({"x": 2}, None))
    assert workspace.outcomes("edit") == {("a", 0, "k"): Outcome({"x": 1}, None)}


def test_text_files_are_whole_or_absent(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "two"


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_engine import Answer, items
from firempo_plugin.store import workspace
from firempo_plugin.store.engine import advance

workspace.WITHIN = 0.05

def slowly(item):
    time.sleep(0.02)
    with open({calls!r}, "a") as file:
        file.write(item.record.id + "\\n")

advance(workspace.Workspace(Path({folder!r})), Answer(behave=slowly), items(600))
"""


def test_killed_again_and_again_nothing_is_lost_and_finished_work_is_not_repeated(tmp_path):
    """At each kill, what is in flight (2 x 4 workers) and what was done in 0.05 s, at 200 a second, may be lost."""
    calls = tmp_path / "calls"
    calls.touch()
    code = KILLED.format(tests=os.path.dirname(__file__), calls=str(calls), folder=str(tmp_path / "work"))
    for kill in range(1, 6):
        run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        before = len(calls.read_text().split())
        deadline = time.monotonic() + 120
        while len(calls.read_text().split()) < before + 80 and time.monotonic() < deadline:
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
        called = calls.read_text().split()
        looking = Workspace(tmp_path / "work", look=True)
        assert len(looking.outcomes("respond")) >= len(set(called)) - 24
        looking.close()
        assert len(called) - len(set(called)) <= 24 * kill, "what was stored is not made again"
    subprocess.run([sys.executable, "-c", code], check=True)
    space = Workspace(tmp_path / "work")
    assert len(space.outcomes("respond")) == 600
    space.close()


def test_what_is_made_together_is_stored_before_the_next_is_long_awaited(workspace):
    """A chunk may take a model a minute: a kill while the next one runs must not cost it."""
    looking = Workspace(workspace.folder, look=True)
    stored = []

    def slowly(item):
        if item.record.id == "r4":
            time.sleep(2.5 * WITHIN)
            stored.append(len(looking.outcomes("respond")))

    step = Answer(behave=slowly)
    step.workers, step.at_once = 1, 4
    advance(workspace, step, items(8))
    looking.close()
    assert stored == [4]


def test_a_halt_stores_what_is_under_way_and_begins_nothing_new(workspace):
    halt = Halt()
    result = advance(workspace, Answer(behave=lambda item: halt.set("enough")), items(30), halt=halt)
    assert result.stopped == "enough"
    assert 1 <= result.made <= 8
    assert result.made == len(result.items)
    assert advance(workspace, Answer(), items(30)).made == 30 - result.made


def test_a_store_that_takes_no_more_ends_the_threads_first(workspace, monkeypatch):
    """As with a full disk: nobody goes on to pay for replies that nobody can keep."""
    halt, woken, asked = Halt(), [], []
    halt.wake = woken.append

    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(workspace, "put_outcome", full)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        advance(workspace, Answer(behave=asked.append), items(50), halt=halt)
    assert woken
    assert len(asked) <= 16


def test_others_may_look_while_one_works(workspace):
    advance(workspace, Answer(), items(3))
    looking = Workspace(workspace.folder, look=True)
    assert len(looking.outcomes("respond")) == 3
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        looking.put_outcome("respond", "r9", 0, "key", Outcome({}, None))
    looking.close()
    with pytest.raises(ValueError, match="another firempo run works in"):
        Workspace(workspace.folder)


def test_looking_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="holds no build yet"):
        Workspace(tmp_path / "nothing", look=True)
    assert not (tmp_path / "nothing").exists()
