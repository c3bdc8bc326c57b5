"""Every multimodal template of the host: exact against plain forwards, or refused with a sentence before training.

docs/models.yaml says which, and docs/models.md is written from it.
"""

import json
import math
import re
import sys
from contextlib import nullcontext
from importlib.metadata import version

import pytest
import tiny
import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.mm_plugin import BasePlugin
from llamafactory.data.template import TEMPLATES
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from packaging.version import Version
from PIL import Image
from places import ROOT
from stock import Reader, Stock
from test_layouts import NOISE, NUMBERS, check
from test_numbers import as_rows, pair
from torch.testing import assert_close
from trainers import step
from transformers import AutoConfig
from transformers.models.llava import modeling_llava

from firempo_plugin.errors import UserError
from firempo_plugin.host.data.rows import RowEncoder
from firempo_plugin.host.preview.command import preview
from firempo_plugin.host.train import model_class
from firempo_plugin.host.train.model_class import refuse_class
from firempo_plugin.host.validate import validate

sys.path.append(str(ROOT))

from docs import models

ROWS = [row for row in models.rows() if Version(row.get("since", "0")) <= Version(version("llamafactory"))]
TRAINED = [row for row in ROWS if "refused" not in row]
REFUSED = [row for row in ROWS if "refused" in row]
MULTIMODAL = {name for name, template in TEMPLATES.items() if type(template.mm_plugin) is not BasePlugin}


def families(rows):
    return [pytest.param(row, family, id=family) for row in rows for family in row["tiny"]]


def templates(rows):
    named = [(row, row["tiny"][0], template) for row in rows for template in row["templates"]]
    return [pytest.param(*each, id="-".join(each[1:])) for each in named]


@pytest.fixture(autouse=True)
def own_projector(monkeypatch):
    """The host gives LLaVA's class the projector of Yi-VL for good, once it has seen such a model."""
    monkeypatch.setattr(modeling_llava, "LlavaMultiModalProjector", modeling_llava.LlavaMultiModalProjector)


@pytest.fixture(scope="module")
def pairs(demo_data, tmp_path_factory):
    """Two images, one of them with a noised twin of another size; a noised image; no image."""
    folder = tmp_path_factory.mktemp("pairs")
    scans = sorted(path for path in (demo_data / "images").glob("*.png") if "noised" not in path.name)
    sizes = {"a": (64, 64), "b": (112, 56), "wide": (96, 120)}
    images = {name: folder / f"{name}.png" for name in (*sizes, "a-")}
    for number, (name, size) in enumerate(sizes.items()):
        Image.open(scans[number]).convert("RGB").resize(size).save(images[name])
    Image.open(images["a"]).point(lambda value: (value * 7 + 90) % 256).save(images["a-"])
    a, b, noised, wide = (images[name] for name in ("a", "b", "a-", "wide"))
    return [
        pair("<image>Which side?", "Left, a mass.", "Right, a mass.", (("Left",), ("Right",)), [a], [noised]),
        pair(
            "Look: <image>or <image>here?", "It grew.", "It shrank.", (("grew",), ("shrank",)), [a, b], [noised, wide]
        ),
        pair("Is iodine a contrast agent?", "Yes, it is.", "Yes, it is not.", ((), ("not",)), weight=2.0),
    ]


def test_every_template_is_decided():
    """A new one of the host's fails here until docs/models.yaml says what becomes of it."""
    assert {name for row in ROWS for name in row["templates"]} == MULTIMODAL
    for row in ROWS:
        assert {type(TEMPLATES[name].mm_plugin).__name__ for name in row["templates"]} == {row["plugin"]}
    assert all(type(template.mm_plugin).__module__ == BasePlugin.__module__ for template in TEMPLATES.values())


@pytest.mark.parametrize(("row", "family"), families(TRAINED))
def test_it_is_exact(row, family, pairs, checkpoint, adapter, trainer_and_batch, write_dataset):
    """Loss, terms and gradients, of rows with and without images together, and of text alone."""
    assert AutoConfig.from_pretrained(checkpoint(family)).model_type == row["type"]
    assert tiny.TEMPLATES[family] == row["templates"][0]
    stock = Stock(family, row["templates"][0], checkpoint(family), adapter(family))
    for each in pairs[1:]:
        assert not stock.sees_what_follows(each.question, each.chosen, each.images), "the class itself would leak"
    folder = write_dataset(as_rows(pairs))
    trainer, batch = trainer_and_batch(
        family, "pairs", dataset_dir=folder, adapter=adapter(family), pass_tokens=1, **NUMBERS
    )
    branches = any(each.end is not None for each in batch.passes)
    assert row["path"] == ("trees" if branches else "images" if trainer.data_collator.share_images else "plain")
    text = trainer.data_collator([trainer.train_dataset[2]])["batch"]
    for shown, made in ((pairs, batch), (pairs[2:], text)):
        loss, terms = stock.batch(shown, "fire_mpo", alpha=0.2, gamma=0.7, lam=0.3)
        weights = stock.model.get_parameter
        gradients = {
            name: torch.zeros_like(weights(name)) if gradient is None else gradient
            for name, gradient in stock.gradients(loss).items()
        }
        check(step(trainer, made), (loss.detach(), gradients), NOISE.get(family, 1e-5))
        found = trainer._train_means.take()
        for name, value in terms.items():
            assert_close(found[f"terms/{name}"], value, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("row", "family"), families([row for row in TRAINED if row["path"] == "plain"]))
def test_the_stock_command_trains_it(row, family, train):
    """Those whose families no other run of the tests has."""
    first, *_ = train(family, lora_target="all", max_steps=1)
    assert math.isfinite(first["loss"])
    assert math.isfinite(first["grad_norm"])
    assert first["grad_norm"] > 0


def encoder_of(template, checkpoint):
    """What encodes the rows of a run under a template."""
    tokens = load_tokenizer(ModelArguments(model_name_or_path=str(checkpoint)))
    host = get_template_and_fix_tokenizer(tokens["tokenizer"], DataArguments(template=template))
    return RowEncoder(host, **tokens, cutoff_len=4096, media_dir="", code=f"{template} {checkpoint}", media="")


def aligned(row):
    """A pair as the host aligns it."""
    kinds = ("chosen_spans", "rejected_spans", "chosen_weights", "rejected_weights", "weight")
    return {
        "_prompt": [{"role": "user", "content": row.question}],
        "_response": [{"role": "assistant", "content": text} for text in (row.chosen, row.rejected)],
        "_images": row.images,
        "_rejected_images": row.rejected_images,
        "_system": "",
        "_tools": "",
        "_fire": json.dumps({"dataset": "", "row": 0, "problem": "", **{kind: vars(row)[kind] for kind in kinds}}),
    }


@pytest.mark.parametrize(("row", "family", "template"), templates(TRAINED))
def test_its_tokens_are_those_of_the_models_own_processor(row, family, template, pairs, checkpoint):
    """As many tokens of each image, the same words, and the phrases where they are."""
    reader, encode = Reader(family, template, checkpoint(family)), encoder_of(template, checkpoint(family))
    for each in pairs:
        found = encode(aligned(each))
        assert found["problem"] == ""
        sides = {"chosen": (each.chosen, each.chosen_spans), "rejected": (each.rejected, each.rejected_spans)}
        for side, (text, spans) in sides.items():
            inputs, start, offsets = reader.sequence(each.question, text, each.images)
            assert found["prompt_ids"] + found[f"{side}_ids"] == inputs["input_ids"][0].tolist()
            assert len(found["prompt_ids"]) == start
            phrase = [n for n, (a, b) in enumerate(offsets) if any(a < e and s < b for s, e in spans)]
            assert found[f"{side}_phrase"] == phrase
        if each.rejected_images:
            inputs, start, _ = reader.sequence(each.question, each.chosen, each.rejected_images)
            assert found["noised_prompt_ids"] == inputs["input_ids"][0, :start].tolist()


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["type"])
def test_it_is_refused(row, trusted, tmp_path):
    """Before a tokenizer is loaded, and before any code of the model's folder is run."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": row["type"], **row.get("config", {})}))
    model_args = ModelArguments(model_name_or_path=str(tmp_path), trust_remote_code=trusted)
    for template in row["templates"]:
        with pytest.raises(UserError, match=re.escape(row["refused"])):
            refuse_class(model_args, DataArguments(template=template))


@pytest.mark.parametrize("part", ["AutoConfig", "AutoModelForImageTextToText"])
def test_a_class_of_transformers_is_taken_where_code_of_its_own_is_not_trusted(part, tmp_path):
    config = {"model_type": "llava", "auto_map": {part: "of_its_own.Part"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    refuse_class(ModelArguments(model_name_or_path=str(tmp_path)), DataArguments(template="llava"))
    model_args = ModelArguments(model_name_or_path=str(tmp_path), trust_remote_code=True)
    with pytest.raises(UserError, match=r"Write `trust_remote_code: false`: transformers has llava itself\.$"):
        refuse_class(model_args, DataArguments(template="llava"))
    refuse_class(model_args, DataArguments(template="qwen3"))


def test_what_was_compared_is_in_the_table():
    assert sorted(model_class.COMPARED) == sorted({row["type"] for row in models.rows() if "refused" not in row})


@pytest.mark.parametrize(
    ("config", "template", "told"),
    [
        ({"model_type": "idefics3"}, "qwen2_vl", "idefics3 was never compared with plain forwards here"),
        ({"model_type": "gemma3n_text"}, "gemma", "gemma3n_text hands keys and values"),
        ({"architectures": ["Any"]}, "qwen2_vl", "has no config.json that names a model_type"),
        (None, "qwen2_vl", "has no config.json that names a model_type"),
        ("{", "qwen2_vl", "cannot be read: It looks like the config file at"),
        ("{", "qwen3", "cannot be read: It looks like the config file at"),
        ({"model_type": "qwen2"}, "qwen2_vl", ""),
        ({"model_type": "gemma3_text", "auto_map": None}, "gemma3", ""),
        ({"model_type": "baichuan", "auto_map": {"AutoConfig": "a.B"}}, "baichuan2", ""),
    ],
)
def test_a_class_is_refused_by_what_its_folder_says(config, template, told, tmp_path):
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    model_args = ModelArguments(model_name_or_path=str(tmp_path), trust_remote_code=True)
    with pytest.raises(UserError, match=f"{tmp_path}.* ?{re.escape(told)}") if told else nullcontext():
        refuse_class(model_args, DataArguments(template=template))


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"^model_name_or_path: \./not/there cannot be read: "):
        refuse_class(ModelArguments(model_name_or_path="./not/there"), DataArguments(template="qwen2_vl"))


def test_a_check_of_rows_refuses_it_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lfm2_vl"}))
    (tmp_path / "train.yaml").write_text(
        f"stage: fire_mpo\ndo_train: true\nfinetuning_type: lora\ndataset: there_is_none\ntemplate: lfm2_vl\n"
        f"model_name_or_path: {tmp_path}\n"
    )
    with pytest.raises(UserError, match=r"lfm2_vl reads an image"):
        validate(str(tmp_path / "train.yaml"), [], None)
    with pytest.raises(UserError, match=r"lfm2_vl reads an image"):
        preview(str(tmp_path / "train.yaml"), [], tmp_path / "page.html", None)


def test_the_stage_asks_before_it_reads_anything(train, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lfm2_vl"}))
    with pytest.raises(UserError, match=r"lfm2_vl reads an image .* docs/models\.md lists those that were checked\.$"):
        train(model_name_or_path=str(tmp_path), template="lfm2_vl", dataset="there_is_none")


def test_the_page_says_what_was_seen():
    stands = models.PAGE.read_text(encoding="utf-8")
    assert stands == models.page(stands), (
        "docs/models.yaml says otherwise: run `make docs`, and look at what it changes"
    )
