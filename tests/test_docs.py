"""docs/objectives.md and examples/objectives say what the table of objectives is, and what the page teaches is so."""

import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from places import EXAMPLES_DIR, ROOT

from firempo_plugin.objectives.links import LINKS
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.pairs import config

sys.path.append(str(ROOT))

from docs import commands, objectives

TEXT = objectives.PAGE.read_text(encoding="utf-8")
WRITTEN = objectives.files()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_it_is_what_the_table_says(path):
    stands = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert stands == WRITTEN[path], (
        "the table of objectives says otherwise: run `make docs`, and look at what it changes"
    )


def test_the_keys_are_those_of_the_code():
    text = commands.PAGE.read_text(encoding="utf-8")
    assert text == commands.page(text), "keys have changed: run `make docs`"


def test_no_example_is_left_of_an_objective_that_is_gone():
    there = {path.stem for path in (EXAMPLES_DIR / "objectives").iterdir()}
    assert there == set(OBJECTIVES), "examples come from the table of objectives: run `make docs`"


def test_what_is_by_hand_stays():
    changed = TEXT.replace("# Objectives\n", "# Objectives, ours\n").replace("`dpo`", "`none`")
    again = objectives.page(changed + "\nOurs too.\n")
    assert again.startswith("# Objectives, ours\n")
    assert again.endswith("\nOurs too.\n")
    assert objectives.tables() in again


def test_every_link_leads_somewhere():
    places = {link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if not link.startswith("https://arxiv.org/abs/")}
    assert places
    assert all((objectives.PAGE.parent / place).exists() for place in places)


def test_every_objective_that_the_page_sends_one_to_is_in_the_table():
    choosing = TEXT.split("## How to choose")[1].split("## How a formula")[0]
    columns = [line.split("|")[-2] for line in TEXT.split(objectives.END)[1].splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`(\w+)`", " ".join([choosing, *columns])))
    assert len(named) > 15
    assert named - {"chosen_weights", "rejected_weights", "fire_group_by_image"} <= set(OBJECTIVES)


RECIPES = re.findall(r"^\| .* \| (.*`\w+\.\w+: .*) \| .* \|$", TEXT, re.M)


@pytest.mark.parametrize("settings", RECIPES)
def test_a_recipe_of_pairs_is_settings_of_a_build(settings):
    written = [f"{key}={value}" for key, value in re.findall(r"`([\w.]+): (\w+)`", settings)]
    build = config.load(EXAMPLES_DIR / "build" / "vqa_rad.yaml", written)
    assert build != config.load(EXAMPLES_DIR / "build" / "vqa_rad.yaml", [])


@pytest.mark.parametrize("link", LINKS)
def test_a_term_starts_where_the_page_says(link):
    start = float(LINKS[link](torch.zeros(()), 0.1, 0.3))
    (line,) = re.findall(rf"^\| {link}, .*$", TEXT, re.M)
    said = re.search(r"(?:= )?(\d[\d.]*)(?: at beta 0\.1|, whatever e.*| )*\|$", line)
    assert math.isclose(start, float(said[1]), abs_tol=5e-4)


@pytest.fixture(scope="module")
def with_their_own(tmp_path_factory):
    """A copy of the package whose table ends with the row that the page shows."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(ROOT / "firempo_plugin", folder / "firempo_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "examples").mkdir()
    row = re.search(r"```python\n(.*?)\n```", TEXT, re.S)[1]
    table = folder / "firempo_plugin" / "objectives" / "table.py"
    text = table.read_text(encoding="utf-8")
    assert text.endswith("    )\n}\n")
    table.write_text(text.removesuffix("    )\n}\n") + row + ",\n    )\n}\n", encoding="utf-8")
    return folder


OWN = """
import json
import firempo_plugin
from llamafactory.hparams import FinetuningArguments
from firempo_plugin.host.board.texts import listed
from firempo_plugin.host.arguments import settings_of

args = FinetuningArguments(stage="fire_mpo", fire_objective="dpo_kl")
try:
    FinetuningArguments(stage="fire_mpo", fire_objective="dpo_kl", fire_gamma=0.1)
except ValueError as error:
    refused = str(error)
print("JSON:" + json.dumps({
    "package": firempo_plugin.__file__,
    "keys": {key: value for key, value in vars(args).items() if key.startswith("fire_") and value is not None},
    "terms": [term.name for term in settings_of(args).terms],
    "refused": refused,
    "listed": [name for _, name in listed("en")],
}))
"""


def test_an_objective_of_ones_own_is_one_row(with_their_own):
    environment = os.environ | {"PYTHONPATH": str(with_their_own)}
    code = f"{OWN}\nfrom docs.objectives import main\nmain()"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=with_their_own, env=environment, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.split("JSON:")[1])
    assert found["package"].startswith(str(with_their_own))
    assert {"fire_alpha", "fire_lambda", "fire_kl_scope"} <= set(found["keys"])
    assert "fire_gamma" not in found["keys"]
    assert found["terms"] == ["rank", "kl"]
    assert "fire_gamma has no effect under fire_objective: dpo_kl" in found["refused"]
    assert "dpo_kl" in found["listed"]
    assert "\nfire_objective: dpo_kl\n" in (with_their_own / "examples" / "objectives" / "dpo_kl.yaml").read_text()
    assert "| [`dpo_kl`](" in (with_their_own / "docs" / "objectives.md").read_text(encoding="utf-8")


def test_the_tutorial_is_its_text_with_what_the_commands_printed():
    """Whose outputs `python -m docs.tutorial` writes; without them, both say the same."""
    text, page = (ROOT.joinpath("docs", name).read_text(encoding="utf-8") for name in ("tutorial.txt", "tutorial.md"))
    named = re.sub(r"^```(\w+) ([\w.]+)\n", r"`\2`:\n\n```\1\n", text, flags=re.M)
    assert re.sub(r"\n```text\n.*?^```\n", "", page, flags=re.S | re.M) == named
