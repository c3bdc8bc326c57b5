"""The row checks from the command line: the same reasons as in training, and no model."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from places import TEMPLATES_DIR

from firempo_plugin import cli
from firempo_plugin.host.data.reasons import kinds_of, together
from firempo_plugin.host.validate import verdict

GOOD = {
    "conversations": [{"from": "human", "value": "Which side?"}],
    "chosen": {"from": "gpt", "value": "Left."},
    "rejected": {"from": "gpt", "value": "Right."},
    "images": [],
    "rejected_images": [],
}
EQUAL = {**GOOD, "rejected": {"from": "gpt", "value": "Left."}}


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Whoever loads a model here fails."""
    monkeypatch.setattr("llamafactory.model.load_model", None)


@pytest.fixture
def training_yaml(tmp_path, checkpoint):
    """Returns a function that writes a training YAML as one for a GPU machine would be."""

    def write(folder, dataset="pairs", **keys):
        config = {
            "model_name_or_path": str(checkpoint("qwen3_vl")),
            "template": "qwen3_vl_nothink",
            "stage": "fire_mpo",
            "do_train": True,
            "finetuning_type": "lora",
            "dataset": dataset,
            "dataset_dir": str(folder),
            "cutoff_len": 512,
            "output_dir": str(tmp_path / "out"),
            "bf16": True,
            "deepspeed": "ds_z3.json",
            "overwrite_cache": True,
            **keys,
        }
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    return write


def test_what_training_refuses_is_refused_here(training_yaml, capsys):
    assert cli.main(["validate", training_yaml(TEMPLATES_DIR, "fire_mpo_mixed", streaming=True, max_steps=1)]) == 1
    assert "does not support streaming" in capsys.readouterr().err


def test_sound_rows_are_counted(training_yaml, capsys, tmp_path):
    listed = tmp_path / "rejected.jsonl"
    assert cli.main(["validate", training_yaml(TEMPLATES_DIR, "fire_mpo_mixed"), "--rejected", str(listed)]) == 0
    assert "train: " in capsys.readouterr().out
    assert listed.read_text() == "", "an empty list is a list"
    assert not (tmp_path / "out").exists(), "nothing is written where training would write"


def test_messages_under_other_names_are_told_which_are_read(write_dataset, capsys):
    says = [{"role": "assistant", "content": text} for text in ("Left.", "Right.")]
    theirs = {**GOOD, "chosen": says[0], "rejected": says[1]}
    assert cli.main(["validate", "pairs", f"dataset_dir={write_dataset([theirs])}"]) == 1
    said = capsys.readouterr().out
    assert "must be a message, `from` and a text under `value` (other names: `tags` in dataset_info.json)" in said


def test_unsound_rows_are_counted_by_reason_and_listed(training_yaml, write_dataset, capsys, tmp_path):
    folder = write_dataset([GOOD, EQUAL, EQUAL, {**GOOD, "images": ["gone.png"]}])
    listed = tmp_path / "rejected.jsonl"
    assert cli.main(["validate", training_yaml(folder), "--rejected", str(listed)]) == 1
    text = capsys.readouterr().out
    assert "3 of 4 rows cannot be used" in text
    assert text.index("      2  ") < text.index("      1  "), "the most frequent reason first"
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [row["row"] for row in rows] == ["pairs, row 1", "pairs, row 2", "pairs, row 3"]


def test_overrides_count(training_yaml, write_dataset, capsys):
    path = training_yaml(write_dataset([GOOD]))
    assert cli.main(["validate", path]) == 0
    assert cli.main(["validate", path, "fire_objective=copo"]) == 1
    assert "compares with the noised image" in capsys.readouterr().out


def test_validation_that_would_take_all_rows_is_refused(training_yaml, write_dataset, capsys):
    path = training_yaml(write_dataset([GOOD, GOOD]))
    for size in ("2", "500", "1", "0.99"):
        assert cli.main(["validate", path, f"val_size={size}"]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"firempo: val_size: {size} leaves no row to train on, of 2 that there are. "), said
    assert cli.main(["validate", path, "val_size=0.5"]) == 0
    assert "train: 1 row, " in capsys.readouterr().out


def test_a_data_set_by_name_needs_no_model(write_dataset, capsys):
    folder = write_dataset([GOOD, EQUAL])
    assert cli.main(["validate", "pairs", f"dataset_dir={folder}", "overwrite_cache=true"]) == 1
    text = capsys.readouterr().out
    assert "cutoff_len is not checked" in text
    assert "1 of 2 rows cannot be used" in text


def test_what_is_neither_is_named(write_dataset, capsys, tmp_path):
    other = tmp_path / "sft.yaml"
    other.write_text("stage: sft\n")
    assert cli.main(["validate", str(other)]) == 1
    assert "expected a training YAML with `stage: fire_mpo`" in capsys.readouterr().err
    folder = write_dataset([GOOD])
    assert cli.main(["validate", "pears", f"dataset_dir={folder}"]) == 1
    assert "has no data set 'pears'; did you mean 'pairs'? it has: pairs" in capsys.readouterr().err
    assert cli.main(["validate", str(tmp_path / "stf.yaml")]) == 1
    assert capsys.readouterr().err == f"firempo: {tmp_path}/stf.yaml does not exist; did you mean {other}?\n"
    assert cli.main(["validate", "runs/train.yaml"]) == 1
    assert capsys.readouterr().err == "firempo: runs/train.yaml does not exist\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"stage: [\n", "train.yaml is not readable YAML: "),
        (b"- stage\n", "train.yaml must hold keys and values"),
        (b"stage: \xff\n", "train.yaml is not readable YAML: 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, capsys, content, said):
    (tmp_path / "train.yaml").write_bytes(content)
    assert cli.main(["validate", str(tmp_path / "train.yaml")]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("cutof_len", 512), ("template", "none_such")])
def test_what_the_host_refuses_is_a_sentence(training_yaml, capsys, key, value):
    assert cli.main(["validate", training_yaml(TEMPLATES_DIR, "fire_mpo_mixed"), f"{key}={value}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("firempo: LLaMA-Factory refuses the configuration: ")
    assert (key if key == "cutof_len" else value) in err


def test_the_variable_that_takes_the_stage_away_is_the_reason(write_dataset, capsys, monkeypatch):
    monkeypatch.setenv("FIREMPO_DISABLE", "1")
    assert cli.main(["validate", "pairs", f"dataset_dir={write_dataset([GOOD])}"]) == 1
    assert capsys.readouterr().err.startswith("firempo: FIREMPO_DISABLE is set, ")


def test_the_answer_fits_one_screen_and_comes_last(write_dataset, tmp_path):
    """Of `preview`, and of `validate` behind it in the same process."""
    broken = [{**GOOD, "images": [f"{'x' * 300}.png"] * number} for number in range(1, 12)]
    folder = write_dataset([GOOD, *broken])
    environment = {name: value for name, value in os.environ.items() if name != "LLAMAFACTORY_VERBOSITY"}
    code = (
        "import sys; from firempo_plugin.cli import main\n"
        "for command in ('preview', 'validate'):\n"
        "    status = main([command, 'pairs', f'dataset_dir={sys.argv[1]}'])\n"
        "    for stream in (sys.stderr, sys.stdout):\n"
        "        print(f'ended with {status}', file=stream)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    said = [stream.split("ended with 1\n") for stream in (run.stderr, run.stdout)]
    assert [len(parts) for parts in said] == [3, 3], run.stderr
    for errors, answer in list(zip(*said, strict=True))[:2]:
        lines = [*errors.splitlines(), *answer.splitlines()]
        assert len(lines) <= 24
        assert lines[-1] == "11 of 12 rows cannot be used."
        assert max(map(len, lines)) <= 250


def test_reasons_are_alike_without_their_names_and_numbers():
    one, two = (f"images[0] = '/data/{n}.png' does not exist (looked in '{n}')" for n in (3, 44))
    assert kinds_of(one) == kinds_of(two) == ["images[N] = ... does not exist (looked in ...)"]


def test_a_row_counts_under_each_of_its_kinds_and_once_in_all():
    problems = [together(["weight 1", "weight 2", f"gone '{other}; also: {other}'"]) for other in ("a", "b")]
    assert kinds_of(problems[0]) == ["weight N", "gone ..."]
    assert kinds_of("") == []
    lines = verdict([{"row": f"pairs, row {n}", "problem": problem} for n, problem in enumerate(problems)], 5)
    assert [line.split(maxsplit=1) for line in lines[1::2][:2]] == [["2", "weight N"], ["2", "gone ..."]]
    assert lines[-1] == "2 of 5 rows cannot be used."
