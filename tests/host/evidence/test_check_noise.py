"""`firempo check-noise` against plain forwards (tests/plain.py), under a training YAML as users have it."""

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
import yaml
from PIL import Image
from plain import Plain
from safetensors.torch import load_file, save_file
from test_evidence import PAIR, REJECTED_SPANS, SPANS, row

from firempo_plugin import cli
from firempo_plugin.evaluate.hiding import TRIALS, WHOLE, grown
from firempo_plugin.evaluate.sensitivity import noise_elsewhere
from firempo_plugin.host.evidence import hiding, measure
from firempo_plugin.host.evidence.scoring import shared_out
from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.noise import corrupt, seed_of

NOISE = Corruption("noise", 45.0)
QUESTION = "<image>Which side is affected?"


@pytest.fixture
def scan(tmp_path):
    """A scan and its twin with noise in a region."""
    grain = np.random.default_rng(3).integers(60, 180, (112, 160), dtype=np.uint8)
    region = np.zeros(grain.shape, dtype=bool)
    region[30:60, 20:55] = True
    twin = corrupt(grain, region, NOISE, seed_of("twin", 0, NOISE))
    for name, pixels in (("clean", grain), ("noised", twin)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in ("clean", "noised")}


@pytest.fixture
def broken(checkpoint, tmp_path):
    """A model that gives NaN, as one in half precision may."""
    folder = tmp_path / "broken"
    shutil.copytree(checkpoint("qwen3_vl"), folder)
    weights = load_file(folder / "model.safetensors")
    next(weight for name, weight in weights.items() if "language_model.norm" in name).fill_(torch.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def training(checkpoint, write_dataset, tmp_path):
    """Returns a function that writes rows and a training YAML over them."""

    def write(rows, family="qwen3_vl", **keys):
        config = {
            "model_name_or_path": str(checkpoint(family)), "template": tiny.TEMPLATES[family], "cutoff_len": 1024,
            "stage": "fire_mpo", "do_train": True, "finetuning_type": "lora", "lora_rank": 8, "fire_gamma": 0.2,
            "dataset": "pairs", "dataset_dir": str(write_dataset(rows)), "output_dir": str(tmp_path / "out"),
            "bf16": True, "learning_rate": 1.0e-6, "per_device_train_batch_size": 4, **keys,
        }  # fmt: skip
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
        return str(tmp_path / "train.yaml")

    return write


@pytest.mark.parametrize("family", ["qwen3_vl", "llava", "gemma3"])
def test_margins_are_those_of_plain_forwards(family, training, adapter, checkpoint, scan, tmp_path, capsys):
    rows = [row(*PAIR, [scan["clean"]], [scan["noised"]], chosen_spans=SPANS, rejected_spans=REJECTED_SPANS)]
    looked = []
    for keys in {"adapter_name_or_path": str(adapter(family))}, {}:  # as a plain cell has both
        listing = tmp_path / "rows.jsonl"
        assert cli.main(["check-noise", training(rows, family, **keys), "--list", str(listing)]) == 0
        assert " 1 row looked at, 0 of them noised all over" in capsys.readouterr().out
        looked += map(json.loads, listing.read_text().splitlines())
    clean, noised = (np.asarray(Image.open(scan[name]).convert("RGB")) for name in ("clean", "noised"))
    region = (clean != noised).any(axis=-1)
    images = {"clean": clean, "noised": noised}
    images["black"] = np.zeros_like(clean)
    images["elsewhere"] = noise_elsewhere(clean, noised, NOISE, "pairs, row 0").image
    for number, trial in enumerate(TRIALS):
        how = Corruption("noise", 45.0 * trial.sigma)
        closed = np.zeros_like(region)
        closed[30:60, 20:55] = True
        images[str(number)] = corrupt(clean, grown(closed, trial.area), how, seed_of("pairs, row 0", 0, how))
    plain = Plain(family, checkpoint(family), adapter(family))
    expected = {}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        sums = []
        for text, spans in ((PAIR[0], SPANS), (PAIR[1], REJECTED_SPANS)):
            with torch.no_grad():
                scores = plain.cell(QUESTION, text, spans, [str(tmp_path / f"{name}.png")], "phrase")
            sums.append([logps.double().sum().item() for logps, *_ in scores])
        expected[name] = [chosen - rejected for chosen, rejected in zip(*sums, strict=True)]
    names = ("clean", "noised", "black", "elsewhere")
    for side, found in enumerate(looked):
        margins = {name: sides[side] for name, sides in expected.items()}
        assert [found[name] for name in names] == pytest.approx([margins[name] for name in names], abs=1e-5)
        assert found["trials"] == pytest.approx([margins[str(number)] for number in range(len(TRIALS))], abs=1e-5)
        assert found["share"] == pytest.approx(region.mean(), abs=0.01)
    assert len(looked) == 2


def test_rows_that_cannot_be_looked_at_are_counted_by_reason(training, scan, tmp_path, capsys):
    clean, noised = [scan["clean"]], [scan["noised"]]
    whole = tmp_path / "whole.png"
    pixels = np.asarray(Image.open(scan["clean"]))
    Image.fromarray(corrupt(pixels, None, NOISE, 1)).save(whole)
    rows = [
        row(*PAIR, clean),
        row("It is one.", "It is not one.", clean, noised, chosen_spans=[], rejected_spans=[[6, 9]]),
        row(*PAIR, clean, noised, question="<image>Twice?"),
        row(*PAIR, clean, [str(whole)]),
        row(*PAIR, clean, noised),
    ]
    assert cli.main(["check-noise", training(rows, fire_skip_invalid=True)]) == 0
    said = capsys.readouterr().out
    assert " 1 row left aside: it has no noised image" in said
    assert " 1 row left aside: one of its responses has no phrase of its own" in said
    assert " 1 row left aside: training could not use it" in said
    assert "2 rows looked at, 1 of them noised all over" in said


def test_what_is_noised_all_over_has_no_region_to_try_other_noise_on(training, scan, tmp_path):
    """Also where clipping leaves a pixel as it was, which the region then has not."""
    pixels = np.asarray(Image.open(scan["clean"]))
    everywhere = corrupt(pixels, None, NOISE, 1)
    everywhere[40:44, 40:44] = pixels[40:44, 40:44]
    Image.fromarray(everywhere).save(tmp_path / "whole.png")
    rows = [row(*PAIR, [scan["clean"]], [str(tmp_path / "whole.png")])]
    listing = tmp_path / "rows.jsonl"
    assert cli.main(["check-noise", training(rows), "--list", str(listing)]) == 0
    (found,) = map(json.loads, listing.read_text().splitlines())
    assert WHOLE < found["share"] < 1
    assert found["trials"] == []


def test_a_model_that_gives_no_number_gives_no_verdict(training, scan, broken, capsys):
    rows = [row(*PAIR, [scan["clean"]], [scan["noised"]])]
    assert cli.main(["check-noise", training(rows, model_name_or_path=str(broken))]) == 0
    said = capsys.readouterr().out
    assert " 1 row left aside: the model gives it no number" in said
    assert "No row could be looked at." in said


@pytest.mark.parametrize("name", ["localisation", "divergence", "sensitivity"])
def test_nor_a_value_of_any_other_measure(name, scan, broken, adapter, write_dataset):
    folder = str(write_dataset([row(*PAIR, [scan["clean"]], [scan["noised"]])]))
    model = {"model_name_or_path": str(broken), "template": tiny.TEMPLATES["qwen3_vl"], "cutoff_len": 1024}
    options = {"dataset": "pairs", "dataset_dir": folder}
    (item,) = measure(name, model, str(adapter("qwen3_vl")), options)
    assert (item.values, item.skipped[:29]) == ({}, "the model gives it no number;")


def test_a_list_that_cannot_be_written_is_refused_before_the_model_is_loaded(training, scan, capsys, monkeypatch):
    monkeypatch.setattr(hiding, "load", None)
    config = training([row(*PAIR, [scan["clean"]], [scan["noised"]])])
    assert cli.main(["check-noise", config, "--list", f"{config}/rows.jsonl"]) == 1
    assert "rows.jsonl cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("most", "there", "counts"),
    [
        (None, {"a": 5, "b": 700}, {"a": 5, "b": 700}),
        (200, {"a": 5, "b": 700}, {"a": 5, "b": 195}),
        (200, {"a": 100, "b": 700, "c": 700}, {"a": 66, "b": 67, "c": 67}),
        (2, {"a": 9, "b": 9, "c": 9}, {"a": 0, "b": 1, "c": 1}),
        (200, {"a": 5, "b": 7}, {"a": 5, "b": 7}),
    ],
)
def test_so_many_rows_are_shared_out_over_data_sets(most, there, counts):
    assert shared_out(most, there) == counts


def test_so_many_rows_are_spread_over_the_data(training, scan, tmp_path):
    rows = [row(*PAIR, [scan["clean"]], [scan["noised"]]) for _ in range(9)]
    listing = tmp_path / "rows.jsonl"
    cli.main(["check-noise", training(rows), "--rows", "3", "--list", str(listing)])
    assert [json.loads(line)["id"] for line in listing.read_text().splitlines()] == [
        f"pairs, row {number}" for number in (0, 3, 6)
    ]


def test_a_data_set_needs_a_model(training, scan, capsys, monkeypatch):
    monkeypatch.setattr(hiding, "load", None)
    training([row(*PAIR, [scan["clean"]], [scan["noised"]])])
    assert cli.main(["check-noise", "pairs", "dataset_dir=data"]) == 1
    assert "no model is named: write model_name_or_path=" in capsys.readouterr().err


@pytest.mark.parametrize("sigma", ["0", "-45", "nan", "inf"])
def test_a_sigma_that_no_build_can_have_is_refused(sigma, capsys):
    with pytest.raises(SystemExit):
        cli.main(["check-noise", "train.yaml", f"--sigma={sigma}"])
    assert f"argument --sigma: expected a number above 0, found {sigma}" in capsys.readouterr().err
