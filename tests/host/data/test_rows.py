"""Encoded rows: the host's own token ids, phrases at the right tokens, all formats alike, no stale cache."""

import gc
import json
import os

import pytest
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data.template import Template
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from places import TEMPLATES_DIR
from transformers import Seq2SeqTrainingArguments

from firempo_plugin.host.data import dataset as dataset_module
from firempo_plugin.host.data import rows as rows_module

ALL = "fire_mpo_sharegpt,fire_mpo_sharegpt_spans,fire_mpo_sharegpt_mask_tags,fire_mpo_alpaca,fire_mpo_mixed"


@pytest.fixture
def encode(checkpoint, tmp_path):
    """Returns a function that encodes datasets through the host's `get_dataset`, for a stage and family."""
    import tiny

    def run(dataset, *, family="qwen3_vl", stage="fire_mpo", template=None, dataset_dir=TEMPLATES_DIR, **keys):
        model_args = ModelArguments(model_name_or_path=str(checkpoint(family)))
        keys = {"cutoff_len": 1024, "overwrite_cache": True} | keys
        data_args = DataArguments(
            template=template or tiny.TEMPLATES[family], dataset=dataset, dataset_dir=str(dataset_dir), **keys
        )
        training_args = Seq2SeqTrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[])
        tokens = load_tokenizer(model_args)
        host_template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
        module = get_dataset(host_template, model_args, data_args, training_args, stage=stage, **tokens)
        return module["train_dataset"], tokens["tokenizer"]

    return run


@pytest.mark.parametrize(
    ("family", "template"),
    [
        ("qwen3_vl", "qwen3_vl_nothink"),
        ("qwen3_vl", "qwen3_vl"),
        ("qwen2_5_vl", "qwen2_vl"),
        ("llava", "llava"),
    ],
)
def test_token_ids_are_those_of_the_hosts_own_pairwise_encoding(encode, family, template):
    names = "fire_mpo_sharegpt,fire_mpo_sharegpt_spans,fire_mpo_alpaca,fire_mpo_openai"
    ours, _ = encode(names, family=family, template=template)
    host, _ = encode(names, family=family, template=template, stage="rm")
    assert len(ours) == len(host) == 6
    for mine, theirs in zip(ours, host, strict=True):
        assert mine["problem"] == ""
        assert mine["prompt_ids"] + mine["chosen_ids"] == theirs["chosen_input_ids"]
        assert mine["prompt_ids"] + mine["rejected_ids"] == theirs["rejected_input_ids"]


def phrases(row, tokenizer, side):
    """The phrase tokens of a row, runs joined, as text."""
    text, last = [], None
    for place in row[f"{side}_phrase"]:
        piece = tokenizer.decode([row[f"{side}_ids"][place]])
        if last == place - 1:
            text[-1] += piece
        else:
            text.append(piece)
        last = place
    return [part.strip() for part in text]


@pytest.mark.parametrize("template", ["qwen3_vl_nothink", "qwen3_vl"])
def test_phrases_are_at_their_tokens(encode, template):
    """Both with a plain template and with one that puts an empty thought before the response."""
    rows, tokenizer = encode(ALL, template=template)
    found = [(phrases(row, tokenizer, "chosen"), phrases(row, tokenizer, "rejected")) for row in rows]
    assert found[0] == (["left upper"], ["right lower"])
    assert found[1] == (["No", "both", "angles are clear"], ["Yes", "the left", "angle is blunted"])
    assert found[3] == (["1.5 cm", "left"], ["4.5 cm", "right"])
    assert found[4] == (["left upper"], ["right lower"]), "inline tags"
    assert found[5] == (["left upper"], ["right lower"]), "alpaca"


def test_tagged_text_has_the_token_ids_of_the_plain_text(encode):
    rows, _ = encode("fire_mpo_sharegpt,fire_mpo_sharegpt_mask_tags")
    assert rows[0]["chosen_ids"] == rows[2]["chosen_ids"]
    assert rows[0]["rejected_ids"] == rows[2]["rejected_ids"]
    assert rows[0]["chosen_phrase"] == rows[2]["chosen_phrase"]


def test_all_formats_give_the_same_row(encode):
    rows, _ = encode("fire_mpo_sharegpt,fire_mpo_alpaca")
    same = ("prompt_ids", "chosen_ids", "rejected_ids", "chosen_phrase", "rejected_phrase", "images", "rejected_images")
    assert {key: rows[0][key] for key in same} == {key: rows[2][key] for key in same}
    (openai,), _ = encode("fire_mpo_openai")
    assert openai["chosen_ids"] == rows[0]["chosen_ids"]
    assert openai["chosen_phrase"] == rows[0]["chosen_phrase"]


def test_rows_of_every_kind_mix_in_one_set(encode):
    rows, _ = encode("fire_mpo_mixed,fire_mpo_sharegpt")
    assert [len(row["images"]) for row in rows] == [1, 1, 2, 1, 0, 1, 1]
    assert [len(row["rejected_images"]) for row in rows] == [1, 0, 2, 1, 0, 1, 1]
    assert [row["weight"] for row in rows] == [1.0, 1.0, 2.0, 1.0, 0.5, 1.0, 1.0]
    assert all((len(row["noised_prompt_ids"]) > 0) == (len(row["rejected_images"]) > 0) for row in rows)


def test_multibyte_characters_and_emoji_keep_their_phrases(encode, write_dataset):
    text = {
        "chosen": {"from": "gpt", "value": "🫁 Die Läsion liegt linksseitig, 左肺."},
        "rejected": {"from": "gpt", "value": "🫁 Die Läsion liegt beidseitig, 右肺."},
        "conversations": [{"from": "human", "value": "Wo liegt die Läsion?"}],
        "images": [],
        "rejected_images": [],
    }
    folder = write_dataset([text])
    (row,), tokenizer = encode("pairs", dataset_dir=folder)
    ids = [row["chosen_ids"][place] for place in row["chosen_phrase"]]
    assert tokenizer.decode(ids).strip() == "linksseitig左"
    assert tokenizer.decode(row["chosen_ids"]).startswith("🫁 Die Läsion liegt linksseitig, 左肺.")


def test_truncation_keeps_the_prompt_and_the_phrases_before_it(encode, write_dataset):
    tail = " and nothing else of note is seen on this image" * 4
    pair = {
        "conversations": [{"from": "human", "value": "Which side?"}],
        "chosen": {"from": "gpt", "value": "left" + tail + " at the top"},
        "rejected": {"from": "gpt", "value": "right" + tail + " at the bottom"},
        "images": [],
        "rejected_images": [],
    }
    folder = write_dataset([pair])
    (whole,), tokenizer = encode("pairs", dataset_dir=folder)
    assert phrases(whole, tokenizer, "chosen") == ["left", "top"]
    (cut,), _ = encode("pairs", dataset_dir=folder, cutoff_len=len(whole["prompt_ids"]) + 20)
    assert cut["prompt_ids"] == whole["prompt_ids"]
    assert cut["chosen_ids"] == whole["chosen_ids"][:20]
    assert phrases(cut, tokenizer, "chosen") == ["left"]
    assert cut["truncated"]
    assert not whole["truncated"]


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_the_token_at_cutoff_len_is_cut_off(encode, write_dataset, side):
    texts = {"chosen": "It is left at the top", "rejected": "It is right at the bottom"}
    folder = write_dataset([pair_of(**texts)])
    (whole,), _ = encode("pairs", dataset_dir=folder)
    places = whole[f"{side}_phrase"]
    for room in (places[1], places[1] + 1):
        (cut,), _ = encode("pairs", dataset_dir=folder, cutoff_len=len(whole["prompt_ids"]) + room)
        assert cut[f"{side}_phrase"] == [place for place in places if place < room]
        assert len(cut[f"{side}_ids"]) == room


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_phrase_that_begins_at_cutoff_len_is_refused(encode, write_dataset, side):
    """The other side keeps its phrase, so that nothing else stands against the row."""
    spans = {"chosen_spans": [[0, 4]], "rejected_spans": [[0, 5]], f"{side}_spans": [[15, 18]]}
    folder = write_dataset([{**pair_of("Left at the very top", "Right at the very top"), **spans}])
    (whole,), _ = encode("pairs", dataset_dir=folder)
    room = whole[f"{side}_phrase"][0]
    (cut,), _ = encode("pairs", dataset_dir=folder, cutoff_len=len(whole["prompt_ids"]) + room)
    assert f"cuts off every phrase of the {side} response" in cut["problem"]
    assert f"needs {len(whole['prompt_ids']) + room + 1} tokens" in cut["problem"]
    (kept,), _ = encode("pairs", dataset_dir=folder, cutoff_len=len(whole["prompt_ids"]) + room + 1)
    assert kept[f"{side}_phrase"] == [room]


def pair_of(chosen, rejected):
    return {
        "conversations": [{"from": "human", "value": "Which side?"}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": [],
        "rejected_images": [],
    }


def test_a_noised_image_of_another_size_has_its_own_prompt(encode, write_dataset, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.effect_noise((128, 96), 40).convert("RGB").save(folder / "clean.png")
    Image.effect_noise((192, 160), 40).convert("RGB").save(folder / "noised.png")
    pair = json.loads((TEMPLATES_DIR / "sharegpt.json").read_text())[0]
    write_dataset([pair | {"images": ["clean.png"], "rejected_images": ["noised.png"]}])
    (row,), tokenizer = encode("pairs", dataset_dir=folder)
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert row["prompt_ids"].count(image) == 4 * 3
    assert row["noised_prompt_ids"].count(image) == 6 * 5
    assert [i for i in row["prompt_ids"] if i != image] == [i for i in row["noised_prompt_ids"] if i != image]


def test_cached_rows_are_served_until_an_image_or_the_code_changes(encode, write_dataset, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.effect_noise((128, 96), 40).convert("RGB").save(folder / "clean.png")
    pair = json.loads((TEMPLATES_DIR / "sharegpt.json").read_text())[0]
    write_dataset([pair | {"images": ["clean.png"], "rejected_images": []}])
    calls = []
    real = dataset_module.RowEncoder.__call__

    def counting(*given):
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(dataset_module.RowEncoder, "__call__", counting)

    def encoded():
        calls.clear()
        (row,), _ = encode("pairs", dataset_dir=folder, overwrite_cache=False)
        return row, len(calls)

    first, ran = encoded()
    assert ran == 1
    assert encoded() == (first, 0), "served from the cache"
    Image.effect_noise((192, 160), 40).convert("RGB").save(folder / "clean.png")
    changed, ran = encoded()
    assert ran == 1
    assert len(changed["prompt_ids"]) > len(first["prompt_ids"])
    (folder / "clean.png").unlink()
    gone, _ = encoded()
    assert "does not exist" in gone["problem"]
    monkeypatch.setattr(rows_module, "VERSION", rows_module.VERSION + 1)
    later, ran = encoded()
    assert later["code"] != gone["code"]
    assert ran == 1


def test_parallel_workers_encode_the_same_rows(encode, monkeypatch):
    one, _ = encode(ALL)
    asked = []
    monkeypatch.setattr(dataset_module, "ROWS_PER_PROCESS", 2)
    mapped = dataset_module.RowEncoder.__call__
    monkeypatch.setattr(dataset_module.RowEncoder, "__call__", lambda *row: asked.append(os.getpid()) or mapped(*row))
    two, _ = encode(ALL, preprocessing_num_workers=2)
    assert one.to_list() == two.to_list()
    assert asked == [], "no row was encoded here"
    encode("fire_mpo_sharegpt", preprocessing_num_workers=2)
    assert asked, "too few rows for a second process"


@pytest.mark.parametrize("processes", [None, 2])
def test_what_somebody_keeps_out_of_garbage_collection_stays_out(processes):
    kept = [[]]
    gc.freeze()
    with dataset_module._kept_in_common(processes):
        pass
    assert not any(each is kept for each in gc.get_objects()), "which lists what is not kept out"
    gc.unfreeze()
    with dataset_module._kept_in_common(processes):
        assert bool(gc.get_freeze_count()) == (processes is not None)
    assert gc.get_freeze_count() == 0


def test_a_row_names_all_that_is_wrong_with_it(encode, write_dataset):
    """Who mends the first problem of thousands of rows should not meet the second one in the next run."""
    whole = pair_of("It is <|im_end|> left", "It is right")
    badly = {
        "conversations": [{"from": "human", "value": "<image>Which <|im_start|> side?"}],
        "images": ["none.png", "nor this.png"],
        "rejected_images": ["none.png"],
    }
    rows = [
        {**whole, **badly, "chosen_spans": [[0, 99]], "weight": -1.0},
        {**whole, "chosen": {"from": "gpt", "value": None}, "rejected": {"from": "gpt", "value": ""}, "images": [""]},
        pair_of("<image>left", "<video>right"),
    ]
    defaults = {"chosen_spans": None, "weight": 1.0}
    first, second, third = (
        row["problem"].split("; also: ")
        for row in encode("pairs", dataset_dir=write_dataset([{**defaults, **row} for row in rows]))[0]
    )
    wanted = (
        "chosen_spans has [0, 99) outside",
        "weight must be a positive number",
        "images[0] = ",
        "images[1] = ",
        "rejected_images[0] = ",
        "rejected_images has 1 images and images has 2",
        "its prompt has 1 <image> placeholders and it has 2 images",
        "the chosen response holds the special token <|im_end|>",
        "the prompt holds the special token <|im_start|>",
    )
    assert [problem.startswith(part) for problem, part in zip(first, wanted, strict=True)] == [True] * 9, first
    assert len(second) == 2
    assert second[0].startswith("chosen must be a message")
    assert second[1].startswith("images[0] is empty")
    assert third[:2] == [
        "the chosen response holds the placeholder <image>", "the rejected response holds the placeholder <video>"
    ]  # fmt: skip
    assert not any("special token <image>" in problem for problem in third)


def test_both_responses_whose_phrases_are_cut_off_are_named(encode, write_dataset):
    folder = write_dataset([pair_of("It is seen at the very left", "It is seen at the very right")])
    (whole,), _ = encode("pairs", dataset_dir=folder)
    (cut,), _ = encode("pairs", dataset_dir=folder, cutoff_len=len(whole["prompt_ids"]) + 2)
    assert [part.split(", which")[0].split("phrase ")[1] for part in cut["problem"].split("; also: ")] == [
        "of the chosen response", "of the rejected response"
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["token_positions", "as_stored"])
def test_a_fault_of_this_package_ends_the_run_and_is_none_of_a_row(encode, monkeypatch, place):
    """`fire_skip_invalid` would drop such rows without a word."""

    def broken(*_):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(rows_module if place == "token_positions" else dataset_module, place, broken)
    with pytest.raises(ValueError, match="a fault of ours"):
        encode("fire_mpo_sharegpt")


def test_what_the_template_raises_is_the_rows_problem(encode, write_dataset, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no such role")

    monkeypatch.setattr(Template, "encode_oneturn", broken)
    (row,), _ = encode("pairs", dataset_dir=write_dataset([pair_of("It is left", "It is right")]))
    assert row["problem"] == "it cannot be encoded: ValueError: no such role"
