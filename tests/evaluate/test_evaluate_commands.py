"""What an evaluation says of records that none of its measures looks at."""

import json

import pytest
import yaml
from PIL import Image

from firempo_plugin.evaluate import commands, figures
from firempo_plugin.store.halt import DONE


class Engine:
    """A model that says Yes."""

    def __init__(self, arguments):
        pass

    def respond(self, question, images, system, temperature, max_tokens):
        return "Yes"


@pytest.mark.parametrize("kinds", ["vqa vqa report", "vqa vqa vqa"])
def test_records_that_no_measure_looks_at_are_counted(kinds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "write", lambda table, folder: [])
    Image.new("L", (32, 32)).save(tmp_path / "scan.png")
    rows = [{"image": "scan.png", "question": "Is it?", "truth": "Yes", "kind": kind} for kind in kinds.split()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {
        "file": str(tmp_path / "rows.jsonl"),
        "image_root": str(tmp_path),
        "columns": {name: name for name in rows[0]},
    }
    config = {
        "workspace": str(tmp_path / "work"),
        "source": {"name": "table", "options": options},
        "model": {"model_name_or_path": "base"},
        "models": {"base": None},
        "compare": {"draws": 100},
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))
    assert commands.evaluate(tmp_path / "evaluate.yaml", [], engine=Engine) == DONE
    said = "1 of 3 records are of kind report: they are answered, and nothing measures them without reports among"
    assert (said in capsys.readouterr().err) == ("report" in kinds)
