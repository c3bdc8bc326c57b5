"""Chunks: what is the same is finished, whatever differs is walked again, and who looks writes nothing."""

import shutil
import sqlite3
from dataclasses import replace

import pytest

from firempo_plugin.records import Record, Region
from firempo_plugin.store import chunks as module
from firempo_plugin.store.chunks import Chunks
from firempo_plugin.store.workspace import Outcome, Workspace

REGIONS = (Region("left lung", box=(1.5, 2, 3, 4)), Region("heart", 1, mask="m.png", values=((1, 2, 3), (4,))))
RECORDS = [
    Record("a", ("1.png", "2.png"), "Is it?\nSo?", "yes \u2028 no", "report", "zh", True, "no", REGIONS, 0.25, "s"),
    *(Record(name, (f"{name}.png",), "Is it?", "half \ud83d" if name == "c" else "yes") for name in "bcdefg"),
]


@pytest.fixture(autouse=True)
def _three_at_once(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 3)


@pytest.fixture
def folder(tmp_path):
    """A workspace of three chunks, all finished."""
    space = Workspace(tmp_path / "work")
    space.put_outcome("read", "a", 0, "key", Outcome({"x": 1}, None))
    finish(taken(space, RECORDS))
    space.close()
    return tmp_path / "work"


def taken(space, rows):
    chunks = Chunks(space)
    chunks.take(rows)
    return chunks


def finish(chunks):
    for chunk in chunks:
        chunks.put(chunk, "settings", {"number": chunk.number}, {"file": "1"}, [f"pair {chunk.number}\u2028", "q"])


def done(chunks, settings="settings", file="1"):
    """Which chunks are finished."""
    found = {chunk.number: chunks.finished(chunk, settings, {"file": file}.get) for chunk in chunks}
    assert all(counts in (None, {"number": number}) for number, counts in found.items())
    return [number for number, counts in found.items() if counts is not None]


@pytest.fixture
def again(folder):
    """Returns a function that opens the folder and takes a reading; all it opened is closed at the end."""
    spaces = []

    def opened(rows=RECORDS, *, look=False):
        spaces.append(Workspace(folder, look=look))
        return taken(spaces[-1], rows)

    yield opened
    for space in spaces:
        space.close()


def test_records_come_back_as_they_were_in_order(again):
    chunks = again()
    assert [chunk.amount for chunk in chunks] == [3, 3, 1]
    assert [record for chunk in chunks for record in chunks.records(chunk)] == RECORDS
    assert (chunks.amount, chunks.among(next(iter(chunks)))) == (7, "records 1 to 3 of 7")


@pytest.mark.parametrize("look", [False, True])
def test_the_same_reading_is_finished_with_its_pairs(again, look):
    chunks = again(look=look)
    assert done(chunks) == [0, 1, 2]
    assert [chunks.pairs(chunk) for chunk in chunks] == [[f"pair {number}\u2028", "q"] for number in range(3)]
    assert done(chunks, settings="others") == done(chunks, file="2") == []


@pytest.mark.parametrize("look", [False, True])
def test_of_another_reading_what_differs_is_walked(again, look):
    changed = [replace(record, truth="no") if record.id == "e" else record for record in RECORDS]
    chunks = again([("z", "no image"), *changed], look=look)
    assert done(chunks) == [2]
    assert chunks.problems.first == {"z": "no image"}
    assert [record for chunk in chunks for record in chunks.records(chunk)] == changed
    finish(chunks)
    assert done(chunks) == [0, 1, 2]


def test_a_shorter_reading_leaves_nothing_behind(again, folder):
    assert done(again(RECORDS[:3])) == [0]
    with sqlite3.connect(folder / "store.sqlite") as db:
        assert db.execute("SELECT number FROM chunks").fetchall() == [(0,)]
        last = "reading = (SELECT max(reading) FROM records)"
        assert db.execute(f"SELECT id FROM records WHERE {last} ORDER BY position").fetchall() == [
            ("a",), ("b",), ("c",)
        ]  # fmt: skip
    db.close()


def test_a_source_that_breaks_off_takes_nothing_back(again, folder):
    def broken():
        yield from RECORDS[3:]
        raise ValueError("line 8 is broken")

    for look in (True, False):
        with pytest.raises(ValueError, match="line 8"):
            again(broken(), look=look)
    assert done(again(look=True)) == [0, 1, 2]


def test_who_looks_writes_nothing_and_sees_one_state(again, folder):
    before = shutil.copytree(folder, folder.with_name("before"))
    looking = again([replace(record, truth="no") for record in RECORDS], look=True)
    finish(looking)
    assert (folder / "store.sqlite").read_bytes() == (before / "store.sqlite").read_bytes()
    same = again(look=True)
    other = again(RECORDS[:3])
    other.put(next(iter(other)), "settings", {"number": 0}, {}, ["other"])
    assert [same.pairs(chunk)[0] for chunk in same] == [f"pair {number}\u2028" for number in range(3)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM outcomes WHERE record = 'a'",
        "UPDATE outcomes SET data = '{}'",
        "UPDATE chunks SET pairs = x'00'",
        "UPDATE chunks SET pairs = 5",
        "UPDATE chunks SET counts = NULL",
        "UPDATE chunks SET files = records",
    ],
)
def test_what_another_hand_has_changed_is_not_believed(again, folder, statement):
    with sqlite3.connect(folder / "store.sqlite") as db:
        assert db.execute(statement).rowcount > 0
    db.close()
    assert done(again()) == []


def test_a_store_of_the_time_before_chunks_can_be_looked_at_and_gone_on_with(again, folder):
    with sqlite3.connect(folder / "store.sqlite") as db:
        db.execute("DROP TABLE chunks")
        db.execute("DROP TRIGGER outcome_DELETE")
        db.execute("DROP TRIGGER outcome_UPDATE")
        db.execute("DELETE FROM notes WHERE name IN ('touched', 'reading of chunks')")
    db.close()
    looking = again(look=True)
    assert done(looking) == []
    finish(looking)
    assert done(looking) == [0, 1, 2]
    assert done(again()) == []


def test_large_records_make_small_chunks(again, monkeypatch):
    monkeypatch.setattr(module, "MOST", 300)
    assert max(chunk.amount for chunk in again()) < 3
