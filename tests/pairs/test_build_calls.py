"""A build that asks models: each call once, killed, stopped and refused; prices, thoughts, batches and the engine."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from pairs_building import QUESTIONS, built, write_questions
from pairs_server import PairsServer, error, well

from firempo_plugin.chat_templates import IMAGE
from firempo_plugin.host.chat.responder import ChatEngine
from firempo_plugin.pairs import commands
from firempo_plugin.store.request_store import WorkspaceRequests
from firempo_plugin.store.workspace import Workspace


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes records with images and a configuration of their build."""
    return partial(write_questions, tmp_path)


def answers(call):
    """Answers a question of QUESTIONS with its recorded response."""
    return well(next(response for question, _, response in QUESTIONS if question in call.text))


def test_an_endpoint_is_asked_once_for_each_record(write):
    with PairsServer(answers) as server:
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}}
        path = write(respond=respond)
        first = built(path)
        assert len(server.texts()) == len(QUESTIONS)
        assert len(first.pairs) == len(QUESTIONS) - 1
        assert built(path, "noise.sigma=30").made == len(first.pairs)
        assert len(server.texts()) == len(QUESTIONS)


def test_a_dry_run_makes_no_call_and_shows_the_prompt(write, capsys):
    with PairsServer(answers) as server:
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "gpt-4o-mini"}}
        edit = {"judge": "endpoint", "endpoint": {"base_url": server.url, "model": "gpt-4o-mini"}}
        assert commands.dry_run(write(respond=respond, edit=edit), []) == 0
        assert server.texts() == []
    text = capsys.readouterr().out
    assert f"respond: {len(QUESTIONS)} calls" in text
    assert "Is there a pleural effusion?" in text
    assert "edit: 1 calls" in text, "the rules decide the others"


def test_a_refused_dry_run_leaves_nothing_behind_and_takes_nothing_away(write, tmp_path):
    path = write()
    wrong = ["source.options.file=gone.jsonl", f"workspace={tmp_path}/new/work"]
    with pytest.raises(ValueError, match="gone"):
        commands.dry_run(path, wrong)
    assert not (tmp_path / "new").exists()
    assert built(path).pairs
    with pytest.raises(ValueError, match="gone"):
        commands.dry_run(path, wrong[:1])
    assert built(path, make=False).pairs


def judge(text):
    """A judge's reply to every question."""
    return lambda call: well(json.dumps(text) if not isinstance(text, str) else text)


GOOD = {
    "answer_sentence": "The patient suffers from old age.",
    "final_answer": "old age",
    "is_correct": False,
    "edited_sentence": "The patient suffers from sarcoidosis.",
}


@pytest.mark.parametrize(
    ("reply", "calls", "accepted"),
    [
        (GOOD, 1, True),
        ("not JSON", 2, False),
        (GOOD | {"answer_sentence": "It is not in the response."}, 2, False),
        (GOOD | {"edited_sentence": "Something else entirely that says nothing of the truth."}, 2, False),
        (GOOD | {"edited_sentence": GOOD["answer_sentence"]}, 2, False),
    ],
)
def test_a_judge_is_believed_only_after_the_checks_and_asked_twice_at_most(write, reply, calls, accepted):
    with PairsServer(judge(reply)) as server:
        edit = {"judge": "endpoint", "max_words": 6, "endpoint": {"base_url": server.url, "model": "judge"}}
        progress = built(write(QUESTIONS[5:], edit=edit))
        assert len(server.texts()) == calls
        assert bool(progress.pairs) == accepted
        if not accepted:
            assert "refused twice" in progress.steps["edit"].rejected.first["table:0"]


def test_secrets_stay_out_of_the_workspace(write, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-0123456789abcdef")
    with PairsServer(judge(GOOD)) as server:
        endpoint = {"base_url": server.url, "model": "judge", "key_env": "JUDGE_KEY"}
        built(write(QUESTIONS[5:], edit={"judge": "endpoint", "endpoint": endpoint}))
        assert len(server.texts()) >= 1
    for file in (tmp_path / "work").rglob("*"):
        if file.is_file():
            assert b"sk-secret" not in file.read_bytes(), file


def test_a_batch_is_submitted_then_collected(write):
    with PairsServer(judge(GOOD)) as server:
        edit = {"judge": "batch", "max_words": 6, "endpoint": {"base_url": server.url, "model": "judge"}}
        path = write(QUESTIONS[5:], edit=edit)
        first = built(path)
        assert first.steps["edit"].pending == 1
        assert "1 requests submitted" in first.handed_in[0]
        assert built(path).steps["edit"].pending == 1, "not answered yet, and not submitted again"
        for batch in [b["id"] for b in server.list_batches({}).body["data"]]:
            server.finish_batch(batch)
        last = built(path)
        assert len(last.pairs) == 1
        assert len(server.texts()) == 1


RUN = "import sys; from firempo_plugin.cli import main; sys.exit(main(['build', *sys.argv[1:]]))"


def started(path: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(path), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_calls(server, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and len(server.calls) < count and time.monotonic() < deadline:
        time.sleep(0.002)


def fractures(count):
    """The same question about as many images."""
    return [("Is there a fracture?", "Yes", "")] * count


def slowly(call):
    return well("Yes, there is a fracture.", delay=0.02)


def test_killed_again_and_again_no_paid_call_is_repeated(write, tmp_path):
    """Each kill may cost the calls in flight (4) and no other; the dataset is that of a run without kills."""
    chance = random.Random(0)
    with PairsServer(slowly) as server:
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny", "concurrency": 4}}
        path = write(fractures(60), respond=respond)
        kills = 4
        for _ in range(kills):
            process = started(path)
            wait_for_calls(server, len(server.calls) + chance.randint(5, 9), process)
            process.kill()
            process.communicate()
        assert commands.build(path, []) == 0
        calls = len(server.calls)
        killed = (tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_bytes()
        progress = built(path, make=False)
        workspace = Workspace(tmp_path / "work")
        assert WorkspaceRequests(workspace).totals().replies == 60
        workspace.close()
        shutil.rmtree(tmp_path / "work")
        assert commands.build(path, []) == 0
    assert len(progress.pairs) == 60
    assert 60 <= calls <= 60 + 4 * kills
    assert killed == (tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stores_the_calls_under_way_and_sums_up(write, number):
    with PairsServer(slowly) as server:
        sent = Event()

        def script(call):
            """One goes first; four are answered after the signal, which has seconds to be heard before any more are."""
            if 0 < call.before < 5:
                sent.wait(60)
            return well("Yes, there is a fracture.", delay=2 if call.before >= 5 else 0)

        server.script = script
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny", "concurrency": 4}}
        path = write(fractures(20), respond=respond)
        process = started(path)
        wait_for_calls(server, 5, process)
        assert commands.status(path, []) == 0, "one may look while it runs"
        process.send_signal(number)
        sent.set()
        out, err = process.communicate(timeout=600)
        assert process.returncode == 3
        assert number.name in err
        assert "replies in the store" in out
        assert len(server.calls) < 20
        server.script = lambda call: well("Yes, there is a fracture.")
        assert commands.build(path, []) == 0
        assert len(server.calls) == 20


def test_a_stopped_run_still_counts_the_pairs_that_are_there(write, capsys):
    with PairsServer(answers) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "price_in": 1, "price_out": 1}
        path = write(respond={"backend": "endpoint", "endpoint": endpoint})
        assert commands.build(path, ["source.limit=2"]) == 0
        capsys.readouterr()
        assert commands.build(path, ["max_cost=0"]) == 3
        assert len(server.calls) == 2
    shown = capsys.readouterr()
    assert re.search(r"^pairs +2$", shown.out, re.MULTILINE)
    assert "2 pairs are there; firempo export writes them" in shown.err


def test_replies_of_unknown_price_do_not_hide_the_cost_of_the_others(write, capsys):
    with PairsServer(answers) as server:
        path = write(respond={"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}})
        prices = ["respond.endpoint.price_in=1000", "respond.endpoint.price_out=1000"]
        assert commands.build(path, ["source.limit=1"]) == 0
        assert commands.build(path, ["source.limit=3", *prices]) == 0
        assert "cost 0.0500, and 1 replies of unknown price" in capsys.readouterr().out
        assert commands.build(path, [*prices, "max_cost=0.05"]) == 3, "it is spent already"
        assert len(server.calls) == 3


def test_why_calls_went_unanswered_is_said(write, capsys):
    with PairsServer(lambda call: error(500, "the model crashed")) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "retries": 0}
        assert commands.build(write(respond={"backend": "endpoint", "endpoint": endpoint}), []) == 3
    assert f"{len(QUESTIONS)}  HTTP 500: the model crashed" in capsys.readouterr().out


def test_a_first_refusal_is_believed_once_others_are_answered(write):
    """The very first request is refused; by the end of the run it is known that the server is well."""

    def answer(call):
        return error(400, "strange image") if "effusion" in call.text else answers(call)

    with PairsServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "concurrency": 1}
        path = write(respond={"backend": "endpoint", "endpoint": endpoint})
        progress = built(path)
        assert "strange image" in progress.steps["respond"].rejected.first["table:0"]
        assert not any(step.pending or step.failed for step in progress.steps.values())
        assert len(server.calls) == len(QUESTIONS) + 1
        assert built(path).made == 0


def test_thoughts_are_no_part_of_the_response(write):
    def answer(call):
        text = answers(call).body["choices"][0]["message"]["content"]
        return well("<think>for ever" if "heart" in call.text else f"<think>\nHm.\n</think>\n\n{text}")

    with PairsServer(answer) as server:
        path = write(respond={"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}})
        progress = built(path)
    by_id = {pair.id: pair for pair in progress.pairs}
    assert by_id["table:0"].chosen == "No, there is no pleural effusion."
    assert progress.steps["respond"].rejected.first == {"table:1": "placeholder in the response: <think>"}


class Fake:
    """Stands for the host's chat model: keeps what it is told."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.chats = []
        Fake.last = self

    def chat(self, messages, **more):
        self.chats.append((messages, more))
        question = messages[0]["content"].removeprefix(IMAGE)
        text = next((response for q, _, response in QUESTIONS if q == question), "")
        cut = "length" if "modality" in question else "stop"
        return [
            SimpleNamespace(response_text="" if "heart" in question else text, finish_reason=cut, response_length=99)
        ]


def test_the_engine_gets_images_system_and_sampling(write, monkeypatch):
    monkeypatch.setattr("llamafactory.chat.ChatModel", Fake)
    engine = {"model_name_or_path": "somewhere", "template": "qwen3_vl_nothink"}
    path = write(respond={"backend": "engine", "system": "Be brief.", "engine": engine, "endpoint": {"max_tokens": 99}})

    go = partial(built, path, engine=ChatEngine)
    progress = go()
    assert Fake.last.arguments == {"infer_backend": "huggingface", **engine}
    messages, more = Fake.last.chats[0]
    assert messages == [{"role": "user", "content": IMAGE + QUESTIONS[0][0]}]
    assert more == {
        "system": "Be brief.",
        "images": [str(path.parent / "images" / "0.png")],
        "max_new_tokens": 99,
        "do_sample": False,
    }
    assert progress.steps["respond"].rejected.first == {
        "table:1": "empty response",
        "table:3": "the reply was cut off: raise respond.endpoint.max_tokens (99)",
    }
    sampled = go("respond.samples=2", "respond.endpoint.temperature=0.7")
    assert sampled.steps["respond"].made == 2 * len(QUESTIONS), "the temperature is another"
    assert Fake.last.chats[0][1]["temperature"] == 0.7
    assert Fake.last.chats[0][1]["do_sample"]


def test_without_llamafactory_the_engine_is_refused_before_anything_is_done(write, monkeypatch):
    monkeypatch.setattr("firempo_plugin.respond.respond.find_spec", lambda name: None)
    path = write(respond={"backend": "engine", "engine": {"model_name_or_path": "somewhere"}})
    with pytest.raises(ValueError, match="needs LLaMA-Factory, which is not installed"):
        commands.build(path, [], engine=ChatEngine)


def test_requests_in_an_open_batch_are_not_asked_a_second_time(write, capsys):
    with PairsServer(judge(GOOD)) as server:
        edit = {"judge": "batch", "max_words": 6, "endpoint": {"base_url": server.url, "model": "judge"}}
        path = write(QUESTIONS[5:], edit=edit)
        assert commands.build(path, []) == 3
        assert commands.build(path, ["edit.judge=endpoint"]) == 3
        assert commands.status(path, []) == 0
        assert commands.dry_run(path, []) == 0
        assert server.calls == []
    shown = capsys.readouterr().out
    assert "1 requests are in open batches; set edit.judge to batch to collect them" in shown
    assert "edit: 0 calls (1 answered already)" in shown


def test_enqueued_tokens_are_limited_by_choice(write):
    with PairsServer(judge(GOOD)) as server:
        edit = {"judge": "batch", "batch_tokens": 1, "endpoint": {"base_url": server.url, "model": "judge"}}
        progress = built(write(QUESTIONS[5:], edit=edit))
        assert server.batches == {}
    assert any("1 requests wait: the open batches hold" in line for line in progress.handed_in)
