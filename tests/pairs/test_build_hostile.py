"""Builds and evaluations beside servers and records that mean no good, from the command to what it prints."""

import json
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import yaml
from pairs_server import PairsServer, error, well
from PIL import Image

from firempo_plugin.evaluate import commands as evaluation
from firempo_plugin.pairs import commands

ANSWER = "Yes, there is a fracture."


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes records, each with an image of its own, and the configuration of their build."""

    def make(count: int, ids=str, **changes) -> Path:
        rows = []
        for number in range(count):
            Image.new("L", (32, 24), 90 + number).save(tmp_path / f"{number}.png")
            row = {"id": ids(number), "image": f"{number}.png", "question": "Is there a fracture?", "answer": "Yes"}
            rows.append({**row, "response": ANSWER})
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = {"id": "id", "image": "image", "question": "question", "truth": "answer", "response": "response"}
        options = {"file": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path), "columns": columns}
        config = {"workspace": str(tmp_path / "work"), "source": {"name": "table", "options": options}, **changes}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return make


def asking(server: PairsServer, **more) -> dict:
    return {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "m", "concurrency": 4, **more}}


def test_a_server_that_dies_stops_the_build_as_one_that_was_never_there(write, capsys, monkeypatch):
    monkeypatch.setattr("firempo_plugin.endpoint.limits.LONGEST_ABSENCE", 0.3)
    monkeypatch.setattr("firempo_plugin.endpoint.limits._ABSENT_BACKOFF", 0.2)
    with PairsServer(lambda call: well(ANSWER, delay=0.02)) as server:
        path = write(30, respond=asking(server))

        def die() -> None:
            while len(server.calls) < 12:
                time.sleep(0.005)
            server.die()

        killer = threading.Thread(target=die)
        killer.start()
        start = time.monotonic()
        assert commands.build(path, []) == 3
        assert time.monotonic() - start < 25
        killer.join()
    shown = capsys.readouterr()
    assert "cannot be reached" in shown.err
    assert "Nothing has been answered for a while: check the server and run again" in shown.err
    assert "replies in the store" in shown.out
    with PairsServer(lambda call: well(ANSWER)) as again:
        answered = replies(path.parent / "work")
        assert 8 <= answered < 30
        assert commands.build(path, [f"respond.endpoint.base_url={again.url}"]) == 0
        assert len(again.calls) == 30 - answered


def replies(folder: Path) -> int:
    with sqlite3.connect(folder / "store.sqlite") as db:
        ((count,),) = db.execute("SELECT count(*) FROM requests WHERE reply IS NOT NULL")
    db.close()
    return int(count)


def test_neither_build_nor_evaluation_follows_a_redirection(write, capsys, tmp_path):
    with PairsServer() as elsewhere, PairsServer() as server:
        server.script = lambda call: error(308, location=f"{elsewhere.url}/chat/completions")
        assert commands.build(write(5, respond=asking(server)), []) == 3
        assert "write the final address into base_url" in capsys.readouterr().err
        options = yaml.safe_load((tmp_path / "config.yaml").read_text())["source"]
        config = {
            "workspace": str(tmp_path / "measured"),
            "source": options,
            "models": {"served": "m"},
            "endpoint": {"base_url": server.url},
            "measures": ["accuracy"],
        }
        (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))
        assert evaluation.evaluate(tmp_path / "evaluate.yaml", []) == 3
        assert "write the final address into base_url" in capsys.readouterr().err
        assert len(server.calls) == 2
        assert elsewhere.calls == []


def test_a_changed_store_ends_no_build(write, capsys, tmp_path):
    path = write(4)
    assert commands.build(path, []) == 0
    with sqlite3.connect(tmp_path / "work" / "store.sqlite") as db:
        db.execute("UPDATE outcomes SET data = '{\"response\": 5}' WHERE step = 'respond' AND record = 'table:1'")
        db.execute("UPDATE outcomes SET data = 'x' WHERE step = 'noise' AND record = 'table:2'")
    db.close()
    capsys.readouterr()
    for command in (lambda: commands.build(path, []), lambda: commands.status(path, [])):
        assert command() == 0
        assert capsys.readouterr().out.count("the stored outcome was changed or cannot be read") >= 2
    assert len(json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text())) == 2


ESCAPES = "\x1b[2J\u202egpj\u2066\nStopped: no"


def test_ids_and_servers_words_cannot_steer_the_terminal(write, capsys):
    def script(call):
        return well("first") if call.before == 0 else error(400, f"no {ESCAPES}", "content_filter")

    with PairsServer(script) as server:
        path = write(3, ids=lambda number: f"{number}{ESCAPES}", respond=asking(server, concurrency=1))
        commands.build(path, [])
        commands.status(path, [])
        commands.dry_run(path, ["edit.judge=endpoint", "edit.endpoint.model=m", "edit.rules_first=false"])
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not {"\x1b", "\u202e", "\u2066"} & set(text)
        assert "\nStopped: no" not in text
    assert "\\x1b[2J\\u202egpj\\u2066\\nStopped: no" in shown.out
    assert "respond: table:1\\x1b[2J" in shown.out


def test_half_a_surrogate_pair_in_a_record_is_its_own_problem(write, capsys, tmp_path):
    path = write(2)
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows[0] = rows[0].replace("fracture?", "fracture \\ud83d?")
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    assert commands.build(path, []) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err
