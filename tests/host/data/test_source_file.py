"""Where a file of rows goes wrong that the loader only fails at."""

import json

import pytest
from places import ROOT

from firempo_plugin import cli
from firempo_plugin.host.data.source_file import explain

ROW = {
    "conversations": [{"from": "human", "value": "Which side?"}],
    "chosen": {"from": "gpt", "value": "The left side."},
    "rejected": {"from": "gpt", "value": "The right side."},
}
BLOCK = 10 << 20
"""Bytes that the loader reads at once, and takes the types of columns from."""


def write(folder, rows):
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "weight": "weight"}
    info = {"file_name": "pairs.jsonl", "formatting": "sharegpt", "ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"pairs": info}))
    return str(folder / "pairs.jsonl")


def test_weights_that_are_fractions_only_late_in_the_file_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    count = BLOCK // 5000 + 10
    write(tmp_path, [*({**ROW, "weight": 1, "note": "x" * 5000} for _ in range(count)), {**ROW, "weight": 0.5}])
    assert cli.main(["validate", "pairs", f"dataset_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert f"pairs.jsonl, row {count}: weight holds 0.5, but whole numbers before" in said
    assert "write the whole numbers as 1.0" in said


@pytest.mark.parametrize("weights", [[1.0, 1, 0.5], [0.5, 1], [1, 2, None], [True, 1]])
def test_numbers_that_the_loader_takes_are_none_of_its_reasons(weights, tmp_path):
    found = explain(write(tmp_path, [{**ROW, "weight": weight} for weight in weights]))
    assert found is None or "whole numbers" not in found
