"""The store: for its owner alone, of a known version, and no record's changed row ends a run."""

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from firempo_plugin.images.masks import Found, MaskCache, box_mask
from firempo_plugin.records import Record
from firempo_plugin.store.engine import Item, Step, advance
from firempo_plugin.store.workspace import VERSION, Outcome, Workspace
from firempo_plugin.terminal import say, shown


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def usual_mask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_workspace_is_its_owners_alone(tmp_path, usual_mask):
    space = Workspace(tmp_path / "runs" / "work")
    space.put_outcome("read", "record", 0, "key", Outcome(None, "a reason"))
    (space.path("images", "noised", "x.png")).touch()
    files = list((tmp_path / "runs" / "work").iterdir())
    space.close()
    assert {file.name for file in files} >= {"store.sqlite", "store.sqlite-wal", "lock", "images"}
    assert {mode(file) for file in files if file.is_file()} == {0o600}
    folders = (space.folder, space.folder / "images", space.folder / "images" / "noised")
    assert {mode(folder) for folder in folders} == {0o700}


def test_in_a_folder_that_was_there_what_is_made_is_private_too(tmp_path, usual_mask):
    """Whoever has opened the folder itself to others has meant to."""
    space = Workspace(tmp_path)
    cache = MaskCache(space.path("masks"))
    cache.put("key", Found(box_mask([(0, 0, 2, 2)], (4, 4)), ((0, 0, 2, 2),), (1.0,)), "box")
    space.close()
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) >= 2
    assert {mode(path) for path in made} == {0o700}
    assert mode(tmp_path / "store.sqlite") == 0o600


def test_what_waits_is_written_when_the_store_is_closed(tmp_path):
    """As where a run is broken off: outcomes that came together are committed together, a little later."""
    space = Workspace(tmp_path)
    for number in range(3):
        space.put_outcome("read", str(number), 0, "key", Outcome({"number": number}, None))
    space.close()
    with closing(Workspace(tmp_path, look=True)) as found:
        assert len(found.outcomes("read")) == 3


class Answer(Step):
    """Answers every question, and counts them."""

    name = "respond"

    def __init__(self):
        self.calls = []

    def depends_on(self, item):
        return {"question": item.record.question}

    def run(self, item):
        self.calls.append(item.name)
        return {"response": f"answer {item.record.id}"}

    def apply(self, item, data):
        return replace(item, response=data["response"].strip())


ITEMS = [Item(Record(f"r{i}", (), f"question {i}", "yes")) for i in range(4)]


def changed(folder: Path, statement: str, *values: object) -> Workspace:
    """The workspace after a change by another hand."""
    with sqlite3.connect(folder / "store.sqlite") as db:
        assert db.execute(statement, values).rowcount == 1
    db.close()
    return Workspace(folder)


@pytest.fixture
def folder(tmp_path):
    space = Workspace(tmp_path / "work")
    assert len(advance(space, Answer(), ITEMS).items) == 4
    space.close()
    return tmp_path / "work"


def test_a_fault_of_this_package_is_not_blamed_on_what_is_stored(folder):
    """To be told to delete outcomes that were paid for, because newer code cannot take them, would lose them."""

    class Broken(Answer):
        def apply(self, item, data):
            raise KeyError("bug")

    space = Workspace(folder)
    with pytest.raises(KeyError, match="bug"):
        advance(space, Broken(), ITEMS)
    space.close()


@pytest.mark.parametrize(
    "data",
    ['{"response": "answer x"}', '{"response": 5}', '{"other": "x"}', "[]", "7", "null", "not JSON", "[" * 100_000,
     b"\xff", None, 5],
    ids=lambda data: str(data)[:20],
)  # fmt: skip
def test_a_changed_outcome_is_its_records_problem(folder, data):
    space = changed(folder, "UPDATE outcomes SET data = ? WHERE record = 'r1'", data)
    step = Answer()
    result = advance(space, step, ITEMS)
    assert [item.response for item in result.items] == ["answer r0", "answer r2", "answer r3"]
    assert "was changed or cannot be read; delete its row" in result.rejected["r1"]
    assert step.calls == []
    with space.transaction() as db:
        db.execute("DELETE FROM outcomes WHERE record = 'r1'")
    again = advance(space, step, ITEMS)
    assert (len(again.items), step.calls) == (4, ["r1"])
    space.close()


def test_so_is_one_of_an_older_store_that_a_step_cannot_take(folder):
    """Nothing vouches for it: older stores have no digests."""
    space = Workspace(folder)
    (item,) = items = [Item(Record("r9", (), "question 9", "yes"))]
    space.put_outcome("respond", "r9", 0, Answer().key(item), Outcome({"answer": "x"}, None))
    space.close()
    space = changed(folder, "UPDATE outcomes SET digest = NULL WHERE record = 'r9'")
    assert "KeyError: 'response'" in advance(space, Answer(), items).rejected["r9"]
    space.close()


def test_an_error_of_ours_in_what_was_made_now_is_no_records_problem(folder):
    class Broken(Answer):
        name = "broken"

        def apply(self, item, data):
            raise KeyError("ours")

    space = Workspace(folder)
    with pytest.raises(KeyError, match="ours"):
        advance(space, Broken(), ITEMS)
    space.close()


def older(folder: Path) -> None:
    """Makes the store one of the time before versions."""
    with sqlite3.connect(folder / "store.sqlite") as db:
        db.execute("ALTER TABLE outcomes DROP COLUMN digest")
        db.execute("PRAGMA user_version = 0")
    db.close()


def test_a_store_knows_its_version(folder):
    with sqlite3.connect(folder / "store.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()


def test_an_older_store_is_brought_up_to_date_and_loses_nothing(folder):
    older(folder)
    with pytest.raises(ValueError, match="written by an older firempo; run `firempo build`"):
        Workspace(folder, look=True)
    space = Workspace(folder)
    step = Answer()
    assert len(advance(space, step, [*ITEMS, Item(Record("r9", (), "new", "yes"))]).items) == 5
    assert step.calls == ["r9"]
    space.close()
    looking = Workspace(folder, look=True)
    assert len(looking.outcomes("respond")) == 5
    looking.close()


def test_a_kill_while_it_is_brought_up_to_date_does_no_harm(folder, monkeypatch):
    older(folder)
    before = shutil.copytree(folder, folder.with_name("before"))
    monkeypatch.setattr("firempo_plugin.store.workspace._SCHEMA", "CREATE TABLE IF NOT EXISTS x (y); no SQL")
    with pytest.raises(ValueError, match="cannot be opened"):
        Workspace(folder)
    monkeypatch.undo()
    for place in (folder, before):
        space = Workspace(place)
        assert len(space.outcomes("respond")) == 4
        space.close()


def test_a_newer_store_is_refused(folder):
    with sqlite3.connect(folder / "store.sqlite") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    for look in (False, True):
        with pytest.raises(ValueError, match=f"newer firempo .*version {VERSION + 1}.*update firempo-plugin"):
            Workspace(folder, look=look)


def test_another_programs_store_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("CREATE TABLE notes (patient TEXT)")
    db.close()
    before = (tmp_path / "store.sqlite").read_bytes()
    with pytest.raises(ValueError, match="is not a store of firempo: it lacks the tables"):
        Workspace(tmp_path)
    assert (tmp_path / "store.sqlite").read_bytes() == before


def test_halves_of_surrogate_pairs_are_kept_in_data_and_shown_in_reasons(folder):
    """A file whose name is not UTF-8 has some."""
    space = Workspace(folder)
    space.put_outcome("read", "a", 0, "k", Outcome({"file": "\udcff.png"}, None))
    space.put_outcome("read", "b", 0, "k", Outcome(None, "no \udcff.png"))
    found = space.outcomes("read")
    assert found["a", 0, "k"] == Outcome({"file": "\udcff.png"}, None)
    assert found["b", 0, "k"] == Outcome(None, "no \ufffd.png")
    strange = Record("s", ("\udcff.png",), "half \ud83d", "yes")
    assert advance(space, Answer(), [Item(strange)]).made == 1
    space.close()


def test_what_would_steer_a_terminal_is_shown_escaped(capsys):
    say("a\x1b[2Jb", "one\ntwo\r", "\u202egnp.exe\u2069", "\x9b1m", "plain — 中文 é")
    assert capsys.readouterr().out.splitlines() == [
        "a\\x1b[2Jb", "one\\ntwo\\r", "\\u202egnp.exe\\u2069", "\\x9b1m", "plain — 中文 é",
    ]  # fmt: skip
    assert shown(json.loads('"\\ud83d"')) == "\\ud83d"
    marks = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert shown(marks) == "".join(f"\\u{ord(mark):04x}" for mark in marks), "every mark of direction"
