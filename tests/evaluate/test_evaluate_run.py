"""`firempo evaluate` from the configuration to the table: stopped, killed, changed, and run again."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pairs_server import PairsServer, error, well
from PIL import Image

from firempo_plugin.cli import main
from firempo_plugin.endpoint.failures import ReplyTruncatedError, StopRunError
from firempo_plugin.evaluate import commands, figures, tables
from firempo_plugin.evaluate import config as configuration
from firempo_plugin.evaluate.store import ItemFile, Measured
from firempo_plugin.store.halt import DONE, FAILED, STOPPED

QUESTIONS = [
    ("Is there a pleural effusion?", "No", "CLOSED"),
    ("Is the heart enlarged?", "Yes", "CLOSED"),
    ("Which lung is affected, left or right?", "Left", "CLOSED"),
    ("What imaging modality was used?", "CT", "OPEN"),
]
RIGHT = {question: truth for question, truth, _ in QUESTIONS}


ASKED: list[tuple[str, str, float]] = []
LOADED: list[dict] = []


class Engine:
    """A model that knows the truth of some questions, and says Yes otherwise; loaded by arguments, as the host's is."""

    def __init__(self, arguments):
        LOADED.append(arguments)
        self.name = Path(arguments.get("adapter_name_or_path", arguments["model_name_or_path"])).name

    def respond(self, question, images, system, temperature, max_tokens):
        assert all(Path(image).is_file() for image in images)
        ASKED.append((self.name, question, temperature))
        question = question.partition("\n")[0]
        if self.name == "endless":
            raise ReplyTruncatedError("the reply was cut off", "Yes, yes, yes")
        return RIGHT[question] if self.name != "base" else "Yes"


@pytest.fixture(autouse=True)
def forget():
    ASKED.clear()
    LOADED.clear()


DRAW = figures.write


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures take longer than all the rest, and one test looks at them."""
    monkeypatch.setattr(figures, "write", lambda table, folder: [])


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes records, models and a configuration."""

    def make(questions=QUESTIONS, **changes) -> Path:
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        rows = []
        for number, (question, truth, kind) in enumerate(questions):
            pixels = np.random.default_rng(number).integers(0, 200, (32, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number}.png")
            row = {"id": number, "image": f"{number}.png", "question": question, "answer": truth, "type": kind}
            rows.append(row)
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = {"id": "id", "image": "image", "question": "question", "truth": "answer", "closed": "type"}
        options = {"file": str(tmp_path / "rows.jsonl"), "image_root": str(images), "columns": columns}
        config = {
            "workspace": str(tmp_path / "work"),
            "source": {"name": "table", "options": options},
            "model": {"model_name_or_path": "some/base", "template": "qwen3_vl_nothink"},
            "models": {"base": None, "s1": adapter("s1"), "s2": adapter("s2")},
            "groups": {"FiRe-MPO": ["s1", "s2"]},
            "baseline": "base",
            "compare": {"draws": 200},
            **changes,
        }
        path = tmp_path / "evaluate.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    def adapter(name: str, weights: bytes = b"") -> str:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(weights or name.encode())
        return str(folder)

    make.adapter = adapter
    return make


def table(tmp_path) -> dict:
    return json.loads((tmp_path / "work" / "tables" / "table.json").read_text())


def cell(tmp_path, row, column) -> dict:
    return next(c for c in table(tmp_path)["cells"] if (c["row"], c["column"]) == (row, column))


def answers(tmp_path, model) -> list[dict]:
    lines = (tmp_path / "work" / "answers" / f"{model}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def run(path, *overrides, **changes) -> int:
    return commands.evaluate(path, list(overrides), **{"engine": Engine, **changes})


def test_a_run_answers_compares_and_draws(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures, "write", DRAW)
    assert run(write()) == DONE
    closed = cell(tmp_path, "base", "Closed")
    assert (closed["mean"]["value"], closed["mean"]["n"]) == (0.5, 2), "of a choice, Yes is no answer: unscored"
    fire = cell(tmp_path, "FiRe-MPO", "All")
    assert fire["mean"]["value"] == 1
    assert fire["seeds"] == {"s1": 1.0, "s2": 1.0}
    assert fire["difference"]["test"] == "bootstrap"
    assert cell(tmp_path, "FiRe-MPO", "All, exact")["difference"]["interval"]["value"] == 0.75
    (counts,) = [c for c in table(tmp_path)["counts"] if c["row"] == "base"]
    assert (counts["items"], sum(counts["unscored"].values()), counts["skipped"]) == (4, 2, {})
    assert [row["answer"] for row in answers(tmp_path, "s1")] == ["No", "Yes", "Left", "CT"]
    assert LOADED[1]["adapter_name_or_path"].endswith("s1")
    assert "adapter_name_or_path" not in LOADED[0]
    rows = list(csv.DictReader((tmp_path / "work" / "tables" / "table.csv").open()))
    assert [row["row"] for row in rows] == ["FiRe-MPO", "base"]
    assert float(rows[0]["All"]) == 1
    assert Image.open(tmp_path / "work" / "tables" / "accuracy.png").width > 300
    assert "FiRe-MPO (2 seeds)" in capsys.readouterr().out


def test_questions_of_one_study_are_drawn_together(write, tmp_path):
    path = write()
    config = yaml.safe_load(path.read_text())
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for row, study in zip(rows, ["a", "a", "b", "b"], strict=True):
        row["study"] = study
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["source"]["options"]["columns"]["study"] = "study"
    path.write_text(yaml.safe_dump(config | {"models": {"base": None, "s1": config["models"]["s1"]}, "groups": {}}))
    assert run(path) == DONE
    together = cell(tmp_path, "s1", "All, exact")["difference"]
    assert together["test"] == "bootstrap"
    assert together["p"] >= 0.5, "two studies tell next to nothing"
    assert "one study or image" in (tmp_path / "work" / "tables" / "table.md").read_text()
    (tmp_path / "work" / "items" / "clusters.json").unlink()  # as of a folder that was made before
    apart = tables.make(configuration.load(path, [])).cells["All, exact"]["s1"].difference
    assert apart.test == "McNemar"
    assert apart.interval.value == together["interval"]["value"]


def test_nothing_is_asked_or_made_twice(write, tmp_path):
    path = write()
    run(path)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "work" / "items").rglob("*.jsonl")}
    asked, before = len(ASKED), table(tmp_path)
    assert run(path) == DONE
    assert len(ASKED) == asked == 12
    assert len(LOADED) == 3, "a model that owes no answer is not loaded"
    assert table(tmp_path) == before
    assert commands.evaluate(path, [], tables_only=True) == DONE
    assert table(tmp_path) == before
    assert set(files) == set((tmp_path / "work" / "items").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("answers.suffix=Answer briefly.", 12),
        ("answers.max_new_tokens=9", 12),
        ("answers.system=You are a radiologist.", 12),
        ("model.image_max_pixels=1000", 12),
        ("compare.seed=3", 0),
        ("judge.by=rules", 0),
    ],
)
def test_a_changed_setting_is_another_answer_and_the_old_one_comes_back(write, tmp_path, override, again):
    path = write()
    run(path)
    first = len(ASKED)
    run(path, override)
    assert len(ASKED) - first == again
    run(path)
    assert len(ASKED) - first == again


def test_other_weights_in_the_same_folder_are_another_model_and_a_moved_folder_is_not(write, tmp_path):
    path = write()
    run(path)
    first = len(ASKED)
    write.adapter("s1", b"2")
    run(path)
    assert [name for name, _, _ in ASKED[first:]] == ["s1"] * 4
    first = len(ASKED)
    shutil.move(tmp_path / "models" / "s2", tmp_path / "elsewhere")
    run(write(models={"base": None, "s1": write.adapter("s1", b"2"), "s2": str(tmp_path / "elsewhere")}))
    assert len(ASKED) == first


def test_a_changed_question_is_asked_and_the_others_are_not(write):
    run(write())
    first = len(ASKED)
    RIGHT["Is this a CT?"] = "Yes"
    run(write([("Is this a CT?", "Yes", "CLOSED"), *QUESTIONS[1:]]))
    assert {question for _, question, _ in ASKED[first:]} == {"Is this a CT?"}
    assert len(ASKED) == first + 3


def test_samples_give_pass_at_k(write, tmp_path):
    run(write(answers={"samples": 4, "temperature": 0.7, "suffix": "Be brief."}))
    assert len(ASKED) == 3 * 4 * 4
    assert ASKED[0][1:] == (f"{QUESTIONS[0][0]}\nBe brief.", 0.7)
    assert cell(tmp_path, "FiRe-MPO", "Pass@4")["mean"]["value"] == 1
    assert cell(tmp_path, "base", "Pass@1")["mean"]["value"] < 1


def test_an_answer_that_was_cut_off_counts_as_it_is(write, tmp_path):
    run(write(models={"endless": write.adapter("endless")}, groups={}, baseline=None))
    assert {(row["answer"], row["cut"]) for row in answers(tmp_path, "endless")} == {("Yes, yes, yes", True)}
    (counts,) = table(tmp_path)["counts"]
    assert counts["cut"] == 4
    assert cell(tmp_path, "endless", "Closed")["mean"]["n"] >= 1


def test_rows_and_images_that_cannot_be_read_are_counted(write, tmp_path):
    path = write([*QUESTIONS, ("Is it?", "", "CLOSED")])
    (tmp_path / "images" / "0.png").write_bytes(b"no image")
    run(path)
    (counts,) = [c for c in table(tmp_path)["counts"] if c["row"] == "base"]
    assert counts["items"] == 4
    (reason,) = counts["skipped"]
    assert "0.png" in reason
    assert "field is empty: truth" in table(tmp_path)["protocol"]["accuracy"]["rows_of_the_source_left_out"][0]


class Slow(Engine):
    """Notes every question in a file, and takes its time."""

    def respond(self, question, images, system, temperature, max_tokens):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{self.name} {question}\n")
        time.sleep(0.05)
        return super().respond(question, images, system, temperature, max_tokens)


def test_an_answer_with_odd_line_ends_is_one_item(write, tmp_path):
    """JSON lines end at line feeds alone; nothing that a model writes may keep a run from its items."""

    class Odd(Engine):
        def respond(self, *asked):
            return f"Yes\u2028or\x85no\x0b, {super().respond(*asked)}"

    path = write()
    assert run(path, engine=Odd) == DONE
    assert len(ItemFile(tmp_path / "work", "accuracy", "base").read().items) == len(QUESTIONS)
    assert run(path, engine=Odd) == DONE
    assert len(ASKED) == 3 * len(QUESTIONS)


def test_a_killed_run_goes_on_where_it_was(write, tmp_path):
    questions = [(f"Is finding number {n} there?", "Yes", "CLOSED") for n in range(30)]
    path = write(questions, models={"base": None, "s1": write.adapter("s1")}, groups={})
    asked = tmp_path / "asked"
    code = (
        "import sys; from pathlib import Path; import test_evaluate_run as t;"
        "from firempo_plugin.store import workspace; workspace.WITHIN = 0.1;"
        "t.RIGHT = dict.fromkeys([f'Is finding number {n} there?' for n in range(30)], 'Yes');"
        "sys.exit(t.commands.evaluate(Path(sys.argv[1]), [], engine=t.Slow))"
    )
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "ASKED": str(asked), "PYTHONPATH": places}
    for least in (12, 41):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment)
        while not asked.is_file() or len(asked.read_text().splitlines()) < least:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment).returncode == DONE
    lines = asked.read_text().splitlines()
    assert len(set(lines)) == 60
    lost = 2 + 2  # in flight, and answered within those 0.1 s
    assert len(lines) <= 60 + 2 * lost, "what was stored before the two kills is not asked again"
    assert cell(tmp_path, "s1", "All")["mean"]["value"] == 1


def test_a_source_without_records_is_refused_with_what_it_left_out(write):
    path = write([("Is there a mass?", "", "CLOSED")] * 3)
    with pytest.raises(ValueError, match=r"(?s)source: table gives no record; look at its options.*left out: 3\n +3  "):
        run(path)
    assert LOADED == []


def test_a_run_that_stops_keeps_what_it_has_and_says_so(write, tmp_path, capsys):
    class Failing(Engine):
        def respond(self, *arguments):
            if len(ASKED) == 6:
                raise StopRunError("out of memory")
            return super().respond(*arguments)

    path = write()
    assert run(path, engine=Failing) == STOPPED
    message = capsys.readouterr().err
    assert "s1: 2 of 4 answers are there: out of memory" in message
    assert "run the same command again" in message
    assert run(path) == DONE
    assert len(ASKED) == 12


def test_an_endpoint_serves_the_models_and_the_judge(write, tmp_path):
    def script(call):
        if call.body["model"] == "judge-1":
            return well('{"final_answer": "it", "verdict": "correct"}')
        return (
            well("Yes") if call.body["model"] == "plain" else well(RIGHT[call.text.partition("\n")[0]], finish="length")
        )

    with PairsServer(script) as server:
        judge = {"by": "endpoint", "endpoint": {"base_url": server.url, "model": "judge-1"}}
        path = write(
            model={}, endpoint={"base_url": server.url}, models={"a": "plain", "b": "tuned"}, groups={}, baseline="a",
            judge=judge,
        )  # fmt: skip
        assert run(path, engine=None) == DONE
        calls = [call.body["model"] for call in server.calls]
        assert calls.count("plain") == calls.count("tuned") == 4
        assert calls.count("judge-1") >= 1
        assert run(path, engine=None) == DONE
        assert len(server.calls) == len(calls)
    assert cell(tmp_path, "b", "All")["mean"]["value"] == 1
    assert all(row["cut"] for row in answers(tmp_path, "b"))
    assert all(not c["unscored"] for c in table(tmp_path)["counts"])


def test_an_endpoint_that_is_gone_stops_the_run(write, capsys):
    with PairsServer(lambda call: error(401)) as server:
        path = write(model={}, endpoint={"base_url": server.url}, models=["m"], groups={}, baseline=None)
        assert run(path, engine=None) == STOPPED
    assert "Stopped" in capsys.readouterr().err


class Evidence:
    """Yields items of a measure, and may die after some of them, as a killed run does."""

    def __init__(self, die_after=None):
        self.calls = []
        self.known = []
        self.die_after = die_after

    def __call__(self, measure, arguments, adapter, options, known):
        self.calls.append((measure, arguments, adapter, options))
        self.known.append(set(known))
        for number in range(5):
            if f"row {number}" in known:
                continue
            if number == self.die_after:
                raise KeyboardInterrupt
            if number == 4:
                yield Measured("row 4", "", {}, skipped="region: there is none")
            else:
                yield Measured(f"row {number}", "", {"phrase_rank": 0.5 + 0.1 * number * bool(adapter)})


EVIDENCE = {"measures": ["localisation"], "source": {}, "localisation": {"dataset": "pairs"}}


def test_evidence_is_kept_as_it_comes_and_not_measured_again(write, tmp_path):
    path = write(**EVIDENCE)
    with pytest.raises(KeyboardInterrupt):
        run(path, evidence=Evidence(die_after=2))
    file = ItemFile(tmp_path / "work", "localisation", "base")
    assert [item.id for item in file.read().items] == ["row 0", "row 1"]
    with file.path.open("a") as torn:
        torn.write('{"id": "row 2", "ki')
    assert commands.evaluate(path, [], tables_only=True) == STOPPED
    assert "localisation of s1: 0 items are there" in table(tmp_path)["incomplete"][1]
    evidence = Evidence()
    assert run(path, evidence=evidence) == DONE
    assert evidence.known == [{"row 0", "row 1"}, set(), set()]
    assert [item.id for item in file.read().items] == [f"row {n}" for n in range(5)]
    assert file.read().complete
    assert [Path(adapter or "base").name for _, _, adapter, _ in evidence.calls] == ["base", "s1", "s2"]
    assert run(path, evidence=evidence) == DONE
    assert len(evidence.calls) == 3
    found = cell(tmp_path, "FiRe-MPO", "Localisation")
    assert found["mean"]["value"] == pytest.approx(0.65)
    assert found["difference"]["interval"]["value"] == pytest.approx(0.15)
    assert table(tmp_path)["counts"][0]["skipped"] == {"region: there is none": 2}


def test_items_of_other_options_are_put_aside_and_come_back(write, tmp_path):
    path, evidence = write(**EVIDENCE), Evidence()
    run(path, evidence=evidence)
    run(path, "localisation.dataset=others", evidence=evidence)
    assert len(evidence.calls) == 6
    run(path, evidence=evidence)
    assert len(evidence.calls) == 6


def test_evidence_says_what_it_chose_and_is_found_by_the_same_key(write, tmp_path):
    changes = {**EVIDENCE, "models": {"base": None}, "groups": {}}
    assert run(write(**changes), evidence=Evidence()) == DONE
    assert table(tmp_path)["protocol"]["localisation"]["choices"]["reward"].startswith("log pi - log ref of each token")
    key = ItemFile(tmp_path / "work", "localisation", "base").read().key
    assert key[:16] == "8b4a450bc119abad", "evaluations that are there already are keyed so"


def test_pairs_of_one_image_are_drawn_together(write, tmp_path):
    def of_two_images(measure, arguments, adapter, options, known):
        for number in range(40):
            values = {"phrase_rank": float(number < 20 * bool(adapter))}
            yield Measured(f"row {number}", "", values, of=f"{number // 20}")

    def alone(*words):
        return (replace(item, of="") for item in of_two_images(*words))

    found = []
    for evidence in (of_two_images, alone):
        assert run(write(**EVIDENCE, groups={}), evidence=evidence) == DONE
        found.append(cell(tmp_path, "s1", "Localisation")["difference"]["interval"])
        shutil.rmtree(tmp_path / "work")
    together, apart = found
    assert together["value"] == apart["value"] == 0.5
    assert (together["low"], together["high"]) == (0.0, 1.0)
    assert 0.3 < apart["low"] < apart["high"] < 0.7


def test_nothing_stored_is_no_table(write, capsys):
    path = write()
    assert commands.evaluate(path, [], tables_only=True) in (FAILED, STOPPED)
    assert "There is no table" in capsys.readouterr().err


def test_real_questions_and_a_tiny_model_through_the_command(real, checkpoint, adapter, tmp_path, capsys):
    config = {
        "workspace": str(tmp_path / "work"),
        "source": {"name": "vqa_rad", "options": {"folder": str(real.folder / "vqa-rad")}, "limit": 6},
        "model": {
            "model_name_or_path": str(checkpoint("qwen3_vl")),
            "template": "qwen3_vl_nothink",
            "image_max_pixels": 12544,
        },
        "models": {"base": None, "tuned": str(adapter("qwen3_vl")), "whole": str(checkpoint("qwen3_vl"))},
        "baseline": "base",
        "answers": {"max_new_tokens": 6},
        "compare": {"draws": 200},
    }
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["evaluate", str(path)]) == DONE
    assert "| base |" in capsys.readouterr().out
    given = {name: [row["answer"] for row in answers(tmp_path, name)] for name in config["models"]}
    assert given["base"] == given["whole"]
    assert given["base"] != given["tuned"]
    assert {row["closed"] for row in answers(tmp_path, "base")} <= {True, False}
    assert main(["evaluate", str(path), "--tables-only"]) == DONE
