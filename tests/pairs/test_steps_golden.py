"""What the steps of a build make of fixed inputs: it changes with their versions only, by which a store keeps it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from golden import digest
from PIL import Image
from pyarrow.parquet import read_table

from firempo_plugin.answers import questions, vocabulary
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.images.settings import NoiseConfig
from firempo_plugin.pairs.config import BuildConfig, load
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.scores.rouge_l import ROUGE_L
from firempo_plugin.pairs.segmenters.box import BoxSegmenter
from firempo_plugin.pairs.segmenters.file import FileSegmenter
from firempo_plugin.pairs.steps.edit import EditStep
from firempo_plugin.pairs.steps.label import LabelStep
from firempo_plugin.pairs.steps.noise import NoiseStep
from firempo_plugin.pairs.steps.priors import PriorStep
from firempo_plugin.pairs.steps.rank import RankStep
from firempo_plugin.pairs.steps.segment import SegmentStep
from firempo_plugin.pairs.steps.spans import SpansStep
from firempo_plugin.pairs.steps.target import TargetStep
from firempo_plugin.records import Edit, Record, Region, RejectedError, Segmentation, Target
from firempo_plugin.respond.read import ReadStep
from firempo_plugin.respond.respond import RespondStep
from firempo_plugin.store.engine import Item
from firempo_plugin.store.workspace import Workspace

QUESTIONS = json.loads((Path(__file__).parents[1] / "golden" / "questions.json").read_text(encoding="utf-8"))
"""Question, ground truth, response; then, where they are others, kind and language."""
COLOURS = ("RGB", "RGBA")
EXPORTS = 1
"""Raised when the rows of an export change."""
MASK = np.zeros((40, 48), dtype=bool)
MASK[8:24, 10:34] = True


def record(number, question, truth, response, kind="vqa", language="en", **more):
    return Record(f"r{number}", (), question, truth, kind, language, response=response, **more)


RECORDS = [record(number, *fields) for number, fields in enumerate(QUESTIONS)]


def pixels(colours):
    rows, columns, colour = np.ogrid[:40, :48, :3]
    levels = np.uint8(127 + 110 * np.sin(rows * 0.31 + columns * 0.17 + colour * (1.3 if colours else 0)))
    return levels if colours else levels[..., 0]


@pytest.fixture
def workspace(tmp_path):
    found = Workspace(tmp_path / "work")
    yield found
    found.close()


@pytest.fixture
def config(tmp_path):
    """Returns a function from sections to a build's configuration."""

    def make(**sections) -> BuildConfig:
        options = {"file": "rows.jsonl", "columns": {"id": "id", "question": "q", "truth": "t"}}
        path = tmp_path / "build.yaml"
        source = {"name": "table", "options": options}
        path.write_text(yaml.safe_dump({"workspace": str(tmp_path / "work"), "source": source, **sections}))
        return load(path, [])

    return make


def made(step, item):
    """What a step makes of an item, or why it makes nothing."""
    try:
        return step.run(item)
    except RejectedError as reason:
        return str(reason)


def test_the_edits_of_the_rules(config, golden):
    """And the words that they know: a changed vocabulary may change any of their verdicts."""
    step = EditStep(config(), None)
    cases = {"vocabulary": digest(yaml.safe_load(Path(vocabulary.__file__).with_suffix(".yaml").read_text("utf-8")))}
    for each in RECORDS:
        edit = made(step, Item(each, response=each.response))
        said = edit if isinstance(edit, str) else [edit["was_correct"], *_difference(edit), digest(edit)]
        cases[f"{each.question} [{each.truth}] {each.response}"] = said
    where = "VERSION of answers/questions.py (or `version` of EditStep, where the contract has changed)"
    golden("edits", where, [EditStep.version, questions.VERSION], cases)


def _difference(edit):
    """The words of either side that the other has not."""
    sides = [edit[side].split() for side in ("chosen", "rejected")]
    return [" ".join(word for word in mine if word not in others) for mine, others in (sides, sides[::-1])]


def test_the_targets_of_the_rules(config, golden):
    step = TargetStep(config(), None)
    cases = {}
    for each in RECORDS:
        target = made(step, Item(each, edit=Edit("", "", True, each.response, "rules")))
        cases.setdefault(f"{each.question} [{each.truth}]", [target["phrase"], target["reason"]])
    golden("targets", "`version` of TargetStep", TargetStep.version, cases)


def edited(config):
    """Every record that the rules make a pair of, by what the golden files call it."""
    step = EditStep(config(), None)
    for each in RECORDS:
        edit = made(step, Item(each, response=each.response))
        if not isinstance(edit, str):
            yield f"{each.question} [{each.truth}] {each.response}", Item(each, edit=Edit(**edit))


def test_the_kinds_of_errors(config, golden):
    step = LabelStep(config(label={"by": "rules"}), None)
    cases = {name: step.run(item)["error_type"] for name, item in edited(config)}
    golden("labels", "`version` of LabelStep", LabelStep.version, cases)


def test_the_best_and_the_worst_response(config, golden):
    step = RankStep(config(edit={"how": "best_worst"}, respond={"samples": 3, "file": "said.jsonl"}), None)
    cases = {}
    for number, each in enumerate(RECORDS[:12]):
        said = tuple(other.response for other in RECORDS[number : number + 3])
        ranked = made(step, Item(each, responses=said))
        cases[f"{each.truth} {said}"] = (
            ranked if isinstance(ranked, str) else [ranked["scores"], digest(ranked["edit"])]
        )
    golden("ranked", "`revision` of RougeL (or `version` of RankStep)", [RankStep.version, ROUGE_L.revision], cases)


PRIORS = (
    "Stable cardiomegaly. No effusion.",
    "The heart is enlarged, unchanged from the prior study. The mediastinum is stable.\n\nNo change in the effusion.",
    "There is an unchanged opacity. The lungs remain clear. Clips are again noted.",
    "Compared with the previous study, there is a small effusion. 1. Stable cardiomegaly.",
    "There is a new effusion.",
    "Degenerative changes of the spine.",
)


def test_reports_without_references_to_earlier_ones(config, golden):
    judge = {"judge": "endpoint", "endpoint": {"base_url": JUDGED.base_url, "model": JUDGED.model}}
    rules, judged = (PriorStep(config(edit={"how": "priors", **more}), None) for more in ({}, judge))
    cases = {}
    for report in PRIORS:
        item = Item(record(0, "Write a report.", "", report, "report"), response=report)
        edit, request = made(rules, item), judged.request(item)
        cases[report] = edit if isinstance(edit, str) else edit["chosen"]
        cases |= {f"asked of {report}": digest(request.payload(JUDGED))} if request else {}
    golden("priors", "`version` of PriorStep", PriorStep.version, cases)


def test_the_sentences_that_are_marked(config, golden):
    step = SpansStep(config(spans={"of": "sentences"}), None)
    endpoint = {"base_url": JUDGED.base_url, "model": JUDGED.model}
    judged = SpansStep(config(spans={"of": "sentences", "by": "judge"}, edit={"endpoint": endpoint}), None)
    cases = {}
    for name, item in edited(config):
        spans = made(step, item)
        cases[name] = spans if isinstance(spans, str) else [spans["chosen"], spans["rejected"]]
        asked = [digest(request.payload(JUDGED)) for request in judged.requests(item).values()]
        cases |= {f"asked of {name}": asked} if asked else {}
    golden("sentences", "`version` of SpansStep", [SpansStep.version, questions.VERSION], cases)


JUDGED = EndpointSettings(base_url="http://localhost:1/v1", model="judge", max_tokens=1024)
REPLY = {
    "answer_sentence": "The left lung is opaque.",
    "final_answer": "left",
    "is_correct": False,
    "edited_sentence": "The right lung is opaque.",
}
REPLIES = {
    "accepted": json.dumps(REPLY),
    "in a fence": f"```json\n{json.dumps(REPLY)}\n```",
    "no JSON": "It is wrong.",
    "another sentence": json.dumps(REPLY | {"answer_sentence": "The lung is opaque."}),
    "no edit": json.dumps(REPLY | {"edited_sentence": REPLY["answer_sentence"]}),
    "other words": json.dumps(REPLY | {"edited_sentence": "Something else entirely is what the picture shows us."}),
    "not the truth": json.dumps(REPLY | {"edited_sentence": "The upper lung is opaque."}),
}


def test_what_is_asked_of_models_and_taken_of_their_replies(config, golden, tmp_path):
    asked = []
    endpoint = {"base_url": JUDGED.base_url, "model": JUDGED.model}
    judged = config(
        edit={"judge": "endpoint", "rules_first": False, "endpoint": endpoint},
        target={"by": "judge"},
        respond={"backend": "endpoint", "endpoint": endpoint, "system": "You are a radiologist."},
    )
    each = record(0, "Which lung is opaque?", "Right", "The left lung is opaque.")
    cases = {}
    for name, reply in REPLIES.items():
        step = EditStep(judged, lambda request, reply=reply: asked.append(request) or reply)
        cases[name] = made(step, Item(each, response=each.response))
    report = record(1, "Write a report.", "No effusion.", "There is an effusion.", "report")
    asked.append(EditStep(judged, lambda _: "").request(Item(report, response=report.response)))
    for reply in ("left lung", '{"target": "Left Lung"}', "none", "It is the lung.", "a b c d e f g", "lung; heart"):
        target = TargetStep(judged, lambda request, reply=reply: asked.append(request) or reply)
        cases[f"target {reply}"] = made(target, Item(each, edit=Edit("", "", False, "left", "judge")))
    for said in ("  Left. ", "<think>Hm.</think> Left.", "", "Left <image>.", "<think>Hm."):
        step = RespondStep(judged.respond, lambda request, said=said: asked.append(request) or said, None)
        cases[f"response {said}"] = made(step, Item(each))
    cases["requests"] = sorted({digest(request.payload(JUDGED)) for request in asked})
    versions = [EditStep.version, TargetStep.version, RespondStep.version]
    golden("asked", "`version` of EditStep, TargetStep or RespondStep", versions, cases)


def test_how_images_are_read(config, workspace, golden, tmp_path):
    images = {"grey.png": "L", "colour.png": "RGB", "palette.png": "P", "alpha.png": "RGBA", "two.png": "1"}
    deep = Image.fromarray(np.uint16(pixels(False)) * 200)
    files = {name: Image.fromarray(pixels(mode in COLOURS)).convert(mode) for name, mode in images.items()}
    files["deep.png"] = deep
    step = ReadStep(config(source={"name": "table", "options": {}, "window": [25000, 40000]}).source, workspace)
    cases = {}
    for name, image in files.items():
        image.save(tmp_path / name)
        read = made(step, Item(Record("r", (str(tmp_path / name),), "Is it?", "Yes")))
        with Image.open(workspace.folder / read["images"][0]) as seen:
            cases[name] = [seen.mode, digest(seen.tobytes()), name in read["images"][0]]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    for name, question in {"broken.png": "Is it?", "grey.png": "Is <video> it?"}.items():
        reason = made(step, Item(Record("r", (str(tmp_path / name),), question, "Yes")))
        cases[f"{name} {question}"] = reason.replace(str(tmp_path), "")[:40]
    golden("read", "`version` of ReadStep", ReadStep.version, cases)


NOISES = {
    "noise": {},
    "other sigma": {"sigma": 20.0},
    "shared": {"shared": True},
    "whole": {"whole_image": True},
    "crop": {"corruption": "crop"},
    "black": {"corruption": "black"},
    "blur": {"corruption": "blur"},
    "resized crop": {"corruption": "resized_crop"},
    "diffusion": {"corruption": "diffusion"},
    "diffusion, other step": {"corruption": "diffusion", "options": {"step": 700}},
    "pixels": {"corruption": "pixels"},
    "blocks": {"corruption": "blocks", "options": {"side": 5}},
    "replace": {"corruption": "replace"},
}


@pytest.mark.parametrize("colours", [False, True], ids=["grey", "colour"])
def test_the_noised_images(colours, workspace, golden, tmp_path):
    """In a mask, and, of one corruption, where nothing was found or looked for."""
    clean, mask = tmp_path / "clean.png", tmp_path / "mask.png"
    Image.fromarray(pixels(colours)).save(clean)
    Image.fromarray(np.uint8(MASK) * 255).save(mask)
    found = Segmentation(str(mask), (), (), "box")
    base = Item(
        Record("r", (str(clean),), "Q", "T"),
        images=(str(clean),),
        image_ids=("id",),
        target=Target("lung", ""),
        segmentations=(found,),
    )
    items = {
        "": base,
        " not found": replace(base, segmentations=(replace(found, mask=None),)),
        " no target": replace(base, target=Target(None, "")),
        " report": replace(base, record=replace(base.record, kind="report")),
    }
    cases = {}
    for name, settings in NOISES.items():
        step = NoiseStep(NoiseConfig(**settings), workspace, located=True)
        for situation, item in items.items() if name == "noise" else [("", base)]:
            outcome = step.run(item)
            noised = np.asarray(Image.open(workspace.folder / outcome["images"][0]["file"]))
            level = round(float(noised[MASK].mean()), 1)
            made_by = [outcome[key] for key in ("path", "sigma", "corruption")]
            cases[name + situation] = [*made_by, list(noised.shape), level, digest(noised.tobytes())]
    golden(f"noise_{'colour' if colours else 'grey'}", "`version` of NoiseStep", NoiseStep.version, cases)


REGIONS = (
    Region("Lung_Left", box=(3.2, 4.0, 20.5, 30.0)),
    Region("right lung", box=(25, 4.6, 44, 29.3)),
    Region("heart", mask="heart.png"),
)
PHRASES = ("lung", "left lung", "right lungs", "heart", "liver", "left lung nodule")


@pytest.mark.parametrize(("by", "kind"), [("box", BoxSegmenter), ("file", FileSegmenter)])
def test_the_regions_of_boxes_and_mask_files(by, kind, config, workspace, golden, tmp_path):
    (tmp_path / "masks").mkdir()
    image = tmp_path / "scan.png"
    Image.fromarray(pixels(False)).save(image)
    for file in (tmp_path / "heart.png", tmp_path / "masks" / "scan_left+lung.png"):
        Image.fromarray(np.uint8(MASK) * 255).save(file)
    regions = tuple(replace(each, mask=each.mask and str(tmp_path / each.mask)) for each in REGIONS)
    options = {"folder": str(tmp_path / "masks")} if by == "file" else {}
    step = SegmentStep(config(segment={"by": by, "options": options}), workspace)
    source = Record("r", (str(image),), "Q", "T", regions=regions)
    cases = {}
    for phrase in PHRASES:
        (found,) = step.run(Item(source, images=source.images, image_ids=("id",), target=Target(phrase, "")))[
            "segmentations"
        ]
        mask = None if found["mask"] is None else np.asarray(Image.open(workspace.folder / found["mask"])) > 0
        seen = None if mask is None else [int(mask.sum()), digest(mask.tobytes())]
        cases[phrase] = [found["boxes"], found["scores"], seen]
    where = f"`revision` of {kind.__name__} (or `version` of SegmentStep)"
    golden(f"regions_{by}", where, [SegmentStep.version, kind.revision], cases)


@pytest.mark.parametrize("name", ["llamafactory", "swift", "trl"])
def test_the_rows_of_an_export(name, golden, tmp_path):
    """No store keeps them, but those who read them should hear of a change."""
    for file in ("clean.png", "noised.png"):
        Image.fromarray(pixels(False) // (1 if file == "clean.png" else 2)).save(tmp_path / file)
    images = {"images": (str(tmp_path / "clean.png"),), "rejected_images": (str(tmp_path / "noised.png"),)}
    texts = {"chosen": "The left lung is opaque.", "rejected": "The right lung is opaque."}
    spans = {"chosen_spans": ((4, 8),), "rejected_spans": ((4, 9),)}
    pair = Pair("a", "Which lung?", **texts, **spans, **images, weight=2.0, target="lung", noise_path="lesion")
    pairs = [pair, replace(pair, id="b", images=(), rejected_images=(), weight=None, noise_path=None)]
    file = export(name, pairs, tmp_path / "export", name="lungs", root=tmp_path).files[0]
    written = str(read_table(file).to_pylist()) if file.suffix == ".parquet" else file.read_text("utf-8")
    written = re.sub("[0-9a-f]{32}", "DIGEST", written)  # of PNG files, which differ between libraries
    golden(f"export_{name}", "EXPORTS of this test", EXPORTS, {"rows": written.replace(str(tmp_path), "")})
