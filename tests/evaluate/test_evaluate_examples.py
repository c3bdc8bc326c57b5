"""The examples of `firempo evaluate`, and the tasks for lmms-eval."""

import importlib.util
import json
import math

import pytest
import yaml
from PIL import Image
from places import EXAMPLES_DIR

from firempo_plugin.evaluate import accuracy
from firempo_plugin.evaluate.config import load
from firempo_plugin.settings import checked
from firempo_plugin.sources.registry import SOURCES

EVALUATIONS = sorted((EXAMPLES_DIR / "evaluate").glob("*.yaml"))
TASKS = EXAMPLES_DIR / "lmms_eval"


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.stem)
def test_an_evaluation_is_configured_as_every_part_of_it_expects(path):
    config = load(path, [])
    assert f"firempo evaluate examples/evaluate/{path.name}\n" in path.read_text(encoding="utf-8").split("workspace")[0]
    if config.source.name:
        checked(SOURCES.load(config.source.name).options, config.source.options)
    assert config.baseline in config.rows


def utils(task: str):
    """A task's functions, loaded as lmms-eval does: from the file beside the YAML."""
    spec = importlib.util.spec_from_file_location(f"{task}_utils", TASKS / task / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def task():
    """Returns a function that loads a task's YAML with its functions."""

    def make(name: str) -> dict:
        functions = utils(name)

        class Loader(yaml.SafeLoader):
            pass

        Loader.add_constructor(
            "!function", lambda loader, node: vars(functions)[loader.construct_scalar(node).removeprefix("utils.")]
        )
        return yaml.load((TASKS / name / f"{name}.yaml").read_text(encoding="utf-8"), Loader)

    return make


def scores(config, rows):
    """What lmms-eval makes of (row, answer) pairs: results by metric, aggregated."""
    results = [config["process_results"](row, [answer]) for row, answer in rows]
    found = {}
    for metric in config["metric_list"]:
        values = [result[metric["metric"]] for result in results]
        how = metric["aggregation"]
        found[metric["metric"]] = sum(values) / len(values) if how == "mean" else how(values)
    return found


def test_the_vqa_rad_task_on_real_rows(task, real):
    config = task("vqa_rad")
    rows = json.loads((real.folder / "vqa-rad" / "VQA_RAD Dataset Public.json").read_text(encoding="utf-8"))
    image = real.folder / "vqa-rad" / "VQA_RAD Image Folder" / rows[0]["image_name"]
    doc = {"image": Image.open(image), "question": rows[0]["question"], "answer": rows[0]["answer"]}
    kwargs = config["lmms_eval_specific_kwargs"]["default"]
    (message,) = config["doc_to_messages"](doc, kwargs)
    picture, text = message["content"]
    assert picture["url"].mode == "RGB"
    assert text["text"].startswith(rows[0]["question"].strip())
    assert text["text"].endswith("word or phrase.")
    docs = [{"question": row["question"], "answer": str(row["answer"])} for row in rows]
    assert set(scores(config, [(doc, f" {doc['answer'].upper()}.") for doc in docs]).values()) == {1.0}
    always = scores(config, [(doc, "Yes") for doc in docs])
    yes = sum(doc["answer"].lower() == "yes" for doc in docs)
    closed = sum(doc["answer"].strip().lower() in ("yes", "no") for doc in docs)
    assert always["vqa_rad_closed_accuracy"] == yes / closed
    assert always["vqa_rad_open_accuracy"] == 0
    assert always["vqa_rad_accuracy"] == yes / len(docs)


def test_the_task_compares_as_the_product_does():
    functions = utils("vqa_rad")
    for text in ("The left lung.", "X-Ray", " an  Aorta!", "1．5 cm", "Is 'a' the one?", "是的。", ""):
        assert functions.normalise(text) == accuracy.normalise(text)
    assert math.isnan(functions.accuracy([]))


def test_the_iu_xray_task_reads_the_layout_of_r2gen(task, real, tmp_path, monkeypatch):
    import datasets

    config = task("iu_xray")
    images = real.folder / "iu-xray" / "NLMCXR_png"
    names = [image.name for image in sorted(images.glob("*.png"))[:2]]
    row = {"id": "2", "report": "The heart is normal. No effusion.", "image_path": names, "split": "test"}
    (tmp_path / "annotation.json").write_text(json.dumps({"train": [], "val": [], "test": [row]}))
    kwargs = config["dataset_kwargs"]
    found = datasets.load_dataset(
        config["dataset_path"],
        data_files={"test": str(tmp_path / "annotation.json")},
        field=kwargs["field"],
        cache_dir=str(tmp_path / "cache"),
    )
    (doc,) = found[config["test_split"]]
    monkeypatch.setenv(utils("iu_xray").IMAGES, str(images))
    (message,) = config["doc_to_messages"](doc)
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("rouge_score", "sacrebleu")),
    reason="rouge-score and sacrebleu, which lmms-eval brings, are not installed",
)
def test_the_iu_xray_task_scores_text_overlap(task):
    truth = {"report": "The heart is normal in size. The lungs are clear."}
    assert scores(task("iu_xray"), [(truth, truth["report"])]) == pytest.approx(
        {"iu_xray_rouge_l": 1, "iu_xray_bleu": 100}
    )
    assert scores(task("iu_xray"), [(truth, "Pneumonia")])["iu_xray_rouge_l"] == 0
