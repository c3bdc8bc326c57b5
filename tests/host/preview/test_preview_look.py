"""The reader side of the preview: it follows a worker, survives its death, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from places import TEMPLATES_DIR

from firempo_plugin.host.preview import look
from firempo_plugin.host.preview.look import ANY_PROBLEM, ROWS, STATE, Look
from firempo_plugin.host.preview.seen import Piece, SeenRow
from firempo_plugin.host.preview.worker import write

CONFIG = {
    "stage": "fire_mpo",
    "do_train": True,
    "finetuning_type": "lora",
    "dataset": "fire_mpo_sharegpt",
    "dataset_dir": str(TEMPLATES_DIR),
}
PATIENCE = 600
"""Seconds; a worker starts in some five."""


def seen(number, problem=""):
    return SeenRow(
        place=f"pairs, row {number}",
        problem=problem,
        question="Où?",
        earlier="",
        prompt="",
        chosen=(Piece("left", "phrase"),),
        rejected=(),
        images=("a.png",),
        rejected_images=(),
        weight=1.0,
        truncated=False,
        prompt_tokens=3,
        about={},
    )


def wait(look, *states):
    """Polls until a state is reached."""
    end = time.monotonic() + PATIENCE
    while (standing := look.poll()).state not in states:
        assert time.monotonic() < end, standing
        time.sleep(0.05)
    return standing


def is_alive(pid):
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for_end(pid):
    end = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def by_hand():
    """A look whose worker only sleeps, and the folder in which the test writes what a worker would."""
    folder = TemporaryDirectory()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    look = Look(process, folder)
    (Path(folder.name) / "output.txt").write_text("")
    yield look, Path(folder.name), process
    look.close()


def enter(folder, state, total=None, error=""):
    entry = {"state": state, "total": total, "error": error, "builtin_tokenizer": False}
    (folder / STATE).write_text(json.dumps(entry))


def append(folder, text):
    with open(folder / ROWS, "a", encoding="utf-8") as file:
        file.write(text)


def test_rows_are_read_as_they_come_and_sorted_by_kind(by_hand):
    look, folder, _ = by_hand
    assert look.poll().state == "loading"
    assert look.rows(None, 0, 10) == []
    enter(folder, "checking", total=5)
    lines = [seen(n, problem) for n, problem in enumerate(("", "weight 3", "gone; also: weight 1", "weight 44", ""))]
    text = "".join(row.to_json() + "\n" for row in lines)
    cut = len(text) - 30
    append(folder, text[:cut])
    standing = look.poll()
    assert (standing.state, standing.checked, standing.total) == ("checking", 4, 5)
    assert standing.kinds == {"weight N": 3, "gone": 1}
    assert standing.bad == 3, "a row of two kinds is one row"
    append(folder, text[cut:])
    assert look.poll().checked == 5
    assert look.rows(None, 0, 10) == lines
    assert look.rows(None, 3, 1) == [lines[3]]
    assert look.rows(ANY_PROBLEM, 1, 10) == [lines[2], lines[3]]
    assert look.rows("weight N", 1, 5) == [lines[2], lines[3]]
    assert look.rows("gone", 0, 5) == [lines[2]]
    assert [look.count(kind) for kind in (None, ANY_PROBLEM, "weight N", "other")] == [5, 3, 3, 0]
    enter(folder, "done", total=5)
    assert look.poll().state == "done"


def test_a_worker_that_dies_without_a_word_has_failed(by_hand):
    look, folder, process = by_hand
    enter(folder, "checking", total=5)
    append(folder, seen(0).to_json() + "\n")
    (folder / "output.txt").write_text("x" * 9000 + "Out of memory")
    process.kill()
    process.wait()
    standing = look.poll()
    assert standing.state == "failed"
    assert "ended with -9" in standing.error
    assert standing.error.endswith("Out of memory")
    assert len(standing.error) < 3000
    assert look.rows(None, 0, 5) == [seen(0)], "what was read stays"


def test_closing_ends_the_worker_and_removes_its_files(by_hand):
    look, folder, process = by_hand
    enter(folder, "checking", total=5)
    before = look.poll()
    look.close()
    look.close()
    assert process.returncode == -signal.SIGKILL
    assert not folder.exists()
    assert look.poll() == before
    assert look.rows(None, 0, 5) == []


def test_two_looks_go_on_beside_each_other_and_one_may_be_closed_while_loading(write_dataset):
    good = {
        "conversations": [{"from": "human", "value": "Which side?"}],
        "chosen": {"from": "gpt", "value": "Left."},
        "rejected": {"from": "gpt", "value": "Right."},
    }
    rows = [{**good, "weight": 1}, {**good, "weight": 0}] * 60
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "weight": "weight"}
    folder = write_dataset(rows, columns=columns)
    one = Look.start({**CONFIG, "dataset": "pairs", "dataset_dir": str(folder)})
    other, closed = Look.start(CONFIG), Look.start(CONFIG)
    assert closed.poll().state == "loading"
    closed.close()
    assert not is_alive(closed._process.pid)
    assert wait(other, "done", "failed").checked == 2
    standing = wait(one, "done", "failed")
    assert (standing.state, standing.error, standing.checked, standing.total) == ("done", "", 120, 120)
    assert standing.builtin_tokenizer
    (kind,) = standing.kinds
    assert look_places(one, kind)[:3] == ["pairs, row 1", "pairs, row 3", "pairs, row 5"]
    for each in (one, other):
        each.close()
        assert not each._folder.exists()


def look_places(look, kind):
    return [row.place for row in look.rows(kind, 0, 1000)]


def test_a_worker_ends_with_whoever_started_it():
    script = (
        "import time; from firempo_plugin.host.preview.look import Look\n"
        f"look = Look.start({CONFIG!r})\n"
        "print(look._process.pid, look._folder, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        pid, folder = starter.stdout.readline().split()
        while not (Path(folder) / STATE).exists():  # it watches by then
            time.sleep(0.05)
        starter.kill()
    wait_for_end(int(pid))


def test_a_look_ends_at_the_interpreters_exit():
    script = (
        "from firempo_plugin.host.preview.look import Look\n"
        f"look = Look.start({CONFIG!r})\n"
        "print(look._process.pid, look._folder)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    pid, folder = said.split()
    wait_for_end(int(pid))
    assert not os.path.exists(folder)


@pytest.mark.parametrize(
    ("changes", "text", "message"),
    [
        ({"dataset_dir": "nowhere"}, None, "nowhere/dataset_info.json does not exist (looked in "),
        ({"dataset": "nothing"}, None, "dataset_info.json in "),
        ({"model_name_or_path": "/no/model", "template": "qwen3_vl"}, None, "/no/model cannot be read"),
        ({"stage": "sft"}, None, "expected a training configuration with `stage: fire_mpo`"),
        ({"fire_alpha": -1}, None, "fire_alpha must be a number >= 0"),
        ({}, '[{"conversations": ', "dataset pairs: pairs.json is not valid JSON"),
    ],
    ids=["folder", "name", "model", "stage", "key", "json"],
)
def test_what_cannot_be_read_is_said_as_training_says_it(changes, text, message, write_dataset, tmp_path):
    """The worker's work in this process; no traceback is shown."""
    config = {**CONFIG, **changes}
    if text is not None:
        config |= {"dataset": "pairs", "dataset_dir": str(write_dataset([], text=text))}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert write(tmp_path / "config.json", tmp_path) == 1
    state = json.loads((tmp_path / STATE).read_text())
    assert state["state"] == "failed"
    assert message in state["error"]
    assert "Traceback" not in state["error"]


def test_what_an_ended_process_left_behind_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"firempo-preview-{ended.pid}-abc", f"firempo-preview-{os.getpid()}-abc", "firempo-preview-other-abc"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text("{}")
    look.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
