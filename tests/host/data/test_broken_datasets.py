"""Datasets that must not train: each is refused before a model is loaded, with its row and its reason."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer, loader
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from transformers import Seq2SeqTrainingArguments

from firempo_plugin.host.data import dataset as dataset_module
from firempo_plugin.host.data import row_images
from firempo_plugin.host.data import rows as rows_module
from firempo_plugin.host.data.once import Once


def row(**changes):
    base = {
        "conversations": [{"from": "human", "value": "<image>Which side?"}],
        "chosen": {"from": "gpt", "value": "The left side."},
        "rejected": {"from": "gpt", "value": "The right side."},
        "images": ["clean.png"],
        "rejected_images": ["noised.png"],
    }
    return base | changes


def says(text):
    return {"from": "gpt", "value": text}


@pytest.fixture
def media(tmp_path):
    """A folder of good and odd images."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 200, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(clean).save(folder / "clean.png")
    Image.fromarray(clean).save(folder / "copy.png")
    Image.fromarray(np.clip(clean + rng.integers(1, 50, clean.shape), 0, 255).astype(np.uint8)).save(
        folder / "noised.png"
    )
    whole = (folder / "clean.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(rng.integers(0, 4095, (48, 64), dtype=np.uint16)).save(folder / "deep.png")
    return folder


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test if a model is loaded."""
    import llamafactory.model

    def load_model(*args, **kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(llamafactory.model, "load_model", load_model)


ROWS = {
    "missing image": (row(images=["gone.png"]), "images[0] = 'gone.png' does not exist"),
    "missing noised image": (row(rejected_images=["gone.png"]), "rejected_images[0] = 'gone.png' does not exist"),
    "truncated image": (row(images=["truncated.png"]), "cannot be read as an image"),
    "text as image": (row(rejected_images=["text.png"]), "cannot be read as an image"),
    "empty file": (row(images=["empty.png"]), "cannot be read as an image"),
    "16-bit image": (row(images=["deep.png"]), "more than 8 bits a channel"),
    "noised is clean": (row(rejected_images=["copy.png"]), "pixel for pixel its images"),
    "more noised images": (row(rejected_images=["noised.png", "noised.png"]), "has 2 images and images has 1"),
    "null among images": (row(rejected_images=[None]), "rejected_images[0] is empty"),
    "no placeholder": (
        row(conversations=[{"from": "human", "value": "Which side?"}]),
        "0 <image> placeholders and it has 1 images",
    ),
    "two placeholders": (
        row(conversations=[{"from": "human", "value": "<image><image>Which side?"}]),
        "2 <image> placeholders and it has 1 images",
    ),
    "placeholder in the answer": (row(chosen=says("The <image> left side.")), "holds the placeholder <image>"),
    "span outside": (row(chosen_spans=[[4, 40]]), "chosen_spans has [4, 40) outside the chosen text of 14"),
    "span reversed": (row(rejected_spans=[[8, 4]]), "rejected_spans has [8, 4) outside"),
    "no phrase": (row(chosen_spans=[], rejected_spans=[]), "neither chosen nor rejected has a phrase"),
    "equal": (row(rejected=says("The left side.")), "chosen and rejected are equal"),
    "equal but for tags": (row(rejected=says("The <mask>left</mask> side.")), "chosen and rejected are equal"),
    "white space only": (row(rejected=says("The  left side.")), "white space only"),
    "unclosed tag": (row(chosen=says("The <mask>left side.")), "<mask> of chosen is not closed"),
    "tags and spans": (row(chosen=says("The <mask>left</mask> side."), chosen_spans=[[4, 8]]), "give one of them"),
    "empty answer": (row(chosen=says("")), "the chosen response is empty"),
    "null answer": (row(chosen=says(None)), "chosen must be a message"),
    "no answer": (row(rejected=None), "rejected must be a message"),
    "empty prompt": (
        row(conversations=[{"from": "human", "value": ""}], images=[], rejected_images=[]),
        "its prompt is",
    ),
    "no turns": (row(conversations=[]), "conversations must be a list of messages"),
    "two human turns": (
        row(conversations=[{"from": "human", "value": "<image>a"}, {"from": "human", "value": "b"}]),
        "do not alternate",
    ),
    "ends with an answer": (
        row(conversations=[{"from": "human", "value": "<image>a"}, {"from": "gpt", "value": "b"}]),
        "do not alternate",
    ),
    "unknown role": (row(chosen={"from": "doctor", "value": "The left side."}), "cannot be read as sharegpt"),
    "weight zero": (row(weight=0.0), "weight must be a positive number (1e-06 to 1e+06), found 0"),
    "weight negative": (row(weight=-1.5), "weight must be a positive number (1e-06 to 1e+06), found -1.5"),
    "weight beyond float32": (row(weight=1e39), "weight must be a positive number (1e-06 to 1e+06)"),
    "equal after normalisation": (
        row(chosen=says("The café."), rejected=says("The cafe\u0301.")),
        "have the same tokens",
    ),
    "end of turn in an answer": (row(chosen=says("The left side.<|im_end|>")), "holds the special token <|im_end|>"),
    "image token in the prompt": (
        row(conversations=[{"from": "human", "value": "<image>Which <|image_pad|> side?"}]),
        "the prompt holds the special token <|image_pad|>",
    ),
    "almost a tag": (row(chosen=says("The <MASK>left</MASK> side.")), "a tag is written <mask> or </mask>"),
    "prompt too long": (
        row(conversations=[{"from": "human", "value": "<image>" + "Which side? " * 400}]),
        "raise cutoff_len",
    ),
    "phrase beyond cutoff_len": (
        row(chosen=says("The same words. " * 80 + "left"), rejected=says("The same words. " * 80 + "right")),
        "cuts off every phrase of the chosen response",
    ),
}


@pytest.mark.parametrize("case", ROWS, ids=list(ROWS))
def test_a_bad_row_stops_the_run_with_its_number_and_reason(case, train, write_dataset, media, no_model):
    bad, reason = ROWS[case]
    folder = write_dataset([row(), row(), bad])
    with pytest.raises(ValueError, match="cannot be used") as caught:
        train(dataset="pairs", dataset_dir=str(folder), cutoff_len=256)
    message = str(caught.value)
    assert "pairs, row 2: " in message
    assert reason in message
    assert message.startswith("1 of 3 rows cannot be used")
    assert "fire_skip_invalid: true" in message


def test_each_row_is_judged_as_it_would_be_alone(checkpoint, write_dataset, media, tmp_path, monkeypatch):
    """Rows in an order of their own, over two processes, with what they share looked at once: as one after the other,
    with nothing known of the others."""
    rng = np.random.default_rng(1)
    for size in ((64, 48), (96, 64), (200, 120)):
        for name in ("a", "b"):
            pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(media / f"{name}{size[0]}.png")
    pixels[-1, -1] ^= 1
    Image.fromarray(pixels).save(media / "corner.png")
    pictures = [[f"a{one}.png", f"b{other}.png"] for one in (64, 96, 200) for other in (64, 96, 200)]
    pictures.append(["b200.png", "corner.png"])
    rows = [
        row(images=[clean], rejected_images=[noised], chosen=says(f"The left side, {number}."))
        for number in range(3)
        for clean, noised in pictures
    ]
    two = {"conversations": [{"from": "human", "value": "<image><image>Which side?"}]}
    rows += [row(**two, images=pair, rejected_images=pair[::-1]) for pair in pictures]
    rows += [bad for bad, _ in ROWS.values()] * 2
    whole = dict.fromkeys(name for each in rows for name in each)
    order = rng.permutation(len(rows))
    folder = write_dataset([whole | rows[number] for number in order])

    arguments = {
        "template": "qwen3_vl_nothink", "dataset": "pairs", "dataset_dir": str(folder), "media_dir": str(folder),
        "cutoff_len": 256, "overwrite_cache": True,
    }  # fmt: skip
    model_args = ModelArguments(model_name_or_path=str(checkpoint("qwen3_vl")))
    training_args = Seq2SeqTrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[])
    tokens = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokens["tokenizer"], DataArguments(**arguments))
    monkeypatch.setattr(dataset_module, "ROWS_PER_PROCESS", 2)
    monkeypatch.setattr(row_images, "STRIP", 400)
    data_args = DataArguments(**arguments, preprocessing_num_workers=2)
    together = get_dataset(template, model_args, data_args, training_args, stage="fire_mpo", **tokens)["train_dataset"]

    aligned = dataset_module.load_all(loader, ["pairs"], model_args, DataArguments(**arguments), training_args)["pairs"]
    encoder = dataset_module.row_encoder(aligned, data_args, template, **tokens)
    monkeypatch.setattr(Once, "__call__", lambda each, text, **options: each._tokenizer.encode(text, **options))
    monkeypatch.setattr(rows_module, "by_size", lambda plugin, _: plugin)
    alone = []
    for each in aligned:
        row_images._recent.clear()
        alone.append(encoder(each))
    assert together.to_list() == Dataset.from_list(alone, together.features).to_list()
    said = [each["problem"] for each in alone]
    assert sum(map(bool, said)) == 2 * len(ROWS)
    assert [order[number] >= len(rows) - 2 * len(ROWS) for number in range(len(rows))] == list(map(bool, said))


FILES = {
    "not JSON": ({"text": '[{"a": 1},'}, "pairs.json is not valid JSON"),
    "an object": ({"text": '{"a": 1}'}, "conversations"),
    "null": ({"text": "null"}, "pairs.json must hold rows"),
    "half a character": (
        {"text": json.dumps([row(chosen=says("\ud800 left"))])},
        "row 0: chosen.value holds half of a surrogate pair",
    ),
    "a number beyond 64 bits": (
        {"text": json.dumps([row(chosen_spans=[[0, 10**30]])])},
        "row 0: chosen_spans.0.1 holds 1000000000000000000000000000000",
    ),
    "misspelt key of the entry": ({"rows": [row()], "colums": {}}, "the key 'colums'; did you mean 'columns'?"),
    "ranking as text": ({"rows": [row()], "ranking": "true"}, "ranking must be true or false, found 'true'"),
    "columns null": ({"rows": [row()], "columns": [], "tags": None}, "must be an object, found"),
    "a list of lists": ({"text": "[[1], [2]]"}, "row 0: must be an object with columns"),
    "no rows": ({"text": "[]"}, "no rows"),
    "a column of two types": (
        {"rows": [row(chosen_spans=[[4, 8]]), row(chosen_spans="4-8")]},
        "row 1: chosen_spans holds text, but a list in row 0",
    ),
    "numbers and text among spans": (
        {"rows": [row(chosen_spans=[[4, 8]]), row(chosen_spans=[["4", 8]])]},
        "row 1: chosen_spans[][] holds text, but a number in row 0",
    ),
    "weights as text": ({"rows": [row(weight=1.0), row(weight="high")]}, "row 1: weight holds text"),
    "column not in the file": (
        {"rows": [row()], "columns": {"messages": "conversations", "chosen": "better", "rejected": "rejected"}},
        "chosen is in column 'better', but the file has the columns",
    ),
    "no column for chosen": (
        {"rows": [row()], "columns": {"messages": "conversations", "rejected": "rejected"}},
        "names no column for 'chosen'",
    ),
    "misspelt column kind": (
        {
            "rows": [row()],
            "columns": {
                "messages": "conversations",
                "chosen": "chosen",
                "rejected": "rejected",
                "rejected_image": "rejected_images",
            },
        },
        "Did you mean rejected_images?",
    ),
    "not a pair set": ({"rows": [row()], "ranking": False}, '"ranking": true'),
    "unknown format": ({"rows": [row()], "formatting": "chatml"}, "formatting: chatml is unknown"),
}


@pytest.mark.parametrize("case", FILES, ids=list(FILES))
def test_a_bad_file_or_entry_stops_the_run_with_its_reason(case, train, write_dataset, media, no_model):
    changes, reason = FILES[case]
    changes = dict(changes)
    folder = write_dataset(changes.pop("rows", [row()]), **changes)
    with pytest.raises(ValueError, match="pairs") as caught:
        train(dataset="pairs", dataset_dir=str(folder))
    assert reason in str(caught.value)


def test_a_bad_line_of_json_lines_is_named(train, write_dataset, media, no_model):
    folder = write_dataset([row()])
    (folder / "pairs.jsonl").write_text(json.dumps(row()) + "\n" + json.dumps(row())[:-1] + "\n")
    info = json.loads((folder / "dataset_info.json").read_text())
    info["pairs"]["file_name"] = "pairs.jsonl"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"pairs\.jsonl is not valid JSON: .*line 2"):
        train(dataset="pairs", dataset_dir=str(folder))


def test_all_bad_rows_are_named_at_once(train, write_dataset, media, no_model):
    folder = write_dataset([row(images=["gone.png"]), row(), row(weight=-1.0)])
    with pytest.raises(ValueError, match="2 of 3 rows") as caught:
        train(dataset="pairs", dataset_dir=str(folder))
    assert "row 0: images[0]" in str(caught.value)
    assert "row 2: weight" in str(caught.value)


def test_skipped_rows_are_counted_and_listed(train, write_dataset, media, tmp_path):
    folder = write_dataset([row(), row(images=["gone.png"]), row(rejected_images=[])])
    log = train(dataset="pairs", dataset_dir=str(folder), fire_skip_invalid=True)
    assert log[0]["noised_share"] == 0.5
    out = tmp_path / "out"
    assert json.loads((out / "fire_mpo.json").read_text())["rows"]["train"] | {"phrase_tokens": 0} == {
        "rows": 2,
        "skipped": 1,
        "noised": 1,
        "truncated": 0,
        "phrase_tokens": 0,
    }
    (entry,) = [json.loads(line) for line in (out / "skipped_rows.jsonl").read_text().splitlines()]
    assert entry["row"] == "pairs, row 1"
    assert "gone.png" in entry["problem"]


def test_nothing_left_after_skipping_is_refused(train, write_dataset, media, no_model):
    folder = write_dataset([row(images=["gone.png"])])
    with pytest.raises(ValueError, match="no usable row is left in the train split"):
        train(dataset="pairs", dataset_dir=str(folder), fire_skip_invalid=True)


def test_copo_refuses_rows_without_a_noised_image(train, write_dataset, media, no_model):
    folder = write_dataset([row(), row(rejected_images=None)])
    with pytest.raises(
        ValueError, match=r"row 1: it has no rejected_images, and every term of fire_objective: copo compares"
    ):
        train(dataset="pairs", dataset_dir=str(folder), fire_objective="copo")


def test_row_numbers_are_those_of_the_file_after_sampling(train, write_dataset, media, no_model):
    folder = write_dataset([*[row()] * 9, row(weight=-1.0)], num_samples=30)
    with pytest.raises(ValueError, match="pairs, row 9: weight") as caught:
        train(dataset="pairs", dataset_dir=str(folder))
    assert "pairs, row 9" in str(caught.value)
    assert "row 1:" not in str(caught.value)


def test_row_numbers_are_right_where_one_row_is_picked(train, write_dataset, media, no_model):
    """Every row is bad, so whichever is picked must be named by its own number: its weight says it."""
    folder = write_dataset([row(weight=-1.0 - number) for number in range(6)], num_samples=1)
    with pytest.raises(ValueError, match="1 of 1 row ") as caught:
        train(dataset="pairs", dataset_dir=str(folder))
    number, weight = re.search(r"row (\d+): .* found -(\d+)", str(caught.value)).groups()
    assert int(number) == int(weight) - 1


def test_a_stale_list_of_skipped_rows_goes(train, write_dataset, media, tmp_path):
    folder = write_dataset([row(), row(images=["gone.png"])])
    train(dataset="pairs", dataset_dir=str(folder), fire_skip_invalid=True)
    assert (tmp_path / "out" / "skipped_rows.jsonl").is_file()
    write_dataset([row()])
    train(dataset="pairs", dataset_dir=str(folder))
    assert not (tmp_path / "out" / "skipped_rows.jsonl").exists()


def test_an_empty_folder_of_rows_is_named(train, tmp_path, no_model):
    (tmp_path / "rows").mkdir()
    entry = {"file_name": "rows", "ranking": True, "formatting": "sharegpt"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"pairs": entry}))
    with pytest.raises(ValueError, match=r"dataset pairs: the folder .*rows is empty"):
        train(dataset="pairs", dataset_dir=str(tmp_path))
