"""Figures from stored items: one for each measure, and the curves over decoder layers."""

import json

import yaml
from PIL import Image

from firempo_plugin.evaluate import figures, tables
from firempo_plugin.evaluate.config import load
from firempo_plugin.evaluate.layout import as_json
from firempo_plugin.evaluate.store import ItemFile, Measured

METRICS = ("attention_ratio", "attention_kl", "attention_js")


def grounded(name, ratios):
    detail = {"layers": [1, 0], **dict.fromkeys(METRICS, ratios)}
    return Measured(name, "", dict.fromkeys(METRICS, sum(ratios) / 2), detail=json.dumps(detail))


def test_grounding_has_a_figure_of_means_and_one_of_layers(tmp_path):
    given = {
        "workspace": str(tmp_path),
        "measures": ["grounding"],
        "model": {"model_name_or_path": "somewhere"},
        "models": {"base": None, "mine-1": "a", "mine-2": "b"},
        "groups": {"mine": ["mine-1", "mine-2"]},
        "grounding": {"records": "records.jsonl"},
        "baseline": "base",
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(given))
    config = load(tmp_path / "evaluate.yaml", [])
    for model, lift in (("base", 0.0), ("mine-1", 1.0), ("mine-2", 2.0)):
        file = ItemFile(tmp_path, "grounding", model)
        file.open("key", {})
        for number in range(3):
            file.append(grounded(str(number), [2.0 + lift, number + lift]))
        file.append(Measured("skipped", "", {}, skipped="no boxes"))
        file.finish()
    table = tables.make(config)
    assert table.layers["attention_ratio"] == {"mine": {0: 2.5, 1: 3.5}, "base": {0: 1.0, 1: 2.0}}
    assert list(table.layers["attention_ratio"]["mine"]) == [0, 1]
    assert json.loads(as_json(table, config.compare))["layers"]["attention_js"]["mine"] == {"0": 2.5, "1": 3.5}
    drawn = figures.write(table, tmp_path / "tables")
    assert [path.name for path in drawn] == ["grounding.png", "grounding_by_layer.png"]
    assert all(Image.open(path).width > 300 for path in drawn)
