"""The card beside an adapter: its figures are the log's, and nothing of the data or of local paths is in it."""

import json
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from firempo_plugin.host.train import model_card
from firempo_plugin.host.train.model_card import Run, page
from firempo_plugin.pairs.audit.style import Preference

EFFECTIVE = {
    "fire_objective": "rrpo",
    "source": "arXiv 2504.12083",
    "formula": "L(r_P(cc) - r_P(cr)) + alpha KL",
    "pref_beta": 0.1,
    "fire_alpha": 0.01,
    "fire_gamma": None,
    "rows": {"train": {"rows": 40, "skipped": 2, "noised": 0, "truncated": 1, "phrase_tokens": 80}},
    "versions": {"firempo-plugin": "0.1.0", "torch": "2.11.0"},
}
RUN = Run(
    name="run",
    base_model="base",
    dataset="pairs",
    is_adapter=True,
    effective=EFFECTIVE,
    training={"seed": "1"},
    history=[{"loss": 0.7, "terms/rank": 0.69, "epoch": 0.5}, {"loss": 0.5, "terms/rank": 0.4, "epoch": 1.0}],
    pairs=[Preference("The left lung.", "The right lung.")] * 30,
)


def test_a_run_leaves_its_card(train, checkpoint, tmp_path):
    history = train(max_steps=2)
    folder = tmp_path / "out"
    text = (folder / "README.md").read_text(encoding="utf-8")
    head = ModelCard.load(folder / "README.md").data
    assert (head.base_model, head.library_name) == (Path(checkpoint("qwen3_vl")).name, "peft")
    assert "fire_mpo" in head.tags
    losses = [entry["terms/rank"] for entry in history if "terms/rank" in entry]
    assert f"| `terms/rank` | {losses[0]:.4g} | {losses[-1]:.4g} |" in text
    rows = json.loads((folder / "fire_mpo.json").read_text())["rows"]["train"]
    assert f"| train | {rows['rows']} | {rows['noised']} | 0 | 0 |" in text
    assert "| optimiser steps | 2 |" in text
    assert "| fire_gamma | 0.1 |" in text
    assert "word edit distance" in text
    assert "fit for clinical decisions" in text
    assert str(tmp_path) not in text
    assert str(Path(checkpoint("qwen3_vl")).parent) not in text
    assert "lung" not in text.split("## Data")[1].split("## What the run showed")[0], "no text of the data"


def test_what_the_run_did_not_use_is_not_told():
    text = page(RUN)
    assert yaml.safe_load(text.split("---\n")[1])["tags"][2] == "rrpo"
    assert "fire_gamma" not in text
    assert "| train | 40 | 0 | 2 | 1 |" in text
    assert "| `terms/rank` | 0.69 | 0.4 |" in text
    assert "Warning" not in text


def test_the_logs_warnings_are_in_it():
    accuracy = {"rewards/accuracies": 1.0, "loss": 0.1}
    steps = [{**accuracy, "rewards/margins": margin, "epoch": epoch} for margin, epoch in ((2.0, 0.05), (12.0, 0.2))]
    text = page(Run(**{**vars(RUN), "history": steps}))
    assert "**Warning.** Reward accuracy reached 1.0 at epoch 0.05 and the margin is now 12.0" in text


def test_only_so_many_rows_are_looked_at(monkeypatch, train, tmp_path):
    monkeypatch.setattr(model_card, "MOST_ROWS", 3)
    train()
    assert "3 rows" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
