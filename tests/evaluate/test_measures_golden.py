"""What the measures make of fixed inputs changes with their versions only, and a raised one measures again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import digest
from test_evaluate_reports import Metrics
from test_evaluate_run import ASKED, run, write  # noqa: F401

from firempo_plugin.answers import questions
from firempo_plugin.evaluate import accuracy, grounding, localisation, reports, sensitivity
from firempo_plugin.evaluate.answers import Answer
from firempo_plugin.evaluate.attention import last_row
from firempo_plugin.evaluate.config import JudgeConfig
from firempo_plugin.evaluate.registry import MEASURES
from firempo_plugin.evaluate.reports import Reporter
from firempo_plugin.evaluate.verdict import Judges
from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.noise import corrupt, seed_of
from firempo_plugin.records import Record
from firempo_plugin.store.halt import DONE, Halt
from firempo_plugin.store.workspace import Workspace

QUESTIONS = json.loads((Path(__file__).parents[1] / "golden" / "questions.json").read_text(encoding="utf-8"))
"""Question, ground truth, answer; then, where they are others, kind and language."""


def answered(question, truth, text, kind="vqa", language="en"):
    return Answer(Record(f"{question} [{truth}] {text}", (), question, truth, kind, language), 0, text)


def test_the_accuracy_of_answers(golden):
    answers = [answered(*fields) for fields in QUESTIONS]
    several = answered("Is there a mass?", "Yes", "Yes")
    answers += [replace(several, sample=n, text=text) for n, text in enumerate(("No.", "Maybe.", "", "Yes."), start=1)]
    answers += [replace(answered("Is it?", "Yes", "-"), text=None, reason="no image")]
    items = accuracy.measure(answers, Judges(JudgeConfig(), None), (1, 2), threads=1)
    cases = {item.id: [item.kind, item.values, item.skipped, digest(item.detail)] for item in items}
    where = "VERSION of answers/questions.py (or the version in evaluate/accuracy.py, where its code has changed)"
    golden("accuracy", where, [accuracy.ACCURACY.version, questions.VERSION], cases)


REPLIES = (
    '{"final_answer": "old age", "verdict": "wrong"}',
    '{"verdict": "undecided"}',
    '{"verdict": "fine"}',
    "right",
)


def test_the_verdicts_of_a_model(golden):
    asked = []
    cases = {}
    for reply in REPLIES:
        judge = Judges(JudgeConfig(by="endpoint"), lambda request, reply=reply: asked.append(request) or reply)
        verdict = judge.judge(Record("r", (), "What is it?", "Sarcoidosis"), "It is old age.")
        cases[reply] = [verdict.correct, verdict.reason]
    cases["asked"] = sorted({digest([[m.role, m.text] for m in each.messages]) for each in asked})
    golden("verdicts", "the version in evaluate/accuracy.py", accuracy.ACCURACY.version, cases)


def test_the_scores_of_reports(golden, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "radeval_version", lambda key: "2.2.1")
    record = Record("r", (), "Write.", "no acute disease", kind="report")
    texts = {"one": ["no disease"], "two": ["a disease", "no acute disease"], "empty": [""], "none": [None]}
    answers = [
        Answer(replace(record, id=name), n, text, "" if text else "no image")
        for name, several in texts.items()
        for n, text in enumerate(several)
    ]
    workspace = Workspace(tmp_path / "work")
    found = Reporter(workspace, ["bleu", "rouge"], 2, Halt(), Metrics()).measure(answers)
    again = Metrics()
    assert Reporter(workspace, ["bleu", "rouge"], 2, Halt(), again).measure(answers) == found
    assert not again.scored
    cases = {item.id: [item.values, item.skipped, digest(item.detail)] for item in found.items}
    golden("reports", "the version in evaluate/reports.py", reports.REPORTS.version, cases | {"corpus": found.corpus})
    monkeypatch.setattr(reports, "REPORTS", replace(reports.REPORTS, version=reports.REPORTS.version + 1))
    Reporter(workspace, ["bleu", "rouge"], 2, Halt(), again).measure(answers)
    workspace.close()
    assert again.scored, "scores of another version are made again"


def waves(*shape, start=0.0):
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(start + 0.7 * numbers**1.1).view(shape)


def test_attention_to_a_region(golden):
    region = torch.zeros(40, 60, dtype=torch.bool)
    region[7:21, 11:37] = True
    masks = {
        "any": grounding.token_mask(region, (4, 6)),
        "half": grounding.token_mask(region, (4, 6), coverage=0.5),
        "window": grounding.token_mask(region, (4, 6), (0.1, -0.2, 0.9, 1.2)),
    }
    ratio = grounding.ratio_map(waves(3, 24) + 1.1, waves(3, 24, start=2.0) + 1.2, 1e-8)
    cases = {name: mask.int().tolist() for name, mask in masks.items()}
    cases["boxes"] = [grounding.corners((1, 2, 3, 4), form) for form in grounding.FORMS]
    for name, values in grounding.all_measures(ratio, masks["any"], 1e-8).items():
        cases[name] = values.tolist()
    query, key = waves(1, 4, 5, 8), waves(1, 2, 5, 8, start=1.0)
    cases["last row"] = last_row(query, key, None, 0.5).flatten().tolist()
    golden("grounding", "the version in evaluate/grounding.py", grounding.GROUNDING.version, cases)


def test_the_rank_of_phrases(golden):
    rewards, inside = waves(9).round(decimals=1), torch.tensor([0, 1, 1, 0, 0, 0, 1, 0, 0], dtype=torch.bool)
    cases = {
        "some": [localisation.phrase_rank(rewards, inside), localisation.mean_rewards(rewards, inside)],
        "none": [localisation.phrase_rank(rewards, inside & False), localisation.mean_rewards(rewards, inside & False)],
        "all": localisation.phrase_rank(rewards, inside | True),
    }
    golden("localisation", "the version in evaluate/localisation.py", localisation.LOCALISATION.version, cases)


@pytest.mark.filterwarnings("error")
def test_noise_elsewhere(golden):
    rows, columns = np.mgrid[:48, :60]
    clean = (90 + 40 * np.sin(rows / 9) + 30 * np.cos(columns / 13)).astype(np.uint8)
    region = np.zeros(clean.shape, dtype=bool)
    region[8:24, 10:26] = True
    cases = {"drops": sensitivity.drops(-1.0, -2.5, -1.25)}
    for how in (Corruption("noise", 45.0), Corruption("black"), Corruption("crop"), Corruption("blur")):
        noised = corrupt(clean, region, how, seed_of("row", 0, how))
        found = sensitivity.noise_elsewhere(clean, noised, how, "row")
        cases[how.name] = [list(found.moved), found.region, digest(found.image.tobytes())]
    golden("sensitivity", "the version in evaluate/sensitivity.py", sensitivity.SENSITIVITY.version, cases)


def stored(tmp_path):
    return sorted(file.name for file in (tmp_path / "work" / "items" / "accuracy").iterdir())


KEY = "49d44777b57f6961"
"""Of the model s1's items, as it was before measures had versions: evaluations that are there already are keyed so."""


NEXT = {(accuracy, "ACCURACY"): replace(accuracy.ACCURACY, version=2), (questions, "VERSION"): 2}


@pytest.mark.parametrize("place", NEXT, ids=str)
def test_another_version_measures_again_and_asks_no_model(place, write, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(accuracy, "ACCURACY", replace(accuracy.ACCURACY, version=1))
    monkeypatch.setattr(questions, "VERSION", 1)
    path = write()
    assert run(path) == DONE
    asked, before = len(ASKED), stored(tmp_path)
    first = (tmp_path / "work" / "items" / "accuracy" / "s1.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["key"][:16] == KEY
    monkeypatch.setattr(*place, NEXT[place])
    assert run(path) == DONE
    assert len(stored(tmp_path)) == 2 * len(before), "the old ones are put aside"
    assert len(ASKED) == asked


TEXT = "Write a general description of the image."
CHOSEN = {
    "grounding": {"records": "a list of 1", "epsilon": 1e-8, "prompt_suffix": "", "generic_prompt": TEXT},
    "localisation": {"dataset": "d", "dataset_dir": "data", "reference": None},
    "sensitivity": {"dataset": "d", "corruption": "noise", "sigma": 45.0},
}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_protocol_names_the_measure_its_choices_and_its_version(name):
    options = {"records": [{}]} if name == "grounding" else {"dataset": "d"}
    first, second = (replace(MEASURES.load(name), version=version).protocol(options) for version in (1, 2))
    assert first.items() >= {"measure": name, **CHOSEN[name]}.items()
    assert first["choices"]
    assert not {"version", "options"} & first.keys(), "what was stored before there were any is found again"
    assert second == {**first, "version": 2}
