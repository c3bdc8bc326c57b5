"""Evidence measures against plain forwards (tests/plain.py), and what they skip."""

import json

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from plain import Plain
from transformers import AutoModelForImageTextToText

from firempo_plugin.evaluate import attention
from firempo_plugin.evaluate.sensitivity import noise_elsewhere
from firempo_plugin.host.evidence import looking, measure
from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.noise import corrupt, seed_of

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava")
NOISE = Corruption("noise", 45.0)


@pytest.fixture
def arguments(checkpoint):
    """Returns a function that gives a family's model arguments."""

    def make(family="qwen3_vl", **keys):
        return {
            "model_name_or_path": str(checkpoint(family)),
            "template": tiny.TEMPLATES[family],
            "cutoff_len": 1024,
            **keys,
        }

    return make


@pytest.fixture
def scan(tmp_path):
    """A grainy scan, its twin with noise in a region, and one with noise everywhere."""
    grain = np.random.default_rng(3).integers(60, 180, (112, 160), dtype=np.uint8)
    region = np.zeros(grain.shape, dtype=bool)
    region[30:60, 20:55] = True
    images = {
        "clean": grain,
        "noised": corrupt(grain, region, NOISE, seed_of("twin", 0, NOISE)),
        "whole": corrupt(grain, None, NOISE, seed_of("twin", 0, NOISE)),
    }
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in images}


def row(chosen, rejected, images=(), noised=(), question="Which side is affected?", **keys):
    return {
        "conversations": [{"from": "human", "value": "<image>" * len(images) + question}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": list(images),
        "rejected_images": list(noised),
        **keys,
    }


def link_rest(source, folder):
    """Tokeniser and processor beside weights."""
    for file in source.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)


PAIR = ("The left lung shows a large mass.", "The right lung shows a small mass.")
SPANS = [[4, 8], [22, 27]]
REJECTED_SPANS = [[4, 9], [23, 28]]


def rank(rewards, inside):
    """The mean over phrase tokens of the share of other tokens below, plainly."""
    outside = [reward for place, reward in enumerate(rewards) if place not in inside]
    wins = [sum((rewards[i] > o) + (rewards[i] == o) / 2 for o in outside) for i in inside]
    return sum(wins) / len(inside) / len(outside)


@pytest.mark.parametrize("family", [*FAMILIES, "internvl"])
def test_localisation_is_that_of_plain_forwards(family, arguments, adapter, checkpoint, write_dataset, scan):
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]]), row(*PAIR)]))
    options = {"dataset": "pairs", "dataset_dir": folder}
    items = list(measure("localisation", arguments(family), str(adapter(family)), options))
    plain = Plain(family, checkpoint(family), adapter(family))
    assert [item.id for item in items] == ["pairs, row 0", "pairs, row 1"]
    for item, images in zip(items, ([scan["clean"]], []), strict=True):
        detail = json.loads(item.detail)
        question = "<image>" * len(images) + "Which side is affected?"
        for side, text, spans in (("chosen", PAIR[0], SPANS), ("rejected", PAIR[1], REJECTED_SPANS)):
            with torch.no_grad():
                (policy, _), (reference, _) = plain.cell(question, text, spans, images, "response")
                _, _, offsets = plain.sequence(question, text, images)
            rewards = (policy - reference).tolist()
            inside = [i for i, (a, b) in enumerate(offsets) if any(a < e and s < b for s, e in spans)]
            assert detail[side]["phrase_rank"] == pytest.approx(rank(rewards, inside), abs=1e-9)
            assert (detail[side]["tokens"], detail[side]["phrase_tokens"]) == (len(rewards), len(inside))
            mean = sum(rewards[i] for i in inside) / len(inside)
            assert detail[side]["mean_reward"]["phrase"] == pytest.approx(mean, rel=1e-4, abs=1e-6)
        assert item.values == {"phrase_rank": detail["chosen"]["phrase_rank"]}
        assert not item.skipped


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapted", [False, True])
def test_sensitivity_is_that_of_plain_forwards(
    family, adapted, arguments, adapter, checkpoint, write_dataset, scan, tmp_path
):
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]])]))
    options = {"dataset": "pairs", "dataset_dir": folder}
    (item,) = measure("sensitivity", arguments(family), str(adapter(family)) if adapted else None, options)
    clean, noised = (np.asarray(Image.open(scan[name])) for name in ("clean", "noised"))
    moved = noise_elsewhere(clean, noised, NOISE, "pairs, row 0")
    Image.fromarray(moved.image).save(tmp_path / "elsewhere.png")
    plain = Plain(family, checkpoint(family), adapter(family))
    found = {}
    for name, path in (*scan.items(), ("elsewhere", str(tmp_path / "elsewhere.png"))):
        with torch.no_grad():
            scores = plain.cell("<image>Which side is affected?", PAIR[0], SPANS, [path], "phrase")
        found[name] = scores[0 if adapted else 1][0].sum().item()
    expected = {
        "evidence_drop": found["clean"] - found["noised"],
        "elsewhere_drop": found["clean"] - found["elsewhere"],
        "evidence_gap": found["elsewhere"] - found["noised"],
    }
    assert item.values == pytest.approx(expected, abs=1e-5)
    assert abs(expected["evidence_drop"]) > 1e-4
    detail = json.loads(item.detail)
    assert detail["places"] == {"0": {"moved": list(moved.moved), "pixels": 30 * 35}}
    assert detail["log_probability"]["clean"] == pytest.approx(found["clean"], abs=1e-4)


def test_only_the_image_that_differs_is_noised_elsewhere(arguments, write_dataset, scan):
    both = [scan["clean"], scan["whole"]]
    folder = str(write_dataset([row(*PAIR, both, [scan["noised"], scan["whole"]])]))
    (item,) = measure("sensitivity", arguments(), None, {"dataset": "pairs", "dataset_dir": folder})
    assert not item.skipped
    assert list(json.loads(item.detail)["places"]) == ["0"]


def test_what_sensitivity_skips(arguments, write_dataset, scan):
    clean, noised = [scan["clean"]], [scan["noised"]]
    rows = [
        row(*PAIR, clean, [scan["whole"]]),
        row(*PAIR, clean),
        row("It is one.", "It is not one.", clean, noised),
        row(*PAIR, clean, noised, question="<image>Twice?"),
        row(*PAIR, clean, noised),
    ]
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset(rows))}
    items = list(measure("sensitivity", arguments(), None, options))
    reasons = ["no room", "no noised image", "the chosen response has no phrase", "2 <image> placeholders", ""]
    assert [item.id for item in items] == [f"pairs, row {number}" for number in range(5)]
    for item, reason in zip(items, reasons, strict=True):
        assert reason in item.skipped
        assert bool(item.skipped) == bool(reason)
        assert bool(item.values) != bool(item.skipped)


def test_noise_of_another_strength_is_not_compared(arguments, write_dataset, scan):
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]])]))
    (item,) = measure("sensitivity", arguments(), None, {"dataset": "pairs", "dataset_dir": folder, "sigma": 90})
    assert "another corruption" in item.skipped


def test_a_model_that_is_its_own_reference_has_no_reward(arguments, write_dataset, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    rows = [row(*PAIR), row("Yes.", "Yes.")]
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset(rows))}
    items = list(measure("localisation", arguments(), None, options))
    assert "its own reference" in items[0].skipped
    assert "chosen and rejected are equal" in items[1].skipped


@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_is_that_of_plain_forwards(family, arguments, adapter, checkpoint, write_dataset, scan):
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]]), row("Yes.", "Yes.")]))
    options = {"dataset": "pairs", "dataset_dir": folder}
    item, refused = measure("divergence", arguments(family), str(adapter(family)), options)
    plain = Plain(family, checkpoint(family), adapter(family))
    with torch.no_grad():
        (_, pi), (_, ref) = plain.cell("<image>Which side is affected?", PAIR[0], [], [scan["clean"]], "response")
    kls = (pi.exp() * (pi - ref)).sum(-1).tolist()
    assert item.values == {"kl": pytest.approx(sum(kls) / len(kls), rel=1e-3)}
    assert json.loads(item.detail)["largest"] == pytest.approx(max(kls), rel=1e-3)
    assert item.values["kl"] > 1e-4
    assert "chosen and rejected are equal" in refused.skipped


def test_a_model_is_nowhere_from_itself(arguments, write_dataset, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset([row(*PAIR)]))}
    (item,) = measure("divergence", arguments(), None, options)
    assert item.values == {"kl": 0.0}


def test_an_adapter_that_changes_nothing_ranks_as_chance(arguments, checkpoint, write_dataset, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint("qwen3_vl"))
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "untrained")
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset([row(*PAIR)]))}
    (item,) = measure("localisation", arguments(), str(tmp_path / "untrained"), options)
    assert item.values == {"phrase_rank": 0.5}


def test_a_reference_of_its_own(arguments, adapter, checkpoint, write_dataset, scan, tmp_path):
    """The adapter merged into the weights, against the base, ranks as the adapter does."""
    base = AutoModelForImageTextToText.from_pretrained(checkpoint("qwen3_vl"), dtype=torch.float32)
    PeftModel.from_pretrained(base, adapter("qwen3_vl")).merge_and_unload().save_pretrained(tmp_path / "merged")
    link_rest(checkpoint("qwen3_vl"), tmp_path / "merged")
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset([row(*PAIR, [scan["clean"]])]))}
    (with_adapter,) = measure("localisation", arguments(), str(adapter("qwen3_vl")), options)
    merged = arguments(model_name_or_path=str(tmp_path / "merged"))
    (alone,) = measure("localisation", merged, None, {**options, "reference": str(checkpoint("qwen3_vl"))})
    means = [json.loads(item.detail)["chosen"]["mean_reward"]["phrase"] for item in (with_adapter, alone)]
    assert means[0] == pytest.approx(means[1], rel=1e-3)
    assert with_adapter.values == pytest.approx(alone.values)
    both = {**options, "reference": str(checkpoint("qwen3_vl"))}
    (same,) = measure("localisation", arguments(), str(adapter("qwen3_vl")), both)
    assert same == with_adapter, "the base is the model without its adapter"
    (base,) = measure("localisation", arguments(), None, both)
    assert "its own reference" in base.skipped


def test_an_adapter_in_the_vision_tower_is_off_in_the_reference(arguments, checkpoint, write_dataset, scan, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = AutoModelForImageTextToText.from_pretrained(checkpoint("qwen3_vl"), dtype=torch.float32)
        model = get_peft_model(model, LoraConfig(target_modules=r".*visual.*\.(qkv|proj|linear_fc1)"))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(tmp_path / "sees")
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset([row(*PAIR, [scan["clean"]])]))}
    (item,) = measure("localisation", arguments(), str(tmp_path / "sees"), options)
    plain = Plain("qwen3_vl", checkpoint("qwen3_vl"), tmp_path / "sees")
    with torch.no_grad():
        cells = plain.cell("<image>Which side is affected?", PAIR[0], SPANS, [scan["clean"]], "phrase")
    expected = (cells[0][0] - cells[1][0]).mean().item()
    assert abs(expected) > 1e-3
    assert json.loads(item.detail)["chosen"]["mean_reward"]["phrase"] == pytest.approx(expected, rel=1e-3)


def records(scan, **keys):
    return [{"id": "a", "image": scan["clean"], "question": "Which side is affected?", **keys}]


@pytest.mark.parametrize("family", FAMILIES)
def test_grounding_is_that_of_full_matrices(family, arguments, adapter, checkpoint, scan):
    """The ratio of the library's own attention under the two prompts, over the tokens of the box."""
    options = {"records": records(scan, boxes=[[60, 0, 100, 50]]), "box_form": "xyxy", "prompt_suffix": "Be brief."}
    (item,) = measure("grounding", arguments(family), str(adapter(family)), options)
    plain = Plain(family, checkpoint(family), adapter(family))
    base = AutoModelForImageTextToText.from_pretrained(checkpoint(family), attn_implementation="eager")
    model = PeftModel.from_pretrained(base.float(), adapter(family)).eval()
    place = "<image>\n" if family == "llava" else "<image>"
    rows = []
    for prompt in ("Which side is affected?", "Write a general description of the image."):
        inputs, start, _ = plain.sequence(f"{place}{prompt} Be brief.", "", [scan["clean"]])
        cut = ("input_ids", "attention_mask", "mm_token_type_ids")
        inputs = {name: value[:, :start] if name in cut else value for name, value in inputs.items()}
        with torch.no_grad():
            layers = model(**inputs, output_attentions=True).attentions
        places = attention.image_places(base.config, inputs["input_ids"])
        rows.append(torch.stack([layer[0, :, -1].mean(0)[places] for layer in layers]).double())
    ratio = rows[0] / (rows[1] + 1e-8)
    detail = json.loads(item.detail)
    grid = detail["grid"]
    left, right = (24, 136) if family == "llava" else (0, 160)
    inside = torch.zeros(grid, dtype=torch.bool)
    for y in range(grid[0]):
        for x in range(grid[1]):
            x0, x1 = (left + (right - left) * (x + i) / grid[1] for i in (0, 1))
            y0, y1 = (112 * (y + i) / grid[0] for i in (0, 1))
            inside[y, x] = x0 < 100 and x1 > 60 and y0 < 50 and y1 > 0
    if family == "llava":
        assert grid == [4, 4]
    mask = inside.flatten()
    assert detail["tokens_in_region"] == mask.sum()
    expected = ratio[:, mask].mean(-1) / ratio.mean(-1)
    assert detail["attention_ratio"] == pytest.approx(expected.tolist(), abs=2e-6)
    assert item.values["attention_ratio"] == pytest.approx(expected.mean().item(), abs=1e-5)
    assert expected.std() > 1e-4


def test_forced_attention_gives_the_ratio_by_hand(arguments, scan, monkeypatch):
    """Tokens of 32 pixels, 5 columns and 4 rows: the question looks at the third token of the first row alone."""
    calls = []

    def look(model, inputs, features):
        calls.append(inputs["input_ids"].shape)
        generic = len(calls) == 2
        row = torch.full((2, 20), 0.01)
        if not generic:
            row[:, 2] = 0.01 * torch.tensor([5.0, 1.0])
        return row

    monkeypatch.setattr(looking, "last_row_attention", look)
    given = records(scan, boxes=[[64, 0, 32, 28]], box_form="xywh")
    given.append({**given[0], "id": "b", "box_form": "xyxy", "boxes": [[0, 84, 160, 112]]})
    first, second = measure("grounding", arguments(), None, {"records": given, "epsilon": 1e-12})
    detail = json.loads(first.detail)
    assert detail["grid"] == [4, 5]
    assert detail["tokens_in_region"] == 1
    assert detail["attention_ratio"] == pytest.approx([5 / (24 / 20), 1.0], abs=1e-5)
    assert first.values["attention_kl"] == pytest.approx((np.log(24 / 5) + np.log(20)) / 2, abs=1e-5)
    assert json.loads(second.detail)["attention_ratio"] == pytest.approx([20 / 24, 1.0], abs=1e-5)
    assert len(calls) == 3, "the generic prompt is run once an image"


def test_boxes_and_the_mask_they_draw_are_measured_alike(arguments, scan, tmp_path):
    drawn = np.zeros((112, 160), dtype=np.uint8)
    drawn[40:70, 30:80] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    given = [
        {"image": "clean.png", "question": "Why?", "mask": "mask.png", "kind": "ct"},
        {"image": "clean.png", "question": "Why?", "boxes": [[30, 40, 80, 70]], "box_form": "xyxy"},
        {"image": "clean.png", "question": "Why?", "boxes": [[30, 40, 50, 30]]},
    ]
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in given))
    items = list(measure("grounding", arguments(), None, {"records": str(file), "box_form": "xywh"}))
    assert [item.id for item in items] == [f"records.jsonl, row {number}" for number in range(3)]
    assert [item.kind for item in items] == ["ct", "", ""]
    assert items[0].values == items[1].values == items[2].values
    assert set(items[0].values) == {"attention_ratio", "attention_kl", "attention_js"}


def test_every_image_has_its_own_features_and_generic_prompt(arguments, scan):
    """Records that change from image to image are what each of them is alone."""
    given = [
        {"id": f"{name} {number}", "image": scan[name], "question": question, "boxes": [[60, 0, 100, 50]]}
        for number, question in enumerate(("Why?", "Where is it?"))
        for name in ("clean", "whole")
    ]
    options = {"box_form": "xyxy"}
    together = list(measure("grounding", arguments(), None, {**options, "records": given}))
    alone = [next(measure("grounding", arguments(), None, {**options, "records": [each]})) for each in given]
    for one, other in zip(together, alone, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-7)
    assert together[0].values != pytest.approx(together[1].values, abs=1e-4)
    assert [item.of == together[0].of for item in together] == [True, False, True, False]


@pytest.mark.parametrize("name", ["grounding", "localisation", "divergence", "sensitivity"])
def test_known_items_are_not_measured_again(name, arguments, adapter, write_dataset, scan):
    pairs = [row(*PAIR, [scan["clean"]], [scan["noised"]], question=question) for question in ("Why?", "Where?")]
    options = {"dataset": "pairs", "dataset_dir": str(write_dataset(pairs))}
    ids = ["pairs, row 0", "pairs, row 1"]
    if name == "grounding":
        options = {"records": [{**records(scan)[0], "id": each, "boxes": [[6, 0, 9, 5]]} for each in ids]}
        options["box_form"] = "xyxy"
    run = (name, arguments(), str(adapter("qwen3_vl")), options)
    whole, rest = list(measure(*run)), list(measure(*run, known={ids[0]}))
    assert [item.id for item in whole] == ids
    assert [item.id for item in rest] == ids[1:]
    assert rest[0].values == pytest.approx(whole[1].values)
    assert len({item.of for item in (*whole, *rest)}) == 1, "all are of one image"
    assert scan["clean"] not in whole[0].of


def test_chosen_layers_only(arguments, scan):
    given = records(scan, boxes=[[60, 0, 100, 50]], box_form="xyxy")
    (every,) = measure("grounding", arguments(), None, {"records": given})
    (last,) = measure("grounding", arguments(), None, {"records": given, "layers": [1]})
    assert json.loads(last.detail)["layers"] == [1]
    assert last.values["attention_js"] == pytest.approx(json.loads(every.detail)["attention_js"][1], abs=1e-6)
    with pytest.raises(ValueError, match="layers: the model has 2, numbered from 0; found 2"):
        measure("grounding", arguments(), None, {"records": given, "layers": [2]})


def test_what_grounding_skips(arguments, scan, tmp_path):
    Image.fromarray(np.zeros((112, 160), dtype=np.uint8)).save(tmp_path / "black.png")
    given = [
        (records(scan), "neither boxes nor a mask"),
        (records(scan, boxes=[[1, 2, 9, 9]], mask="black.png"), "boxes and a mask"),
        (records(scan, mask=str(tmp_path / "black.png")), "the mask is empty"),
        (records(scan, mask=str(tmp_path / "none.png")), "mask cannot be read"),
        (records(scan, boxes=[[1, 2, 9]]), "four numbers"),
        (records(scan, boxes=[[100, 60, 150, 100]], box_form="xywh"), "beyond the image"),
        (records(scan, boxes=[[50, 50, 50, 60]]), "covers nothing"),
        (records(scan, boxes=[[0, 0, 160, 112]]), "every image token: 20 of 20"),
        (records({"clean": "gone.png"}, boxes=[[1, 2, 9, 9]]), "image not found"),
        (records(scan, boxes=[[1, 2, 9, 9]], question=""), "the record has no question"),
        (records(scan, boxes=[[1, 2, 9, 9]], question="<image><image>?"), "the question has 2 <image> places"),
    ]
    rows = [{**record, "id": number} for number, ((record,), _) in enumerate(given)]
    items = list(measure("grounding", arguments(), None, {"records": rows, "box_form": "xyxy"}))
    for item, (_, reason) in zip(items, given, strict=True):
        assert reason in item.skipped
        assert not item.values


def test_a_box_that_llava_crops_away_is_skipped(arguments, scan):
    given = records(scan, boxes=[[0, 0, 20, 112]], box_form="xyxy")
    (item,) = measure("grounding", arguments("llava"), None, {"records": given})
    assert "no image token: 0 of 16" in item.skipped


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "grounding.records is missing; write the JSON"),
        ({"records": [], "prompt": "x"}, "unknown key grounding.prompt; did you mean grounding.prompt_suffix"),
        ({"records": [{"boxes": [[1, 2, 3, 4]]}]}, "row 0: its boxes are written in the form None"),
        ({"records": [{"id": 1}, {"id": "1"}]}, "the id '1' is there 2 times"),
        ({"records": ["x"]}, "row 0: must be an object"),
        ({"records": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"),
        ({"records": [{}], "epsilon": "1e-8"}, r"grounding.epsilon must be a number \(above 0\), found '1e-8'"),
    ],
)
def test_broken_options_stop_before_a_model_is_loaded(options, words, arguments, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    with pytest.raises(ValueError, match=words):
        measure("grounding", arguments(), None, options)


def test_folders_that_are_no_adapters_are_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match=r"holds no adapter_config.json"):
        measure("localisation", arguments(), str(tmp_path), {"dataset": "pairs"})


@pytest.mark.parametrize("kind", ["sdpa", "disabled"])
def test_bfloat16(kind, arguments, adapter, checkpoint, write_dataset, scan, tmp_path):
    base = AutoModelForImageTextToText.from_pretrained(checkpoint("qwen3_vl"), dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "half")
    link_rest(checkpoint("qwen3_vl"), tmp_path / "half")
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]])]))
    pairs = {"dataset": "pairs", "dataset_dir": folder}
    given = {"records": records(scan, boxes=[[60, 0, 100, 50]], box_form="xyxy")}
    half = {"model_name_or_path": str(tmp_path / "half"), "flash_attn": kind}
    for name, options in (("grounding", given), ("localisation", pairs), ("sensitivity", pairs)):
        exact, rounded = (
            next(measure(name, arguments(**more), str(adapter("qwen3_vl")), options)) for more in ({}, half)
        )
        assert rounded.values == pytest.approx(exact.values, abs=0.15), name
        assert rounded.detail != exact.detail


@pytest.mark.parametrize("family", FAMILIES)
def test_real_images_with_coco_boxes(family, real, arguments):
    """Two images with one and two boxes; read as corners, a box is empty, and its record skipped."""
    folder = real.folder / "tbx11k"
    written = json.loads((folder / "annotations" / "json" / "TBX11K_train.json").read_text())
    given = [
        {
            "id": image["file_name"],
            "image": f"imgs/{image['file_name']}",
            "question": "Where is the lesion?",
            "boxes": [each["bbox"] for each in written["annotations"] if each["image_id"] == image["id"]],
        }
        for image in written["images"]
    ]
    options = {"records": given, "folder": str(folder)}
    items = list(measure("grounding", arguments(family), None, {**options, "box_form": "xywh"}))
    assert [bool(item.values) for item in items] == [True, True, False]
    assert "neither boxes nor a mask" in items[2].skipped
    details = [json.loads(item.detail) for item in items[:2]]
    assert details[0]["pixels_in_region"] < 0.02 < details[1]["pixels_in_region"]
    assert 1 <= details[0]["tokens_in_region"] < details[1]["tokens_in_region"]
    wrong = list(measure("grounding", arguments(family), None, {**options, "box_form": "xyxy"}))
    assert all("covers nothing" in item.skipped for item in wrong[:2])


def test_real_masks(real, arguments):
    folder = real.folder / "biomedparse-demo"
    masks = sorted((folder / "demo_mask").glob("*.png"))
    given = [
        {
            "id": mask.stem,
            "image": f"demo/{'_'.join(mask.stem.split('_')[:3])}.png",
            "question": "What is shown?",
            "mask": f"demo_mask/{mask.name}",
            "kind": mask.stem.split("_")[1],
        }
        for mask in masks[::6]
    ]
    items = list(measure("grounding", arguments(), None, {"records": given, "folder": str(folder)}))
    assert len(items) == len(given)
    for item in items:
        assert not item.skipped
        detail = json.loads(item.detail)
        assert detail["tokens_in_region"] / np.prod(detail["grid"]) >= detail["pixels_in_region"], "any touch counts"
