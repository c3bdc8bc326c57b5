"""Many records go through the steps by chunks, and come out as if they had gone together."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pairs_building import built, written
from pairs_server import PairsServer, well

from firempo_plugin.images import pixels
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.walk import Walk
from firempo_plugin.store import chunks

ROWS = [
    ("Is there a pleural effusion?", "No", "No, there is no pleural effusion."),
    ("Is the heart enlarged?", "Yes", "No, the heart is not enlarged."),
    ("What disease does the patient have?", "Sarcoidosis", "The patient suffers from old age."),
    ("Which lung is affected, left or right?", "Left", "The left lung is affected."),
    ("Is there a fracture?", "Yes", ""),
    ("What imaging modality was used?", "CT", "This is an MRI scan."),
    ("Describe it.", "There is no pleural effusion. There is no fracture.",
     "There is a pleural effusion. There is a fracture.", "report"),
] * 3  # fmt: skip


@pytest.fixture
def by_fives(monkeypatch):
    """Returns a function that cuts records into chunks of five from then on."""
    return lambda: [monkeypatch.setattr(chunks, name, 5) for name in ("AT_ONCE", "ASKED_AT_ONCE")]


def exported(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("format_name", ["llamafactory", "swift", "hub", "label_studio"])
def test_chunks_make_no_difference(tmp_path, by_fives, capsys, format_name):
    sections = {"edit": {"report": "findings"}, "label": {"by": "rules"}, "noise": {"shared": True}}
    path = written(tmp_path, ROWS, **sections, export={"format": format_name, "most": {"presence": 4}})
    assert commands.build(path, []) == 0
    whole, said = exported(tmp_path / "work" / "export"), capsys.readouterr().out
    shutil.rmtree(tmp_path / "work")
    by_fives()
    assert commands.build(path, []) == 0
    assert exported(tmp_path / "work" / "export") == whole
    shown = capsys.readouterr()
    assert shown.out == said
    assert "records: 21 of 21 items" in shown.err, "one line for all chunks and steps"
    assert len(shown.err.splitlines()) == 1


def test_what_is_finished_is_not_walked_again(tmp_path, by_fives, monkeypatch):
    by_fives()
    path = written(tmp_path, ROWS)
    first = built(path)
    walked = []
    take = Walk.take
    monkeypatch.setattr(
        Walk, "take", lambda walk, records, wanted: (walked.append(len(records)), take(walk, records, wanted))
    )
    again = built(path)
    assert walked == []
    assert (again.made, again.pairs, again.tally.plain()) == (0, first.pairs, first.tally.plain())
    table = tmp_path / "rows.jsonl"
    table.write_text(
        table.read_text() + json.dumps({"id": 99, "image": "scan.png", "question": "Is it?", "truth": "No"}) + "\n"
    )
    assert built(path).steps["read"].made == 1
    assert walked == [2], "the last chunk alone is another"
    assert built(path, "noise.sigma=50").steps["noise"].made == len(first.pairs)
    assert walked == [2, 5, 5, 5, 5, 2]


def test_a_folder_that_was_moved_goes_on_with_its_own_files(tmp_path, by_fives):
    by_fives()
    path = written(tmp_path, ROWS)
    before = built(path).pairs
    (tmp_path / "work").rename(tmp_path / "moved")
    moved = built(path, f"workspace={tmp_path / 'moved'}")
    assert (moved.made, len(moved.pairs)) == (0, len(before))
    assert {Path(file).parent for pair in moved.pairs for file in pair.rejected_images} == {
        tmp_path / "moved" / "images" / "noised"
    }


def test_an_image_that_has_changed_is_read_anew(tmp_path, by_fives):
    from firempo_plugin.respond.read import file_id

    by_fives()
    path = written(tmp_path, ROWS)
    built(path)
    (tmp_path / "scan.png").write_bytes(b"broken")
    file_id.cache_clear()
    assert len(built(path).steps["read"].rejected) == len(ROWS)


def test_a_shared_image_is_noised_once_for_all_chunks(tmp_path, by_fives, monkeypatch):
    by_fives()
    wrote, png = [], pixels.png
    monkeypatch.setattr(pixels, "png", lambda array: wrote.append(array) or png(array))
    pairs = built(written(tmp_path, ROWS), "noise.shared=true", "noise.workers=1").pairs
    assert len(pairs) > 10
    assert len(wrote) == len({pair.rejected_images for pair in pairs}) == 2, "of a question, and of a report"


def test_requests_of_all_chunks_are_handed_in_together(tmp_path, by_fives):
    by_fives()
    edit = {"judge": "batch", "rules_first": False}
    rows = [(f"{question} {number}", *rest) for number, (question, *rest) in enumerate(ROWS)]
    with PairsServer() as server:
        edit["endpoint"] = {"base_url": server.url, "model": "judge"}
        found = built(written(tmp_path, rows, edit=edit))
        assert found.steps["edit"].pending == 18
        (batch,) = server.batches
        assert len(server.lines(batch)) == 18


STOPPED = """
import sys
from firempo_plugin.store import chunks
chunks.ASKED_AT_ONCE = 5
from firempo_plugin.cli import main
sys.exit(main(["build", *sys.argv[1:]]))
"""


def test_killed_within_a_chunk_no_paid_call_is_repeated(tmp_path, by_fives):
    """Each kill may cost the calls in flight (2) and no other; the data set is that of a run without kills."""
    rows = [(f"Is there a fracture, number {number}?", "Yes", "") for number in range(20)]
    with PairsServer(lambda call: well("Yes.", delay=0.02)) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "concurrency": 2}
        path = written(tmp_path, rows, respond={"backend": "endpoint", "endpoint": endpoint})
        for calls in (3, 12):
            run = subprocess.Popen([sys.executable, "-c", STOPPED, str(path)], stderr=subprocess.DEVNULL)
            end = time.monotonic() + 120
            while run.poll() is None and len(server.calls) < calls and time.monotonic() < end:
                time.sleep(0.002)
            run.kill()
            run.wait()
        by_fives()
        assert commands.status(path, []) == 0
        assert commands.build(path, []) == 0
        assert 20 <= len(server.calls) <= 20 + 2 * 2
        killed = exported(tmp_path / "work" / "export")
        shutil.rmtree(tmp_path / "work")
        assert commands.build(path, []) == 0
    assert killed == exported(tmp_path / "work" / "export")


def test_a_stop_in_one_chunk_counts_what_is_there_of_the_others(tmp_path, by_fives, capsys):
    by_fives()
    with PairsServer(lambda call: well("Yes.")) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "price_in": 1, "price_out": 1}
        rows = [(f"Is there a fracture, number {number}?", "Yes", "") for number in range(20)]
        path = written(tmp_path, rows, respond={"backend": "endpoint", "endpoint": endpoint})
        assert commands.build(path, []) == 0
        table = tmp_path / "rows.jsonl"
        table.write_text(table.read_text().replace("number 2?", "number two?"))
        capsys.readouterr()
        assert commands.build(path, ["max_cost=0"]) == 3
        assert len(server.calls) == 20
    shown = capsys.readouterr()
    assert re.search(r"^pairs +19$", shown.out, re.MULTILINE)
    assert "19 pairs are there" in shown.err


def test_the_status_is_as_the_last_run_left_it(tmp_path, by_fives, capsys):
    by_fives()
    path = written(tmp_path, ROWS, respond={"backend": "recorded"})
    assert commands.build(path, []) == 0
    table = capsys.readouterr().out.partition("\n\n")[0]
    kept = (tmp_path / "rows.jsonl").rename(tmp_path / "away.jsonl")
    assert commands.status(path, []) == 0
    shown = capsys.readouterr().out
    assert re.sub(r"\d+ made now", "0 made now", table) in shown
    assert "As the last run left it." in shown
    assert "edit: table:2: the rules abstain" in shown
    kept.rename(tmp_path / "rows.jsonl")
    assert commands.status(path, ["noise.sigma=50"]) == 0, "other settings are walked"
    shown = capsys.readouterr().out
    assert "As the last run" not in shown
    assert f"{len(built(path).pairs)} waiting" in shown
    with sqlite3.connect(tmp_path / "work" / "store.sqlite") as db:
        db.execute("DELETE FROM outcomes WHERE step = 'noise'")
    db.close()
    assert commands.status(path, []) == 0
    assert "waiting" in capsys.readouterr().out


MEASURED = """
import sys
from pathlib import Path
from firempo_plugin.store import chunks
chunks.AT_ONCE = int(sys.argv[1])
from firempo_plugin.cli import main
assert main(["build", *sys.argv[2:]]) == 0
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(tmp_path):
    """2,000 records take 4 MB more than 400, caches of fixed size; all at once they take 19 MB more."""
    used = {}
    for number in (400, 2000):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = [
            (f"Is there a fracture, number {n}?", "Yes", f"Yes, number {n} shows a fracture.") for n in range(number)
        ]
        command = [sys.executable, "-c", MEASURED, "200", str(written(folder, rows)), "noise.shared=true"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert re.search(rf"^pairs +{number}$", out, re.MULTILINE)
        used[number] = int(out.split()[-1]) / 1000
    assert used[2000] - used[400] < 9
