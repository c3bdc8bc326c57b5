"""Rows in the preview: token for token what the trainer is given, for every family, and every reason."""

import json
from itertools import groupby

import pytest
import tiny
from datasets import Dataset
from PIL import Image
from places import TEMPLATES_DIR

from firempo_plugin.host import validate
from firempo_plugin.host.data.dataset_info import DatasetError
from firempo_plugin.host.data.rows import Side
from firempo_plugin.host.preview import rows as preview_rows
from firempo_plugin.host.preview.rows import pieces_of, see
from firempo_plugin.host.preview.seen import Piece, SeenRow
from firempo_plugin.host.train.model_class import REFUSED
from firempo_plugin.pairs.exporters import llamafactory
from firempo_plugin.pairs.exporters.common import Kept
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.records import Finding

EXAMPLES = ",".join(
    f"fire_mpo_{name}" for name in ("sharegpt", "sharegpt_spans", "sharegpt_mask_tags", "alpaca", "openai", "mixed")
)
SHAPES = "fire_mpo_openai,fire_mpo_mixed"
"""With all that changes what a template writes: a system text, earlier turns, several images and none."""
SIDES = ("chosen", "rejected")


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Whoever loads a model here fails."""
    monkeypatch.setattr("llamafactory.model.load_model", None)


@pytest.fixture
def config(checkpoint):
    """Returns a function that gives a training configuration for datasets of a folder."""

    def make(dataset="pairs", folder=TEMPLATES_DIR, family="qwen3_vl", **keys):
        return {
            "model_name_or_path": str(checkpoint(family)),
            "template": tiny.TEMPLATES[family],
            "stage": "fire_mpo",
            "do_train": True,
            "finetuning_type": "lora",
            "dataset": dataset,
            "dataset_dir": str(folder),
            "cutoff_len": 1024,
            "overwrite_cache": True,
            "output_dir": "unused",
            **keys,
        }

    return make


@pytest.fixture
def encoded(tmp_path):
    """Returns a function that encodes a configuration's rows as training does: the rows, and the tokeniser."""
    from llamafactory.data import get_dataset

    def run(given):
        made = validate.start(given, str(tmp_path / "out"))
        module = get_dataset(
            made.template, made.model_args, made.data_args, made.training_args, stage="fire_mpo", **made.tokens
        )
        return list(module["train_dataset"]), made.tokens["tokenizer"]

    return run


def pair(chosen, rejected, question="Which side?", **keys):
    return {
        "conversations": [{"from": "human", "value": question}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": [],
        "rejected_images": [],
        **keys,
    }


def join(pieces, *kinds):
    return "".join(piece.text for piece in pieces if piece.kind in kinds)


def phrases(pieces):
    """Texts of the runs of phrase pieces."""
    runs = groupby(pieces, key=lambda piece: piece.kind)
    return ["".join(piece.text for piece in run) for kind, run in runs if kind == "phrase"]


def decoded_phrases(row, side, tokenizer):
    """Texts of the runs of phrase tokens that the trainer is given."""
    places = row[f"{side}_phrase"]
    runs = groupby(enumerate(places), key=lambda item: item[1] - item[0])
    return [tokenizer.decode([row[f"{side}_ids"][place] for _, place in run]) for _, run in runs]


NAMELESS = {"llava_med"}
"""Families whose first token of a response stands for no character of its own."""


@pytest.mark.parametrize(
    ("family", "template"),
    [(family, template) for family, template in tiny.TEMPLATES.items() if family not in {*NAMELESS, *REFUSED}]
    + [("qwen3_vl", "qwen3_vl")],
)
def test_pieces_are_the_tokens_that_the_trainer_is_given(config, encoded, tmp_path, family, template):
    given = config(EXAMPLES if family == "qwen3_vl" else SHAPES, family=family, template=template)
    trained, tokenizer = encoded(given)
    seen = list(see(given, tmp_path).rows)
    assert [row.place for row in seen] == [row["source"] for row in trained]
    assert not any(row.problem for row in seen)
    for row, truth in zip(seen, trained, strict=True):
        assert (row.weight, row.prompt_tokens) == (truth["weight"], len(truth["prompt_ids"]))
        for side in SIDES:
            pieces, ids = vars(row)[side], truth[f"{side}_ids"]
            assert len(pieces) == len(ids), "one piece a token"
            assert "".join(piece.text for piece in pieces) == tokenizer.decode(ids)
            assert [place for place, piece in enumerate(pieces) if piece.kind == "phrase"] == truth[f"{side}_phrase"]


def test_pieces_join_to_the_plain_response(config, tmp_path):
    seen = list(see(config("fire_mpo_sharegpt,fire_mpo_sharegpt_mask_tags"), tmp_path).rows)
    source = json.loads((TEMPLATES_DIR / "sharegpt.json").read_text())
    for row, entry in zip(seen[:2], source, strict=True):
        assert [join(vars(row)[side], "text", "phrase", "cut") for side in SIDES] == [
            entry[side]["value"] for side in SIDES
        ]
    assert seen[2].chosen == seen[0].chosen, "tags mark, and are not shown"


def test_split_characters_make_one_piece(config, encoded, tmp_path, write_dataset):
    """The tiny tokeniser knows no Chinese: three tokens a character."""
    given = config(folder=write_dataset([pair("🫁 病灶在左肺上叶。", "🫁 病灶在右肺下叶。", "病灶在哪里？")]))
    (truth,), tokenizer = encoded(given)
    (row,) = see(given, tmp_path).rows
    assert row.question == "病灶在哪里？"
    for side, text, expected in (
        ("chosen", "🫁 病灶在左肺上叶。", ["左", "上"]),
        ("rejected", "🫁 病灶在右肺下叶。", ["右", "下"]),
    ):
        pieces = vars(row)[side]
        assert join(pieces, "text", "phrase") == text
        assert phrases(pieces) == expected == decoded_phrases(truth, side, tokenizer)
        assert Piece("左" if side == "chosen" else "右", "phrase") in pieces


def test_tokens_show_what_the_row_says_that_they_count(config, tmp_path, write_dataset):
    heavy = {**pair("It is left.", "It is right."), "chosen_weights": [[6, 10, 2.5]]}
    (row,) = see(config(folder=write_dataset([heavy])), tmp_path).rows
    assert "".join(piece.text for piece in row.chosen if piece.weight == 2.5).strip() == "left"
    assert {piece.weight for piece in row.rejected} == {1.0}
    assert SeenRow.from_json(row.to_json()) == row


def test_what_the_preprocessor_notes_of_a_row_is_told(config, tmp_path):
    finding = Finding(2, 3, "No effusion.", "An effusion.")
    spans = {"chosen_spans": ((0, 2),), "rejected_spans": ((0, 2),)}
    report = Pair("t:7#2", "Describe.", "No effusion.", "An effusion.", **spans, target="pleura", finding=finding)
    plain = Pair("t:8", "Describe.", "No effusion.", "An effusion.", **spans)
    kept = Kept([report, plain], [1, 1])
    llamafactory.write(kept, tmp_path, "own", tmp_path, "absolute", llamafactory.Options())
    first, second = see(config("own", folder=tmp_path), tmp_path).rows
    assert first.about == {"id": "t:7#2", "finding": "2 of 3", "statement": "No effusion.", "target": "pleura"}
    assert second.about == {"id": "t:8"}


def test_a_thought_of_the_template_is_no_text(config, tmp_path):
    row = next(see(config("fire_mpo_sharegpt", template="qwen3_vl"), tmp_path).rows)
    assert join(row.chosen, "template") == "<think>\n\n</think>\n\n<|im_end|>\n"
    assert row.chosen[0].kind == "template"
    assert join(row.chosen, "text", "phrase") == "There is a rounded opacity in the left upper lung."
    assert "<|image_pad|> x " in row.prompt


def test_what_cutoff_len_leaves_out_is_cut(config, encoded, tmp_path, write_dataset):
    tail = " and nothing else of note is seen on this image" * 4
    folder = write_dataset([pair("left" + tail + " at the top", "right" + tail + " at the bottom")])
    (whole,) = see(config(folder=folder), tmp_path).rows
    assert not whole.truncated
    given = config(folder=folder, cutoff_len=whole.prompt_tokens + 20)
    (truth,), _ = encoded(given)
    (row,) = see(given, tmp_path).rows
    assert row.truncated
    for side in SIDES:
        pieces = vars(row)[side]
        kept = [piece for piece in pieces if piece.kind != "cut"]
        assert len(kept) == len(truth[f"{side}_ids"]) == 20
        assert join(pieces, "text", "phrase", "cut") == join(vars(whole)[side], "text", "phrase")
        assert phrases(pieces) == [{"chosen": "left", "rejected": "right"}[side]]
        assert pieces[-1].kind == "cut", "what the template adds is beyond the cut too"


class Letters:
    """Stands for a tokeniser: token 7 is the end of a turn."""

    @staticmethod
    def decode(ids):
        return "".join({7: "</s>", 8: "\n"}[one] for one in ids)


def test_spaces_that_no_token_names_stay():
    """As sentencepiece tokenisers report them: a token without its space, one of no width, one of half a character."""
    side = Side(
        text=" left é  ",
        prompt=[],
        ids=[1, 2, 3, 4, 5, 7, 8],
        phrase=[],
        weights=[],
        offsets=[(1, 3), (3, 5), (6, 7), (6, 7), (8, 9), (0, 0), (0, 0)],
    )
    assert pieces_of(side, {0, 3}, 7, Letters) == (
        Piece(" le", "phrase"),
        Piece("ft", "text"),
        Piece(" é", "phrase"),
        Piece("  ", "text"),
        Piece("</s>", "template"),
        Piece("\n", "template"),
    )
    assert [piece.kind for piece in pieces_of(side, {0}, 1, Letters)] == ["phrase", "cut", "cut", "cut"]


def test_a_row_with_a_problem_has_its_raw_texts_and_the_reason_of_training(config, encoded, tmp_path, write_dataset):
    rows = [
        pair("left", "left"),
        pair("It is <mask>left", "It is right"),
        {**pair("left", "right"), "conversations": []},
        pair("left", "right", images=["gone.png"]),
    ]
    given = config(folder=write_dataset(rows))
    trained, _ = encoded(given)
    seen = list(see(given, tmp_path).rows)
    assert [row.problem for row in seen] == [row["problem"] for row in trained]
    assert all(row.problem and not row.prompt for row in seen)
    assert seen[1].chosen == (Piece("It is <mask>left", "text"),)
    assert seen[3].images == ("gone.png",)
    assert seen[3].question == "Which side?"


def test_the_objective_counts(config, tmp_path, write_dataset):
    folder = write_dataset([pair("left", "right")])
    (row,) = see(config(folder=folder, fire_objective="copo"), tmp_path).rows
    assert "compares with the noised image" in row.problem
    assert row.chosen == (Piece("left", "text"),)


def test_earlier_turns_and_system_text_are_told(config, tmp_path):
    rows = list(see(config("fire_mpo_mixed,fire_mpo_openai"), tmp_path).rows)
    assert rows[3].question == "Is it calcified?"
    assert rows[3].earlier.startswith("user: Describe the lungs.\nassistant: The left upper lung")
    assert rows[5].earlier.startswith("system: You are a radiologist.")


def test_data_sets_come_one_after_another(config, tmp_path):
    found = see(config("fire_mpo_sharegpt", eval_dataset="fire_mpo_mixed", max_samples=1, do_eval=True), tmp_path)
    assert found.total == 2
    assert [row.place for row in found.rows] == ["fire_mpo_sharegpt, row 0", "fire_mpo_mixed, row 0"]


def test_without_a_model_the_small_tokeniser_is_used(config, tmp_path):
    given = config("fire_mpo_sharegpt", template="llava", model_name_or_path="", preprocessing_num_workers=16)
    found = see(given, tmp_path)
    assert found.builtin_tokenizer
    assert not any(row.problem for row in found.rows)
    assert not see(config("fire_mpo_sharegpt"), tmp_path).builtin_tokenizer


def test_several_processes_give_the_same_rows_in_order(config, tmp_path, write_dataset, monkeypatch):
    folder = write_dataset([pair(f"It measures {n} mm.", f"It measures {n + 1} mm.") for n in range(120)])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    several = list(see(config(folder=folder), tmp_path).rows)
    monkeypatch.setattr(preview_rows, "PROCESSES", 1)
    assert several == list(see(config(folder=folder), tmp_path).rows)
    assert [row.place for row in several] == [f"pairs, row {n}" for n in range(120)]


def test_images_inside_the_data_get_a_path(config, tmp_path):
    clean, noised = ((TEMPLATES_DIR / "images" / f"{name}.png").read_bytes() for name in ("frontal", "frontal_noised"))
    rows = [
        pair("left", "right", "<image>Where?", images=[{"bytes": one, "path": None}], rejected_images=[other])
        for one, other in (
            (clean, {"bytes": noised, "path": "noised.png"}),
            (clean, {"bytes": b"no image", "path": None}),
        )
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    Dataset.from_list(rows).to_parquet(folder / "pairs.parquet")
    columns = {name: name for name in ("chosen", "rejected", "images", "rejected_images")}
    entry = {"file_name": "pairs.parquet", "formatting": "sharegpt", "ranking": True}
    info = {"pairs": {**entry, "columns": {"messages": "conversations", **columns}}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    good, broken = see(config(folder=folder), scratch).rows
    assert good.problem == ""
    with Image.open(good.rejected_images[0]) as shown, Image.open(TEMPLATES_DIR / "images/frontal_noised.png") as truth:
        assert shown.tobytes() == truth.tobytes()
    assert all(str(scratch) in path for path in (*good.images, *good.rejected_images))
    assert broken.problem.startswith("rejected_images[0] cannot be read as an image: UnidentifiedImageError")
    assert " 0x" not in broken.problem


def test_what_cannot_be_read_says_what_training_says(config, encoded, tmp_path, write_dataset):
    given = config(folder=write_dataset([], text='[{"conversations": ['))
    with pytest.raises(DatasetError) as training:
        encoded(given)
    with pytest.raises(DatasetError) as looking:
        see(given, tmp_path)
    assert str(looking.value) == str(training.value)
    with pytest.raises(ValueError, match="expected a training configuration with `stage: fire_mpo`, found 'sft'"):
        see({**given, "stage": "sft"}, tmp_path)
    with pytest.raises(ValueError, match="does not support streaming"):
        see({**given, "streaming": True, "max_steps": 1}, tmp_path)


def test_a_row_survives_its_line(config, tmp_path):
    for row in see(config(EXAMPLES), tmp_path).rows:
        line = row.to_json()
        assert "\n" not in line
        assert SeenRow.from_json(line) == row
