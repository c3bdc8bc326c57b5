"""The notebook runs as it stands, cell by cell; lines that begin with ! are the shell's, as Jupyter takes them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import EXAMPLES_DIR

NOTEBOOK = json.loads((EXAMPLES_DIR / "notebooks" / "first_run.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_stored_without_what_a_run_left():
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for cell in NOTEBOOK["cells"] if "outputs" in cell
    )
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)


def test_every_link_leads_somewhere():
    texts = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown"]
    links = [link for text in texts for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert len(links) > 3
    assert all((EXAMPLES_DIR / "notebooks" / link).exists() for link in links)


@pytest.mark.skipif("FIREMPO_NOTEBOOK" not in os.environ, reason="FIREMPO_NOTEBOOK=1 runs the notebook, for a minute")
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    names: dict[str, object] = {}
    for cell in CELLS:
        if cell.startswith("!"):
            done = subprocess.run(
                ["bash", "-c", cell[1:]], env=environment, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, f"{cell}\n{done.stdout}{done.stderr}"
        else:
            exec(cell, names)
    said = capsys.readouterr().out
    assert re.search(r"^\d+ pairs in ", said, re.M)
    steps = re.findall(r"^ +(\d+)  +([\d.]+)", said, re.M)
    assert int(steps[-1][0]) == 8
    assert names["both"].width == 3 * names["clean"].width
    assert (tmp_path / "firempo-demo" / "preview.html").stat().st_size > 10_000
