"""What is encoded of fixed source rows changes with the version only: cached rows are keyed by it."""

import json

import numpy as np
import pytest
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from tiny import TEMPLATES
from tokenizers import Tokenizer
from transformers import Seq2SeqTrainingArguments

from firempo_plugin.host.data import rows

LEFT, RIGHT = "There is a mass in the left lung.", "There is a mass in the right lung."


def pair(chosen=LEFT, rejected=RIGHT, images=("a.png",), noised=("b.png",), question=None, **more):
    return {
        "conversations": [{"from": "human", "value": question or "<image>" * len(images) + "Where is the mass?"}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": list(images),
        "rejected_images": list(noised),
        "chosen_spans": None,
        "rejected_spans": None,
        "chosen_weights": None,
        "rejected_weights": None,
        "weight": None,
        **more,
    }


ROWS = {
    "plain": pair(),
    "spans": pair(chosen_spans=[[11, 15], [23, 27]], rejected_spans=[[11, 15]]),
    "tags": pair("A <mask>left</mask> mass.", "A <mask>right</mask> mass."),
    "inserted": pair("No mass.", "A mass."),
    "Chinese": pair("左肺有结节。", "右肺有结节。"),
    "no noised image": pair(noised=()),
    "text": pair(images=(), noised=()),
    "two images": pair(images=("a.png", "b.png"), noised=("b.png", "b.png")),
    "noised of another size": pair(noised=("wide.png",)),
    "weighted": pair(weight=2.5),
    "weighted tokens": pair(chosen_weights=[[11, 15, 3.0], [27, 31, 0.25]]),
    "weights outside": pair(rejected_weights=[[11, 99, 3.0]]),
    "long": pair(LEFT + " It is round." * 40, RIGHT + " It is round." * 40),
    "equal": pair(rejected=LEFT),
    "no phrase": pair(chosen_spans=[], rejected_spans=[]),
    "span outside": pair(chosen_spans=[[0, 99]], rejected_spans=[[0, 5]]),
    "unbalanced tag": pair("A <mask>left mass.", "A right mass."),
    "missing image": pair(images=("gone.png",)),
    "no image": pair(images=("text.png",)),
    "deep image": pair(images=("deep.png",)),
    "same images": pair(noised=("a.png",)),
    "too few noised": pair(images=("a.png", "b.png")),
    "placeholders": pair(question="Where is the mass?"),
    "special token": pair("It is <|im_end|> left.", "It is right."),
    "weight": pair(weight=-1.0),
    "phrase cut off": pair("It is round. " * 60 + "Left.", "It is round. " * 60 + "Right."),
    "long question": pair(question="<image>" + "Where is the mass? " * 60),
    "empty question": pair(images=(), noised=(), question=" "),
}


@pytest.fixture
def encoded(checkpoint, write_dataset, tmp_path):
    """Returns a function from a family to the encoded rows, byte by byte, and a function from ids to text."""

    def run(family):
        waves = np.uint8(127 + 100 * np.sin(np.arange(64 * 64).reshape(64, 64) * 0.05))
        folder = write_dataset(list(ROWS.values()))
        images = {"a.png": waves, "b.png": waves // 2, "wide.png": np.tile(waves, 2), "deep.png": np.uint16(waves) * 99}
        for name, image in images.items():
            Image.fromarray(image).save(folder / name)
        (folder / "text.png").write_text("no image")
        tokens = load_tokenizer(ModelArguments(model_name_or_path=str(checkpoint(family))))
        tokenizer = tokens["tokenizer"]
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        content["model"]["merges"] = []  # so that no word of the demo's corpus decides
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
        data = DataArguments(
            template=TEMPLATES[family],
            dataset="pairs",
            dataset_dir=str(folder),
            media_dir=str(folder),
            cutoff_len=400,
            overwrite_cache=True,
        )
        template = get_template_and_fix_tokenizer(tokenizer, data)
        training = Seq2SeqTrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[])
        found = get_dataset(template, ModelArguments(str(checkpoint(family))), data, training, "fire_mpo", **tokens)
        return found["train_dataset"], lambda ids: rows._collapse(tokenizer.decode(ids), template.mm_plugin.image_token)

    return run


@pytest.mark.parametrize("family", ["qwen3_vl", "llava"])
def test_rows_are_encoded_as_before(family, encoded, golden, tmp_path):
    found, text = encoded(family)
    cases = {}
    for name, row in zip(ROWS, found, strict=True):
        if row["problem"]:
            cases[name] = row["problem"].replace(str(tmp_path), "")[:60]
            continue
        sides = []
        for side in ("chosen", "rejected"):
            ids, places = row[f"{side}_ids"], row[f"{side}_phrase"]
            weights = {text([ids[i]]): weight for i, weight in enumerate(row[f"{side}_weights"]) if weight != 1}
            sides.append([text(ids)[:80], len(ids), text([ids[place] for place in places]), places[:1], weights])
        prompts = [text(row["prompt_ids"]), len(row["prompt_ids"]), len(row["noised_prompt_ids"])]
        prompts.append(text(row["blind_prompt_ids"]))
        cases[name] = [*prompts, *sides, row["weight"], row["truncated"]]
    golden(f"rows_{family}", "VERSION of host/data/rows.py", rows.VERSION, cases)
