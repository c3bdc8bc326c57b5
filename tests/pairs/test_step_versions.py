"""A raised version makes a step again and what depends on it, and nothing is paid twice; old builds go on."""

import hashlib
import json
from dataclasses import dataclass, replace
from inspect import isabstract
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from pairs_building import with_pairs
from pairs_server import PairsServer, well
from PIL import Image

from firempo_plugin.answers import questions
from firempo_plugin.evaluate.answers import AnswerStep
from firempo_plugin.images.masks import NOTHING, MaskCache
from firempo_plugin.images.pixels import content_id
from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.config import load
from firempo_plugin.pairs.segmenters.box import BoxSegmenter
from firempo_plugin.pairs.segmenters.segmenter import Request, Segmenter, find
from firempo_plugin.pairs.steps import edit, label, noise, priors, rank, segment, spans, target
from firempo_plugin.pairs.steps.similar import SimilarStep
from firempo_plugin.records import Edit, Record, Region, Target
from firempo_plugin.respond import read, respond
from firempo_plugin.store.engine import Item, Step
from firempo_plugin.store.workspace import Workspace

QUESTIONS = [
    ("Is there a pleural effusion?", "Yes", "Yes, there is a pleural effusion."),
    ("Is the heart enlarged?", "Yes", "No, the heart is not enlarged."),
    ("What disease does the patient have?", "Sarcoidosis", "The patient suffers from old age."),
]
JUDGED = {
    "answer_sentence": "The patient suffers from old age.",
    "final_answer": "old age",
    "is_correct": False,
    "edited_sentence": "The patient suffers from sarcoidosis.",
}
CLASSES = {
    "read": read.ReadStep,
    "respond": respond.RespondStep,
    "edit": edit.EditStep,
    "target": target.TargetStep,
    "segment": segment.SegmentStep,
    "noise": noise.NoiseStep,
}
STEPS = ("read", "respond", "edit", "target", "segment", "noise")
NONE = dict.fromkeys(STEPS, 0)
ALL = len(QUESTIONS)


def answer(call):
    """The response of a question, or, where the judge is asked, its reply to the last one."""
    if "response_format" in call.body or "old age" in call.text:
        return well(json.dumps(JUDGED))
    return well(next(response for question, _, response in QUESTIONS if question in call.text))


@pytest.fixture
def build(tmp_path):
    """Returns a function that takes the records through all steps and says how often each was made; and the server."""
    images = tmp_path / "images"
    images.mkdir()
    rows = []
    for number, (question, truth, _) in enumerate(QUESTIONS):
        level = np.random.default_rng(number).integers(0, 200, (32, 40), dtype=np.uint8)
        Image.fromarray(level).save(images / f"{number}.png")
        rows.append({"id": number, "image": f"{number}.png", "question": question, "answer": truth})
    boxes = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 32, "width": 40} for n in range(ALL)],
        "categories": [{"id": 0, "name": "heart"}],
        "annotations": [{"image_id": n, "category_id": 0, "bbox": [4, 4, 9, 9]} for n in range(ALL)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(boxes))
    with PairsServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "tiny"}
        columns = {"id": "id", "image": "image", "question": "question", "truth": "answer"}
        options = {"file": str(tmp_path / "rows.jsonl"), "image_root": str(images), "columns": columns}
        config: dict[str, Any] = {
            "workspace": str(tmp_path / "work"),
            "source": {"name": "table", "options": options},
            "respond": {"backend": "endpoint", "endpoint": endpoint},
            "edit": {"judge": "endpoint", "max_words": 6, "endpoint": endpoint},
            "segment": {"by": "box", "options": {"coco": str(tmp_path / "coco.json"), "folder": str(images)}},
        }

        def made(*overrides):
            (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
            (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
            settings = load(tmp_path / "build.yaml", list(overrides))
            workspace = Workspace(tmp_path / "work")
            try:
                made.progress = with_pairs(run(settings, workspace))
            finally:
                workspace.close()
            return {name: step.made for name, step in made.progress.steps.items()}

        made.server, made.rows, made.images = server, rows, images
        yield made


def test_every_step_has_a_version_of_its_own():
    steps = [kind for kind in all_steps(Step) if kind.__module__.startswith("firempo_plugin.")]
    own = [kind for kind in steps if not isabstract(kind)]
    others = {rank.RankStep, priors.PriorStep, SimilarStep, label.LabelStep, spans.SpansStep, AnswerStep}
    assert {*CLASSES.values(), *others} == set(own)
    assert [kind for kind in own if "version" not in vars(kind)] == []


def all_steps(kind):
    return [each for below in kind.__subclasses__() for each in (below, *all_steps(below))]


@pytest.mark.parametrize("name", STEPS)
def test_a_raised_version_makes_that_step_again_and_asks_nobody(build, monkeypatch, name):
    assert build() == dict.fromkeys(STEPS, ALL)
    calls = len(build.server.calls)
    assert calls == ALL + 1
    pairs = [replace(pair, rejected_images=()) for pair in build.progress.pairs]
    monkeypatch.setattr(CLASSES[name], "version", CLASSES[name].version + 1)
    assert build() == NONE | {name: ALL}, "the others' inputs are the same"
    assert len(build.server.calls) == calls
    assert [replace(pair, rejected_images=()) for pair in build.progress.pairs] == pairs
    assert build() == NONE


def test_what_depends_on_it_is_made_again_where_it_comes_out_otherwise(build, monkeypatch):
    build()
    calls = len(build.server.calls)
    monkeypatch.setattr(target, "rule_target", lambda *_: Target("liver", "another rule"))
    assert build() == NONE, "the same version: what was made stays, which is why the golden outputs are kept"
    monkeypatch.setattr(target.TargetStep, "version", target.TargetStep.version + 1)
    assert build() == NONE | {"target": ALL, "segment": ALL, "noise": ALL}
    assert {pair.target for pair in build.progress.pairs} == {"liver"}
    assert len(build.server.calls) == calls


def test_other_rules_judge_again_what_they_decide_and_no_more(build, monkeypatch):
    build()
    build("edit.rules_first=false")
    calls = len(build.server.calls)
    monkeypatch.setattr(questions, "VERSION", questions.VERSION + 1)
    assert build("edit.rules_first=false") == NONE, "the rules were not asked"
    assert build() == NONE | {"edit": ALL}
    assert len(build.server.calls) == calls


def test_shared_noise_of_another_version_has_another_file(build, monkeypatch):
    monkeypatch.setattr(noise.NoiseStep, "version", 1)
    build("noise.shared=true")
    before = {pair.rejected_images for pair in build.progress.pairs}
    image = build.images / "2.png"
    made_of = json.dumps([content_id(image), "no_target", {"name": "noise", "sigma": 45.0}, None])
    known = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    assert known in {Path(file).stem for (file,) in before}, "as it was before there were options"
    monkeypatch.setattr(noise.NoiseStep, "version", 2)
    build("noise.shared=true")
    assert not before & {pair.rejected_images for pair in build.progress.pairs}, "marks of a review know it by its name"


@pytest.mark.parametrize("shared", ["true", "false"])
def test_another_option_of_a_corruption_makes_other_images_and_the_first_are_found_again(build, shared):
    how = ["noise.corruption=diffusion", "noise.whole_image=true", f"noise.shared={shared}"]
    build(*how)
    first = {pair.rejected_images for pair in build.progress.pairs}
    assert build(*how, "noise.options.step=700") == NONE | {"noise": ALL}
    other = {pair.rejected_images for pair in build.progress.pairs}
    assert not first & other
    assert len({Path(file).read_bytes() for (file,) in first | other}) == 2 * ALL
    assert build(*how) == NONE
    assert {pair.rejected_images for pair in build.progress.pairs} == first


def test_a_segmenter_of_another_revision_looks_again(build, monkeypatch):
    build()
    monkeypatch.setattr(BoxSegmenter, "revision", 2)
    assert build() == NONE | {"segment": 2}, "the third question has no target"


def test_masks_in_the_cache_are_of_a_revision(tmp_path, monkeypatch):
    asked = []

    @dataclass(frozen=True)
    class Slow(Segmenter):
        name: ClassVar[str] = "slow"
        cached: ClassVar[bool] = True

        def settings(self):
            return {}

        def segment(self, image_path, image, phrase, regions=()):
            asked.append(phrase)
            return NOTHING

    request = Request("a.png", np.zeros((4, 4), np.uint8), "lung")
    for _ in range(2):
        find(Slow(), MaskCache(tmp_path), [request])
    assert len(asked) == 1
    monkeypatch.setattr(Slow, "revision", 2)
    find(Slow(), MaskCache(tmp_path), [request])
    assert len(asked) == 2


def test_a_question_without_its_placeholder_is_read(build):
    question = build.rows[0]["question"]
    build.rows[0]["question"] = f"<mask>{question}"
    build()
    assert "placeholder in the question" in build.progress.steps["read"].rejected.first["table:0"]
    build.rows[0]["question"] = question
    build()
    assert not build.progress.steps["read"].rejected.first


def test_an_image_of_another_name_is_looked_up_by_that(build):
    build()
    assert any(pair.masks[0] for pair in build.progress.pairs)
    for row in build.rows:
        (build.images / row["image"]).rename(build.images / f"other_{row['image']}")
        row["image"] = f"other_{row['image']}"
        (build.images / f"{row['id']}.png").write_bytes(b"so that the file of boxes fits the folder")
    made = build()
    assert (made["segment"], made["noise"]) == (2, 1), "two have a target, and one of them had a mask"
    assert not any(mask for pair in build.progress.pairs for mask in pair.masks)


KEYS = {
    "read": "dd0822fa7397",
    "respond": "d6f3117ec90b",
    "edit": "acf7e8ce0df5",
    "target": "8547359434cb",
    "segment": "3a420977ad0b",
    "noise": "f651045e424c",
}
"""Of a fixed item, as they were before versions were counted: stores that are there already are keyed so."""


def test_outcomes_from_before_versions_are_found(tmp_path, monkeypatch):
    for kind in CLASSES.values():
        monkeypatch.setattr(kind, "version", 1)
    monkeypatch.setattr(questions, "VERSION", 1)
    record = Record("r", (), "Is it?", "Yes", regions=(Region("heart", box=(0, 0, 9, 9)),))
    item = Item(
        record,
        response="No.",
        edit=Edit("Yes.", "No.", False, "no", "rules"),
        target=Target("heart", ""),
        images=("a.png",),
        image_ids=("id",),
    )
    path = tmp_path / "build.yaml"
    by_http = {"by": "http", "options": {"url": "http://localhost:1/"}}
    source = {"name": "table", "options": {}}
    path.write_text(yaml.safe_dump({"workspace": "work", "source": source, "segment": by_http}))
    config = load(path, [])
    workspace = Workspace(tmp_path / "work")
    found = [
        read.ReadStep(config.source, workspace),
        respond.RespondStep(config.respond, None, None),
        edit.EditStep(config, None),
        target.TargetStep(config, None),
        segment.SegmentStep(config, workspace),
        noise.NoiseStep(config.noise, workspace, located=True),
    ]
    workspace.close()
    assert {step.name: step.key(item)[:12] for step in found} == KEYS
