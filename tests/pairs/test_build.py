"""The whole pipeline: records in, pairs out, trained on; changed and run again."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import yaml
from pairs_building import QUESTIONS, built, write_questions
from pairs_server import PairsServer, well
from PIL import Image

from firempo_plugin.pairs import commands

RUN = "import sys; from firempo_plugin.cli import main; sys.exit(main(['build', *sys.argv[1:]]))"


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes records with images and a configuration of their build."""
    return partial(write_questions, tmp_path)


def test_records_become_pairs_with_reasons_for_those_that_do_not(write):
    progress = built(write())
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
    progress = built(write(QUESTIONS[:2], segment=segment))
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
    progress = built(write(), f"respond.file={file}")
    (pair,) = progress.pairs
    assert (pair.id, pair.chosen, pair.was_correct) == ("table:1", "Yes, the heart is enlarged.", True)
    assert "responses.jsonl has none for this record" in progress.steps["respond"].rejected.first["table:0"]


def test_a_file_of_responses_to_other_records_is_refused_at_once(write, tmp_path):
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps({"id": "slake:1", "response": "Yes."}) + "\n")
    for build_or_look in (built, lambda *args: commands.dry_run(args[0], list(args[1:]))):
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
        built(write(), f"respond.file={file}")


def test_a_file_of_responses_and_a_model_are_one_too_many(write, tmp_path):
    overrides = ["respond.file=r.jsonl", "respond.backend=endpoint", "respond.endpoint.model=m"]
    with pytest.raises(ValueError, match=r"respond\.file needs respond\.backend: recorded"):
        built(write(), *overrides)


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
    own = built(path)
    assert len({pair.rejected_images for pair in own.pairs}) == 3
    first, second, other = sorted(built(path, "noise.shared=true").pairs, key=lambda pair: pair.id)
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
    built(path)
    louder = built(path, "noise.sigma=60")
    assert {name: step.made for name, step in louder.steps.items()} == {
        "read": 0,
        "respond": 0,
        "edit": 0,
        "target": 0,
        "segment": 0,
        "noise": len(louder.pairs),
    }
    assert built(path).made == 0, "what was made under the old setting is still there"
    workers = built(path, "noise.workers=1")
    assert workers.made == 0, "how fast is not what"


def test_one_step_runs_over_what_is_there(write):
    path = write()
    assert commands.build(path, [], only="edit") == 0
    progress = built(path, make=False)
    assert progress.steps["read"].pending == len(QUESTIONS), "nothing was read, so there was nothing to edit"
    assert commands.build(path, [], only="read") == 0
    assert commands.build(path, [], only="respond") == 0
    assert commands.build(path, [], only="edit") == 0
    progress = built(path, make=False)
    assert progress.steps["edit"].through == len(QUESTIONS) - 1
    assert progress.steps["target"].pending == len(QUESTIONS) - 1


def test_a_broken_image_rejects_its_record_and_the_run_goes_on(write, tmp_path):
    path = write()
    (tmp_path / "images" / "1.png").write_bytes(b"\x89PNG broken")
    progress = built(path)
    assert "table:1" in progress.steps["read"].rejected.first
    assert "table:0" in {pair.id for pair in progress.pairs}


def test_test_images_are_leaks(write, tmp_path):
    path = write()
    (tmp_path / "test").mkdir()
    shutil.copy(tmp_path / "images" / "2.png", tmp_path / "test" / "other_name.png")
    refused = built(path, f"source.test_images={tmp_path / 'test'}")
    assert "leak" in refused.problems.first["table:2"]
    reported = built(path, f"source.test_images={tmp_path / 'test'}", "source.leaks=report")
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
    progress = built(path, make=False)
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
        progress = built(path)
        assert len(calls) == 2
    assert [pair.id for pair in progress.pairs] == ["table:0", "table:0/1"]
    assert sorted(pair.was_correct for pair in progress.pairs) == [False, True]


def test_the_answer_sentence_alone_by_choice(write):
    response = "The image is a chest radiograph. No, there is no pleural effusion."
    question = [("Is there a pleural effusion?", "No", response)]
    (whole,) = built(write(question)).pairs
    assert whole.chosen == response
    (sentence,) = built(write(question), "edit.scope=answer_sentence").pairs
    assert sentence.chosen == "No, there is no pleural effusion", "the clause, without the full stop after it"
    assert sentence.rejected in whole.rejected
