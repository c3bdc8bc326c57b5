"""The whole pipeline: records in, pairs out, trained on; stopped, killed, changed and run again."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from pairs_building import with_pairs
from pairs_server import PairsServer, error, well
from PIL import Image

from firempo_plugin.chat_templates import IMAGE
from firempo_plugin.host.chat.responder import ChatEngine
from firempo_plugin.pairs import commands
from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.config import load
from firempo_plugin.store.request_store import WorkspaceRequests
from firempo_plugin.store.workspace import Workspace

QUESTIONS = [
    ("Is there a pleural effusion?", "No", "No, there is no pleural effusion."),
    ("Is the heart enlarged?", "Yes", "No, the heart is not enlarged."),
    ("Which lung is affected, left or right?", "Left", "The left lung is affected."),
    ("What imaging modality was used?", "CT", "This is an MRI scan."),
    ("Is there a fracture?", "Yes", "Yes, there is a fracture."),
    ("What disease does the patient have?", "Sarcoidosis", "The patient suffers from old age."),
]


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes records with images and a configuration of their build."""

    def make(questions=QUESTIONS, **changes) -> Path:
        rng = np.random.default_rng(0)
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        rows = []
        for number, (question, truth, response) in enumerate(questions):
            name = f"{number}.png"
            Image.fromarray(rng.integers(0, 200, (64, 80), dtype=np.uint8)).save(images / name)
            rows.append({"id": number, "image": name, "question": question, "answer": truth, "response": response})
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = {"id": "id", "image": "image", "question": "question", "truth": "answer", "response": "response"}
        config = {
            "workspace": str(tmp_path / "work"),
            "source": {
                "name": "table",
                "options": {"file": str(tmp_path / "rows.jsonl"), "image_root": str(images), "columns": columns},
            },
            **changes,
        }
        path = tmp_path / "build.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return make


def outcome(path: Path, *overrides: str, make: bool = True):
    config = load(path, list(overrides))
    workspace = Workspace(Path(config.workspace))
    try:
        return with_pairs(run(config, workspace, make=make))
    finally:
        workspace.close()


def test_records_become_pairs_with_reasons_for_those_that_do_not(write):
    progress = outcome(write())
    by_id = {pair.id: pair for pair in progress.pairs}
    effusion = by_id["table:0"]
    assert effusion.chosen == "No, there is no pleural effusion."
    assert effusion.was_correct
    assert effusion.rejected.startswith("Yes")
    heart = by_id["table:1"]
    assert heart.rejected == "No, the heart is not enlarged."
    assert not heart.was_correct
    assert heart.chosen.startswith("Yes")
    assert "table:5" not in by_id
    assert "abstain" in progress.steps["edit"].rejected.first["table:5"]
    assert {(pair.noise_path, pair.sigma) for pair in progress.pairs} == {("no_target", 45.0)}, "nobody looked"
    for pair in progress.pairs:
        assert pair.chosen_spans or pair.rejected_spans
        (clean,), (noised,) = pair.images, pair.rejected_images
        assert Image.open(clean).size == Image.open(noised).size
        assert Image.open(noised).mode == "L", "greyscale stays greyscale"


def test_a_detected_target_is_noised_and_nothing_else(write, tmp_path):
    """A mask folder holds the lung of the first image only: lesion noise there, the fallback elsewhere."""
    masks = tmp_path / "masks"
    masks.mkdir()
    lung = np.zeros((64, 80), dtype=np.uint8)
    lung[10:30, 20:50] = 255
    Image.fromarray(lung).save(masks / "0_lung.png")
    Image.fromarray(np.zeros_like(lung)).save(masks / "1_heart.png")
    segment = {"by": "file", "options": {"folder": str(masks), "pattern": "{stem}_{target}.png"}}
    progress = outcome(write(QUESTIONS[:2], segment=segment))
    by_id = {pair.id: pair for pair in progress.pairs}
    lesion, fallback = by_id["table:0"], by_id["table:1"]
    assert (lesion.target, lesion.noise_path, lesion.sigma) == ("lung", "lesion", 45.0)
    assert (fallback.noise_path, fallback.sigma) == ("no_detection", 12.0)
    clean, noised = (np.asarray(Image.open(path)) for path in (lesion.images[0], lesion.rejected_images[0]))
    assert (clean[lung == 0] == noised[lung == 0]).all()
    assert (clean[lung > 0] != noised[lung > 0]).mean() > 0.9


@pytest.mark.parametrize("written", ["table:1", "1"])
def test_responses_may_come_from_a_file_by_record(write, tmp_path, written):
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps({"id": written, "response": "Yes, the heart is enlarged."}) + "\n")
    progress = outcome(write(), f"respond.file={file}")
    (pair,) = progress.pairs
    assert (pair.id, pair.chosen, pair.was_correct) == ("table:1", "Yes, the heart is enlarged.", True)
    assert "responses.jsonl has none for this record" in progress.steps["respond"].rejected.first["table:0"]


def test_a_file_of_responses_to_other_records_is_refused_at_once(write, tmp_path):
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps({"id": "slake:1", "response": "Yes."}) + "\n")
    for build_or_look in (outcome, lambda *args: commands.dry_run(args[0], list(args[1:]))):
        with pytest.raises(
            ValueError, match=r"for none of the \d records: its ids are like 'slake:1', theirs like 'table:0'"
        ):
            build_or_look(write(), f"respond.file={file}")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a"}\n', "row 1: expected the texts id and response, found {'id': 'a'}"),
        ('{"id": 1, "response": "x"}\n', "row 1: expected the texts id and response"),
        ('{"id": "a", "response": "x"}\n' * 2, "row 2: the id 'a' is there twice"),
    ],
)
def test_a_broken_file_of_responses_is_named_with_its_row(write, tmp_path, lines, message):
    file = tmp_path / "responses.jsonl"
    file.write_text(lines)
    with pytest.raises(ValueError, match=re.escape(message)):
        outcome(write(), f"respond.file={file}")


def test_a_file_of_responses_and_a_model_are_one_too_many(write, tmp_path):
    overrides = ["respond.file=r.jsonl", "respond.backend=endpoint", "respond.endpoint.model=m"]
    with pytest.raises(ValueError, match=r"respond\.file needs respond\.backend: recorded"):
        outcome(write(), *overrides)


def test_scores_of_mmedpo_weigh_the_pairs_and_those_of_zero_are_counted(write, tmp_path, capsys):
    answers = [(0.25, "No"), (0.0, "Yes"), (None, "Yes")]
    rows = [
        {
            "id": number,
            "image": f"{number}.png",
            "conversations": [{"from": "human", "value": "Is it a CT?"}, {"from": "gpt", "value": answer}],
            "weighted_score": score,
        }
        for number, (score, answer) in enumerate(answers)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    said = [{"id": f"mmedpo:{number}", "response": "Yes, it is."} for number in range(3)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    options = {"file": str(tmp_path / "rows.json"), "image_root": str(tmp_path / "images")}
    config = write(source={"name": "mmedpo", "options": options}, respond={"file": str(tmp_path / "said.jsonl")})
    assert commands.build(config, []) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "weighted_score", "is", "0:"] in [line[:4] for line in lines]
    exported = json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text())
    assert [row["weight"] for row in exported] == [0.25, None]


def test_shared_noise_gives_records_of_one_image_and_mask_one_noised_image(write, tmp_path):
    path = write(QUESTIONS[:3])
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "1.png")
    own = outcome(path)
    assert len({pair.rejected_images for pair in own.pairs}) == 3
    first, second, other = sorted(outcome(path, "noise.shared=true").pairs, key=lambda pair: pair.id)
    assert first.rejected_images == second.rejected_images != other.rejected_images
    clean, noised = (np.asarray(Image.open(path)) for path in (second.images[0], second.rejected_images[0]))
    assert (clean != noised).mean() > 0.9


def test_a_build_that_makes_no_pair_says_so_and_fails(write, capsys):
    assert commands.build(write(QUESTIONS[5:6]), []) == 1
    assert "There is no pair to export" in capsys.readouterr().err


def test_the_pairs_that_are_there_are_put_on_a_page(write, tmp_path, capsys):
    path = write()
    assert commands.build(path, []) == 0
    capsys.readouterr()
    assert commands.review(path, [], None) == 0
    page = tmp_path / "work" / "review.html"
    pairs = json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text())
    assert f"{len(pairs)} pairs in {page}; open it in a browser" in capsys.readouterr().out
    assert page.read_text().count('"digest"') == len(pairs)


def test_a_page_of_other_settings_says_what_waits(write, capsys):
    path = write()
    assert commands.build(path, ["noise.sigma=60", "source.limit=2"]) == 0
    capsys.readouterr()
    commands.review(path, ["noise.sigma=60"], None)
    said = capsys.readouterr().out
    assert "more wait; `firempo build` with the same file and the same overrides" in said
    commands.review(path, ["noise.sigma=60", "source.limit=2"], None)
    assert "more wait" not in capsys.readouterr().out


def test_running_again_makes_nothing_and_says_so(write, capsys):
    path = write()
    assert commands.build(path, []) == 0
    capsys.readouterr()
    assert commands.build(path, []) == 0
    assert "Nothing was left to do." in capsys.readouterr().out


def test_a_changed_setting_redoes_the_steps_that_depend_on_it_and_no_other(write):
    path = write()
    outcome(path)
    louder = outcome(path, "noise.sigma=60")
    assert {name: step.made for name, step in louder.steps.items()} == {
        "read": 0,
        "respond": 0,
        "edit": 0,
        "target": 0,
        "segment": 0,
        "noise": len(louder.pairs),
    }
    assert outcome(path).made == 0, "what was made under the old setting is still there"
    workers = outcome(path, "noise.workers=1")
    assert workers.made == 0, "how fast is not what"


def test_one_step_runs_over_what_is_there(write):
    path = write()
    assert commands.build(path, [], only="edit") == 0
    progress = outcome(path, make=False)
    assert progress.steps["read"].pending == len(QUESTIONS), "nothing was read, so there was nothing to edit"
    assert commands.build(path, [], only="read") == 0
    assert commands.build(path, [], only="respond") == 0
    assert commands.build(path, [], only="edit") == 0
    progress = outcome(path, make=False)
    assert progress.steps["edit"].through == len(QUESTIONS) - 1
    assert progress.steps["target"].pending == len(QUESTIONS) - 1


def test_a_broken_image_rejects_its_record_and_the_run_goes_on(write, tmp_path):
    path = write()
    (tmp_path / "images" / "1.png").write_bytes(b"\x89PNG broken")
    progress = outcome(path)
    assert "table:1" in progress.steps["read"].rejected.first
    assert "table:0" in {pair.id for pair in progress.pairs}


def test_test_images_are_leaks(write, tmp_path):
    path = write()
    (tmp_path / "test").mkdir()
    shutil.copy(tmp_path / "images" / "2.png", tmp_path / "test" / "other_name.png")
    refused = outcome(path, f"source.test_images={tmp_path / 'test'}")
    assert "leak" in refused.problems.first["table:2"]
    reported = outcome(path, f"source.test_images={tmp_path / 'test'}", "source.leaks=report")
    assert list(reported.leaks.first) == ["table:2"]
    assert "table:2" in {pair.id for pair in reported.pairs}


def test_the_export_trains(write, train, tmp_path, checkpoint):
    path = write()
    assert commands.build(path, []) == 0
    folder = tmp_path / "work" / "export"
    training = yaml.safe_load((folder / "fire_mpo_pairs.yaml").read_text())
    assert training["stage"] == "fire_mpo"
    log = train(dataset="fire_mpo_pairs", dataset_dir=str(folder), per_device_train_batch_size=5)
    assert log[0]["noised_share"] == 1.0
    assert abs(log[0]["terms/rank"] - 0.6931) < 1e-3


def answers(call):
    """Answers a question of QUESTIONS with its recorded response."""
    return well(next(response for question, _, response in QUESTIONS if question in call.text))


def test_an_endpoint_is_asked_once_for_each_record(write):
    with PairsServer(answers) as server:
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}}
        path = write(respond=respond)
        first = outcome(path)
        assert len(server.texts()) == len(QUESTIONS)
        assert len(first.pairs) == len(QUESTIONS) - 1
        assert outcome(path, "noise.sigma=30").made == len(first.pairs)
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
    assert outcome(path).pairs
    with pytest.raises(ValueError, match="gone"):
        commands.dry_run(path, wrong[:1])
    assert outcome(path, make=False).pairs


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
        progress = outcome(write(QUESTIONS[5:], edit=edit))
        assert len(server.texts()) == calls
        assert bool(progress.pairs) == accepted
        if not accepted:
            assert "refused twice" in progress.steps["edit"].rejected.first["table:0"]


def test_secrets_stay_out_of_the_workspace(write, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-0123456789abcdef")
    with PairsServer(judge(GOOD)) as server:
        endpoint = {"base_url": server.url, "model": "judge", "key_env": "JUDGE_KEY"}
        outcome(write(QUESTIONS[5:], edit={"judge": "endpoint", "endpoint": endpoint}))
        assert len(server.texts()) >= 1
    for file in (tmp_path / "work").rglob("*"):
        if file.is_file():
            assert b"sk-secret" not in file.read_bytes(), file


def test_a_batch_is_submitted_then_collected(write):
    with PairsServer(judge(GOOD)) as server:
        edit = {"judge": "batch", "max_words": 6, "endpoint": {"base_url": server.url, "model": "judge"}}
        path = write(QUESTIONS[5:], edit=edit)
        first = outcome(path)
        assert first.steps["edit"].pending == 1
        assert "1 requests submitted" in first.handed_in[0]
        assert outcome(path).steps["edit"].pending == 1, "not answered yet, and not submitted again"
        for batch in [b["id"] for b in server.list_batches({}).body["data"]]:
            server.finish_batch(batch)
        last = outcome(path)
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
        progress = outcome(path, make=False)
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
        progress = outcome(path)
        assert "strange image" in progress.steps["respond"].rejected.first["table:0"]
        assert not any(step.pending or step.failed for step in progress.steps.values())
        assert len(server.calls) == len(QUESTIONS) + 1
        assert outcome(path).made == 0


def test_thoughts_are_no_part_of_the_response(write):
    def answer(call):
        text = answers(call).body["choices"][0]["message"]["content"]
        return well("<think>for ever" if "heart" in call.text else f"<think>\nHm.\n</think>\n\n{text}")

    with PairsServer(answer) as server:
        path = write(respond={"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}})
        progress = outcome(path)
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

    def go(*overrides):
        config = load(path, list(overrides))
        workspace = Workspace(Path(config.workspace))
        try:
            return with_pairs(run(config, workspace, engine=ChatEngine))
        finally:
            workspace.close()

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
        progress = outcome(write(QUESTIONS[5:], edit=edit))
        assert server.batches == {}
    assert any("1 requests wait: the open batches hold" in line for line in progress.handed_in)


def test_overrides_may_stand_behind_options_and_no_terminal_ends_a_run(write):
    """A terminal that knows ASCII only shows what it cannot by its code."""
    path = write([("Is there a pleural effusion — here?", "No", "No, there is no pleural effusion.")])
    command = [sys.executable, "-c", RUN, str(path), "--dry-run", "edit.judge=endpoint", "edit.rules_first=false"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, "edit.endpoint.model=m"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\\u2014 here?" in done.stdout


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("vqa_rad", {"folder": "vqa-rad"}),
        ("slake", {"folder": "slake", "language": "all"}),
        ("iu_xray", {"folder": "iu-xray", "layout": "open_i"}),
    ],
)
def test_real_samples_build_without_network_and_train(source, options, real, tmp_path, train):
    """A local server plays the model: it answers with the ground truth, or for every other record with its opposite."""
    from firempo_plugin.sources.registry import SOURCES

    options = options | {"folder": str(real.folder / options["folder"])}
    records = list(SOURCES.load(source).read(options))
    truths = {record.question: record.truth for record in records}
    flip = {"yes": "no", "no": "yes"}

    def answer(call):
        question = next(q for q in sorted(truths, key=len, reverse=True) if q in call.text)
        truth = truths[question]
        wrong = flip.get(truth.lower()) if len(question) % 2 else None
        return well(truth if source == "iu_xray" else f"{(wrong or truth).capitalize()}.")

    with PairsServer(answer) as server:
        config = {
            "workspace": str(tmp_path / "work"),
            "source": {"name": source, "options": options},
            "respond": {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny"}},
        }
        path = tmp_path / "build.yaml"
        path.write_text(yaml.safe_dump(config))
        assert commands.build(path, []) == 0
    progress = outcome(path, make=False)
    assert progress.pairs
    edited = progress.steps["edit"]
    assert progress.tally.records == len(progress.pairs) + len(edited.rejected), (
        "every record is a pair or has its reason"
    )
    assert all(edited.rejected.first.values())
    log = train(
        dataset="fire_mpo_pairs",
        dataset_dir=str(tmp_path / "work" / "export"),
        image_max_pixels=65536,
        per_device_train_batch_size=4,
        cutoff_len=2048,
    )
    assert abs(log[0]["terms/rank"] - 0.6931) < 1e-3


def test_several_samples_of_a_record_are_several_pairs(write):
    """The server answers each sample otherwise: one right, one wrong; each becomes a pair of its own."""
    calls = []

    def answer(call):
        calls.append(call.number)
        return well("No, there is no pleural effusion." if len(calls) % 2 else "Yes, there is a pleural effusion.")

    with PairsServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "tiny", "temperature": 0.7, "concurrency": 1}
        path = write(QUESTIONS[:1], respond={"backend": "endpoint", "samples": 2, "endpoint": endpoint})
        progress = outcome(path)
        assert len(calls) == 2
    assert [pair.id for pair in progress.pairs] == ["table:0", "table:0/1"]
    assert sorted(pair.was_correct for pair in progress.pairs) == [False, True]


def test_the_answer_sentence_alone_by_choice(write):
    response = "The image is a chest radiograph. No, there is no pleural effusion."
    question = [("Is there a pleural effusion?", "No", response)]
    (whole,) = outcome(write(question)).pairs
    assert whole.chosen == response
    (sentence,) = outcome(write(question), "edit.scope=answer_sentence").pairs
    assert sentence.chosen == "No, there is no pleural effusion", "the clause, without the full stop after it"
    assert sentence.rejected in whole.rejected
