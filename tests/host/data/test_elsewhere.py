"""docs/elsewhere.md brings rows of other frameworks here as it says."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT, TEMPLATES_DIR

from firempo_plugin import cli

PAGE = (ROOT / "docs" / "elsewhere.md").read_text(encoding="utf-8")
CODE, INFO = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("python", "json"))
QUESTION, CHOSEN, REJECTED = "Which lung?", "The left lung.", "The right lung."
IMAGE, NOISED = "images/frontal.png", "images/frontal_noised.png"


def says(role, content):
    return {"role": role, "content": content}


def parts(text):
    return [{"type": "text", "text": text}]


ASKED = [says("user", f"<image>{QUESTION}"), says("assistant", CHOSEN)]
SWIFT = {"messages": ASKED, "rejected_response": REJECTED, "images": [IMAGE], "rejected_images": [NOISED]}
ROWS = {
    "swift": SWIFT,
    "swift, messages": {
        **{key: SWIFT[key] for key in ("messages", "images")},
        "rejected_messages": [*ASKED[:-1], says("assistant", REJECTED)],
    },
    "trl": {
        "prompt": ASKED[:-1],
        "chosen": ASKED[-1:],
        "rejected": [says("assistant", REJECTED)],
        "images": [IMAGE],
    },
    "trl, parts": {
        "prompt": [says("user", [{"type": "image", "text": None}, *parts(QUESTION)])],
        "chosen": [says("assistant", parts(CHOSEN))],
        "rejected": [says("assistant", parts(REJECTED))],
        "images": [IMAGE],
    },
}


@pytest.mark.parametrize("form", ROWS)
def test_rows_of_this_form_can_be_trained_on(form, tmp_path, capsys):
    shutil.copytree(TEMPLATES_DIR / "images", tmp_path / "images")
    (tmp_path / "rows.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text(INFO, encoding="utf-8")
    (tmp_path / "theirs.jsonl").write_text(json.dumps(ROWS[form]) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "rows.py"], cwd=tmp_path, check=True)
    (pair,) = json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))
    assert pair["messages"] == [says("user", f"<image>{QUESTION}")]
    assert (pair["chosen"]["content"], pair["rejected"]["content"]) == (CHOSEN, REJECTED)
    assert cli.main(["validate", "my_pairs", f"dataset_dir={tmp_path}"]) == 0
    assert f"1 row, {int('rejected_images' in ROWS[form])} with a noised image" in capsys.readouterr().out
