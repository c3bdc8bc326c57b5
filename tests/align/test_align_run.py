"""Rounds from beginning to end on the phantom's model, trained by the host; the commands run in this process."""

import csv
import json
import math
import sys
from contextlib import redirect_stderr, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from places import EXAMPLES_DIR
from transformers import AutoModelForImageTextToText

from firempo_plugin.align import commands, tables
from firempo_plugin.align.children import FIREMPO, Children
from firempo_plugin.align.config import PAIRS
from firempo_plugin.checkpoints import fingerprint
from firempo_plugin.cli import main
from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.errors import UserError
from firempo_plugin.evaluate import figures

PHANTOM = EXAMPLES_DIR / "phantom"
BASE = PHANTOM / "base"
IMAGES = 4
COLUMNS = {"id": "id", "image": "image", "question": "question", "truth": "answer", "kind": "kind", "closed": "closed"}
TRAIN = yaml.safe_load((PHANTOM / "train.yaml").read_text()) | {
    "model_name_or_path": str(BASE),
    "use_cpu": True,
    "learning_rate": 2e-3,
    "logging_steps": 1,
    "per_device_train_batch_size": 8,
}


DRAW = tables.draw


def undrawn(lines, metric, path):
    return path


class InProcess(Children):
    """Runs the commands here, where everything is imported; notes them, and stops behind the one that it is told."""

    ran: ClassVar[list[tuple[str, str]]] = []
    stop_behind: ClassVar[tuple[str, str] | None] = None

    def run(self, command, log, fine):
        from accelerate.state import AcceleratorState, GradientState, PartialState
        from llamafactory.train.tuner import export_model, run_exp

        ours = tuple(command[: len(FIREMPO)]) == FIREMPO
        words = command[len(FIREMPO) :] if ours else command[1:]
        done = words[0], Path(words[1]).parent.name
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
            if ours:
                code = main(list(words))
            else:
                for state in (AcceleratorState, GradientState, PartialState):
                    state._reset_state()
                given = yaml.safe_load(Path(words[1]).read_text())
                (run_exp if words[0] == "train" else export_model)(given)
                code = 0
        self.ran.append(done)
        if code not in fine:
            raise UserError(f"{words} ended with {code}:\n{log.read_text()[-1500:]}")
        if done == self.stop_behind:
            raise StopRunError("stopped by the test")
        return code


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of the phantom with all of their questions, and the masks of what these ask for."""
    folder = tmp_path_factory.mktemp("phantom")
    names = ("images", "questions", "data")
    held = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(PHANTOM))
    try:
        import data as phantom

        rows = []
        for example in islice(phantom.examples("validation", 7), IMAGES):
            phantom._write_pictures(folder, example, masks=True)
            rows += [phantom._record(example, question) for question in example.questions]
    finally:
        sys.path.remove(str(PHANTOM))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(held)
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def write(data, tmp_path, monkeypatch):
    """Returns a function that writes a configuration of two rounds, and says where they are kept."""
    monkeypatch.setattr(commands, "Children", InProcess)
    monkeypatch.setattr(InProcess, "ran", [])
    monkeypatch.setattr(InProcess, "stop_behind", None)
    monkeypatch.setattr(tables, "draw", undrawn)  # two seconds each; one test looks at one
    monkeypatch.setattr(figures, "write", lambda table, folder: [])
    options = {"file": str(data / "records.jsonl"), "image_root": str(data), "columns": COLUMNS}
    source = {"name": "table", "options": options}
    config = {
        "folder": str(tmp_path / "all"),
        "rounds": 2,
        "patience": 5,
        "overlap": "report",
        "watch": dict.fromkeys(("words", "unread", "repeated", "saturated")),
        "build": {
            "source": source,
            "respond": {"endpoint": {"max_tokens": 40}},
            "segment": {"by": "file", "options": {"folder": str(data / "masks"), "pattern": "{stem}_{target}.png"}},
        },
        "train": TRAIN,
        "evaluate": {
            "source": source,
            "measures": ["accuracy", "divergence"],
            "answers": {"max_new_tokens": 40},
            "compare": {"draws": 200},
        },
    }

    def write(**sections):
        (tmp_path / "align.yaml").write_text(yaml.safe_dump(config | sections))
        return tmp_path / "align.yaml"

    return write


def content(folder):
    return json.loads((folder / "rounds.json").read_text())


def weights(adapters, checkpoint=BASE):
    """All weights of a checkpoint with adapters merged into it, one after the other."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    for adapter in adapters:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model.state_dict()


def test_two_rounds_and_what_is_found_of_them_again(write, tmp_path, capsys, monkeypatch):
    folder, file = tmp_path / "all", write()
    InProcess.stop_behind = "train", "1"
    assert main(["align", str(file)]) == 3
    assert "Stopped: stopped by the test" in capsys.readouterr().err
    first = [("build", "1"), ("evaluate", "1"), ("train", "1")]
    assert InProcess.ran == first
    InProcess.stop_behind = None
    assert main(["align", str(file)]) == 0
    rest = [("evaluate", "1"), ("build", "2"), ("train", "2"), ("evaluate", "2")]
    assert InProcess.ran == first + rest, "what was done is not done again"
    said = capsys.readouterr().out
    assert "Over: 2 rounds, as asked for" in said

    trains = [folder / "rounds" / number / "train" for number in "12"]
    expected, found = weights(trains), weights([folder / "rounds" / "2" / "adapter"])
    assert any((expected[name] - weight).abs().max() > 1e-3 for name, weight in weights(trains[:1]).items())
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6)

    asked = [yaml.safe_load((folder / "rounds" / n / "build.yaml").read_text())["respond"]["engine"] for n in "12"]
    assert [one.get("adapter_name_or_path") for one in asked] == [None, str(trains[0])]
    check_figures(folder)

    monkeypatch.setattr(tables, "draw", DRAW)
    assert main(["align", str(file)]) == 0
    assert InProcess.ran == first + rest
    assert (folder / "rounds.png").stat().st_size > 10_000
    monkeypatch.setattr(tables, "draw", undrawn)
    with pytest.raises(SystemExit):
        main(["align", "--help"])
    assert main(["align", str(file), "train.learning_rate=1.0e-3"]) == 1
    assert "round 1 was made with train.learning_rate 0.002, and it is 0.001 now" in capsys.readouterr().err
    assert main(["align", str(file), "rounds=1", "evaluate.answers.max_new_tokens=30"]) == 0
    assert InProcess.ran[len(first + rest) :] == [("evaluate", "1"), ("evaluate", "1")], "all is measured anew"


def test_figures_of_half_a_validation_are_never_shown(write, tmp_path, capsys, monkeypatch):
    """`firempo evaluate` ends with 3 where it was stopped, and where a metric's package is missing."""

    def half(self, command, log, fine):
        InProcess.run(self, command, log, (0, 3))
        for file in (tmp_path / "all" / "evaluate" / "items").rglob("base.jsonl"):
            file.write_text("\n".join(file.read_text().splitlines()[:-2]) + "\n")
        return 3 if "evaluate" in command else 0

    monkeypatch.setattr(commands, "Children", type("Half", (InProcess,), {"run": half}))
    assert main(["align", str(write())]) == 3
    assert "base is not wholly measured; the end of" in capsys.readouterr().err
    assert InProcess.ran == [("build", "1"), ("evaluate", "1")]
    monkeypatch.setattr(commands, "Children", InProcess)
    InProcess.stop_behind = "evaluate", "1"
    assert main(["align", str(write())]) == 3
    assert InProcess.ran[2:] == [("evaluate", "1")], "it is measured again, whole"


def test_a_build_that_fails_is_no_end_of_the_rounds(write, tmp_path, capsys, monkeypatch):
    """`firempo build` ends with 1 where no pair came of it, and where it failed."""

    def failing(self, command, log, fine):
        log.write_text("Traceback (most recent call last)\nMemoryError: the model\n")
        return 1

    monkeypatch.setattr(commands, "Children", type("Failing", (InProcess,), {"run": failing}))
    assert main(["align", str(write())]) == 1
    assert "the pairs of round 1 could not be made; the end of" in capsys.readouterr().err
    monkeypatch.setattr(commands, "Children", InProcess)
    InProcess.stop_behind = "build", "1"
    assert main(["align", str(write())]) == 3
    monkeypatch.setattr(commands, "Children", type("Failing", (InProcess,), {"run": failing}))
    (tmp_path / "all" / "rounds" / "1" / "settings.json").unlink()
    assert main(["align", str(write()), "build.respond.endpoint.max_tokens=30"]) == 1
    assert "MemoryError: the model" in capsys.readouterr().err


def test_a_first_round_without_a_pair_is_no_success(write, data, tmp_path, capsys):
    options = {"file": str(data / "records.jsonl"), "image_root": str(data), "columns": COLUMNS}
    source = {"name": "table", "options": options, "limit": 3}
    build = {"source": source, "respond": {"endpoint": {"max_tokens": 1}}}
    assert main(["align", str(write(build=build))]) == 1
    assert "nothing is trained: round 1 has no pair; the end of" in capsys.readouterr().err


def check_figures(folder):
    """Works the figures out anew, from the stored answers and pairs alone."""
    rounds = content(folder)["rounds"]
    right = []
    for line, name in zip(rounds, ("base", "round-1", "round-2"), strict=True):
        lines = (folder / "evaluate" / "items" / "accuracy" / f"{name}.jsonl").read_text().splitlines()
        items = [item for item in map(json.loads, lines) if "id" in item]
        right.append({item["id"]: item["values"].get("judged", 0.0) for item in items})
        assert line["numbers"]["values"] == right[-1]
        assert line["mean"]["value"] == pytest.approx(sum(right[-1].values()) / len(items))
        assert sum(line["numbers"]["unread"]) == sum("judged" not in item["values"] for item in items)
        answers = (folder / "evaluate" / "answers" / f"{name}.jsonl").read_text().splitlines()
        lengths = [len(json.loads(answer)["answer"].split()) for answer in answers]
        assert sum(line["numbers"]["answers"]["words"]) == pytest.approx(sum(lengths), rel=0.02)
    wrong = [item for item, value in right[0].items() if value == 0]
    for line, now in zip(rounds[1:], right[1:], strict=True):
        assert line["corrected"] == pytest.approx(sum(now[item] for item in wrong) / len(wrong))
        assert line["over_base"]["value"] == pytest.approx((sum(now.values()) - sum(right[0].values())) / len(now))
        rows = json.loads((folder / "rounds" / str(line["numbers"]["number"]) / PAIRS / f"{PAIRS}.json").read_text())
        assert line["numbers"]["built"]["pairs"] == len(rows) > 10
        assert 0 < line["numbers"]["built"]["from_wrong"] < len(rows)
    kls = [line["numbers"]["columns"]["KL from reference"] for line in rounds]
    assert kls[0] == 0.0
    assert 0 < kls[1] < kls[2], "two rounds are further from the base model than one"
    with (folder / "rounds.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["accuracy.judged"]) for row in table] == [line["mean"]["value"] for line in rounds]
    assert "| round 2 |" in (folder / "rounds.md").read_text()


def test_a_merged_checkpoint_is_what_the_next_round_begins_with(write, tmp_path):
    folder = tmp_path / "all"
    assert main(["align", str(write(adapter="merge", reference="base", rounds=2))]) == 0
    (merged,) = (folder / "rounds" / "1").glob("merged-*")
    expected = weights([folder / "rounds" / "1" / "train"])
    for name, weight in weights([], merged).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)
    second = yaml.safe_load((folder / "rounds" / "2" / "train.yaml").read_text())
    assert (second["model_name_or_path"], second["ref_model"]) == (str(merged), str(BASE))
    assert content(folder)["rounds"][2]["numbers"]["columns"]["KL from reference"] > 0


def test_one_adapter_goes_on_and_known_pairs_are_left_out(write, tmp_path):
    folder = tmp_path / "all"
    assert main(["align", str(write(adapter="continue", reference="base", drop_margin=2.0))]) == 0
    built = [line["numbers"]["built"] for line in content(folder)["rounds"][1:]]
    assert all(one["dropped"] > 0 for one in built)
    for number, one in zip("12", built, strict=True):
        place = folder / "rounds" / number
        rows = json.loads((place / PAIRS / f"{PAIRS}.json").read_text())
        marks = json.loads((place / "decisions.json").read_text())["marks"]
        assert len(rows) == one["pairs"]
        assert len(marks) == one["dropped"]
        assert not {row["id"] for row in rows} & set(marks)
    second = yaml.safe_load((folder / "rounds" / "2" / "train.yaml").read_text())
    assert second["adapter_name_or_path"] == str(folder / "rounds" / "1" / "train")
    assert not {"create_new_adapter", "ref_model"} & second.keys()


def test_keys_that_training_would_refuse_are_refused_before_anything_is_made(write, tmp_path, capsys):
    assert main(["align", str(write()), "train.fire_gama=0.3"]) == 1
    assert "fire_gama" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()
    assert InProcess.ran == []


def test_an_adapter_of_the_users_own_is_where_the_rounds_begin(write, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(BASE, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
    tuned.save_pretrained(tmp_path / "own")
    folder, own = tmp_path / "all", str(tmp_path / "own")
    assert main(["align", str(write(rounds=1, train=TRAIN | {"adapter_name_or_path": own}))]) == 0
    asked = yaml.safe_load((folder / "rounds" / "1" / "build.yaml").read_text())["respond"]["engine"]
    assert asked["adapter_name_or_path"] == own
    trained = yaml.safe_load((folder / "rounds" / "1" / "train.yaml").read_text())
    assert trained["create_new_adapter"]
    log = json.loads((folder / "rounds" / "1" / "train" / "trainer_state.json").read_text())["log_history"]
    assert log[0]["terms/rank"] == pytest.approx(math.log(2), abs=1e-4), "the reference is the model with the adapter"
    expected = weights([own, folder / "rounds" / "1" / "train"])
    for name, weight in weights([folder / "rounds" / "1" / "adapter"]).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)


def test_a_model_that_is_tuned_as_a_whole_is_its_own_next_checkpoint(write, tmp_path):
    whole = {key: value for key, value in TRAIN.items() if not key.startswith("lora_")}
    whole |= {"finetuning_type": "full", "learning_rate": 1e-4}
    folder = tmp_path / "all"
    assert main(["align", str(write(rounds=1, adapter="merge", train=whole))]) == 0
    base, after = content(folder)["rounds"]
    model = Path(after["numbers"]["model"])
    assert model.resolve() == folder / "rounds" / "1" / "train"
    assert model.name == f"merged-{fingerprint(model)[:8]}", "what is trained anew in its place has another name"
    assert base["numbers"]["columns"]["KL from reference"] == 0.0
    assert after["numbers"]["columns"]["KL from reference"] > 1e-4
