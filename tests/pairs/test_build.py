"""The whole pipeline: records in, pairs out, trained on; stopped, killed, changed and run again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from pairs_server import PairsServer, well
from PIL import Image

from firempo_plugin.pairs import commands
from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.config import load
from firempo_plugin.pairs.request_store import WorkspaceRequests
from firempo_plugin.pairs.workspace import Workspace

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="the real samples (shared/data) are absent")

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
        return run(config, workspace, make=make)
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
    assert "abstain" in progress.advances["edit"].rejected["table:5"]
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
    assert {name: step.made for name, step in louder.advances.items()} == {
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
    assert progress.advances["read"].pending == len(QUESTIONS), "nothing was read, so there was nothing to edit"
    assert commands.build(path, [], only="read") == 0
    assert commands.build(path, [], only="respond") == 0
    assert commands.build(path, [], only="edit") == 0
    progress = outcome(path, make=False)
    assert len(progress.advances["edit"].items) == len(QUESTIONS) - 1
    assert progress.advances["target"].pending == len(QUESTIONS) - 1


def test_a_broken_image_rejects_its_record_and_the_run_goes_on(write, tmp_path):
    path = write()
    (tmp_path / "images" / "1.png").write_bytes(b"\x89PNG broken")
    progress = outcome(path)
    assert "table:1" in progress.advances["read"].rejected
    assert "table:0" in {pair.id for pair in progress.pairs}


def test_test_images_are_leaks(write, tmp_path):
    path = write()
    (tmp_path / "test").mkdir()
    shutil.copy(tmp_path / "images" / "2.png", tmp_path / "test" / "other_name.png")
    refused = outcome(path, f"source.test_images={tmp_path / 'test'}")
    assert "leak" in refused.problems["table:2"]
    reported = outcome(path, f"source.test_images={tmp_path / 'test'}", "source.leaks=report")
    assert list(reported.leaks) == ["table:2"]
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
            assert "refused twice" in progress.advances["edit"].rejected["table:0"]


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
        assert first.advances["edit"].pending == 1
        assert "1 requests submitted" in first.handed_in[0]
        assert outcome(path).advances["edit"].pending == 1, "not answered yet, and not submitted again"
        for batch in [b["id"] for b in server.list_batches({}).body["data"]]:
            server.finish_batch(batch)
        last = outcome(path)
        assert len(last.pairs) == 1
        assert len(server.texts()) == 1


KILLED = "import sys; from firempo_plugin.cli import main; sys.exit(main(['build', sys.argv[1]]))"


def test_killed_again_and_again_no_paid_call_is_repeated(write, tmp_path):
    """Each kill may cost the calls in flight (8) and no other; every record ends in its state."""
    questions = [(f"Is there a fracture in view {n}?", "Yes", "") for n in range(60)]

    def slowly(call):
        time.sleep(0.02)
        return well("Yes, there is a fracture.")

    with PairsServer(slowly) as server:
        respond = {"backend": "endpoint", "endpoint": {"base_url": server.url, "model": "tiny", "concurrency": 4}}
        path = write(questions, respond=respond)
        kills = 0
        while kills < 20:
            before = len(server.texts())
            process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 20
            while process.poll() is None and len(server.texts()) <= before and time.monotonic() < deadline:
                time.sleep(0.005)
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        assert commands.build(path, []) == 0
        calls = len(server.texts())
    progress = outcome(path, make=False)
    assert len(progress.pairs) == 60
    assert calls <= 60 + 4 * kills
    workspace = Workspace(tmp_path / "work")
    assert WorkspaceRequests(workspace).totals()[0] == 60
    workspace.close()
    assert not [file for file in (tmp_path / "work").rglob("*") if file.name.startswith(".") and file.suffix == ".png"]


@needs_samples
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("vqa_rad", {"folder": "vqa-rad"}),
        ("slake", {"folder": "slake", "language": "all"}),
        ("iu_xray", {"folder": "iu-xray", "layout": "open_i"}),
    ],
)
def test_real_samples_build_without_network_and_train(source, options, tmp_path, train):
    """A local server plays the model: it answers with the ground truth, or for every other record with its opposite."""
    from firempo_plugin.pairs.sources import SOURCES

    options = options | {"folder": str(SHARED / options["folder"])}
    records = list(SOURCES[source].read(options))
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
    edited = progress.advances["edit"]
    assert progress.records == len(progress.pairs) + len(edited.rejected), "every record is a pair or has its reason"
    assert all(edited.rejected.values())
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
    response = "The image is a chest radiograph. No, there is no pleural effusion. The heart is normal."
    question = [("Is there a pleural effusion?", "No", response)]
    (whole,) = outcome(write(question)).pairs
    assert whole.chosen == response
    (sentence,) = outcome(write(question), "edit.scope=answer_sentence").pairs
    assert sentence.chosen == "No, there is no pleural effusion", "the clause, without the full stop after it"
    assert sentence.rejected in whole.rejected
