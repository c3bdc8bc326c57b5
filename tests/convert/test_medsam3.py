"""MedSAM3's LoRA weights on a tiny SAM 3 of the true architecture: the same outputs, or a refusal by name."""

import json
import os
from copy import deepcopy
from functools import partial

import pytest
import tiny_sam3
import torch
from torch.testing import assert_close
from transformers import LlavaConfig, Sam3Config, Sam3Model, Sam3VideoConfig

from firempo_plugin import cli
from firempo_plugin.convert import medsam3
from firempo_plugin.convert.sam3_names import ONLY_META
from firempo_plugin.errors import UserError
from firempo_plugin.pairs.segmenters.segmenter import make

RANK, ALPHA = 4, 12
QKV = ("q_proj", "k_proj", "v_proj")


def hand_map():
    """Of every adapted module of Meta's its modules in Sam3Model, written out by hand for two layers of each kind."""
    found = {}
    for n in range(2):
        block, layer = f"backbone.vision_backbone.trunk.blocks.{n}", f"vision_encoder.backbone.layers.{n}"
        found[f"{block}.attn.qkv"] = [f"{layer}.attention.{one}" for one in QKV]
        found[f"{block}.attn.proj"] = [f"{layer}.attention.o_proj"]
        found |= {f"{block}.mlp.{one}": [f"{layer}.mlp.{one}"] for one in ("fc1", "fc2")}
        block = f"backbone.language_backbone.encoder.transformer.resblocks.{n}"
        layer = f"text_encoder.text_model.encoder.layers.{n}"
        found |= {f"{block}.attn.{one}": [f"{layer}.self_attn.{one}"] for one in (*QKV, "out_proj")}
        found |= {f"{block}.mlp.c_fc": [f"{layer}.mlp.fc1"], f"{block}.mlp.c_proj": [f"{layer}.mlp.fc2"]}
    attentions = [("segmentation_head.cross_attend_prompt", "mask_decoder.prompt_cross_attn")]
    layers = [("geometry_encoder.encode.0", "geometry_encoder.layers.0", "cross_attn_image", "cross_attn")]
    for n in range(2):
        encoder, decoder = f"transformer.encoder.layers.{n}", f"transformer.decoder.layers.{n}"
        layers.append((encoder, f"detr_encoder.layers.{n}", "cross_attn_image", "cross_attn"))
        layers.append((decoder, f"detr_decoder.layers.{n}", "cross_attn", "vision_cross_attn"))
        attentions.append((f"{decoder}.ca_text", f"detr_decoder.layers.{n}.text_cross_attn"))
    for meta, ours, cross, our_cross in layers:
        attentions += [(f"{meta}.self_attn", f"{ours}.self_attn"), (f"{meta}.{cross}", f"{ours}.{our_cross}")]
        found |= {f"{meta}.linear1": [f"{ours}.mlp.fc1"], f"{meta}.linear2": [f"{ours}.mlp.fc2"]}
    for meta, ours in attentions:
        found |= {f"{meta}.{one}": [f"{ours}.{one}"] for one in QKV}
        found[f"{meta}.out_proj"] = [f"{ours}.o_proj"]
    for one in ("boxes_direct_project", "boxes_pos_enc_project", "final_proj"):
        found[f"geometry_encoder.{one}"] = [f"geometry_encoder.{one}"]
    found["dot_prod_scoring.prompt_proj"] = ["dot_product_scoring.text_proj"]
    found["dot_prod_scoring.hs_proj"] = ["dot_product_scoring.query_proj"]
    return found


BY_HAND = hand_map()
DECODER = ("transformer.decoder.", "segmentation_head.", "dot_prod_scoring.")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_sam3.save(tmp_path_factory.mktemp("sam3"))


def lora(checkpoint, rank=RANK):
    """Random weights as MedSAM3 saves them, parameters and all, for every module and for the points."""
    model, chance = Sam3Model.from_pretrained(checkpoint), torch.Generator().manual_seed(0)
    sizes = {name: (2 if "direct" in name else 32, 32) for name in ONLY_META}
    for meta, names in BY_HAND.items():
        modules = [model.get_submodule(name) for name in names]
        sizes[meta] = modules[0].in_features, sum(module.out_features for module in modules)
    return {
        f"{meta}.lora.lora_{half}": torch.nn.Parameter(torch.randn(*shape, generator=chance) * 0.15)
        for meta, (inputs, outputs) in sizes.items()
        for half, shape in (("A", (inputs, rank)), ("B", (rank, outputs)))
    }


@pytest.fixture(scope="module")
def released_weights(checkpoint):
    return lora(checkpoint)


@pytest.fixture
def weights(released_weights):
    """The same in tensors of the test's own."""
    return deepcopy(released_weights)


def write(folder, weights):
    folder.mkdir(exist_ok=True)
    torch.save(weights, folder / medsam3.RELEASED)
    return folder


def converted(folder, to, checkpoint, *more):
    return cli.main(["convert", str(folder), str(to), "--alpha", str(ALPHA), "--checkpoint", str(checkpoint), *more])


def delta(weights, meta, x):
    return x @ weights[f"{meta}.lora.lora_A"] @ weights[f"{meta}.lora.lora_B"] * ALPHA / RANK


def adapted_by_hand(checkpoint, weights, silent=()):
    """A plain Sam3Model, to the output of each of whose modules the LoRA of Meta's module is added as it runs."""
    model = Sam3Model.from_pretrained(checkpoint).eval()

    def add(meta, place, of, module, inputs, output):
        return output if meta in silent else output + delta(weights, meta, inputs[0]).chunk(of, dim=-1)[place]

    for meta, names in BY_HAND.items():
        if f"{meta}.lora.lora_A" in weights:
            for place, name in enumerate(names):
                model.get_submodule(name).register_forward_hook(partial(add, meta, place, len(names)))
    return model


@torch.no_grad()
def outputs(model):
    """What a Sam3Model says of an image, a text and, so that the geometry encoder runs, a box."""
    chance = torch.Generator().manual_seed(3)
    said = model(
        pixel_values=torch.randn(1, 3, 112, 112, generator=chance),
        input_ids=torch.tensor([[0, 40, 50, 60, 1]]),
        input_boxes=torch.tensor([[[0.4, 0.5, 0.3, 0.2]]]),
        input_boxes_labels=torch.ones(1, 1, dtype=torch.long),
    )
    return {name: said[name] for name in ("pred_logits", "pred_boxes", "pred_masks", "presence_logits", "semantic_seg")}


def medical(checkpoint, adapter):
    """The model as `segment.by: sam3` runs it."""
    return make("sam3", {"checkpoint": str(checkpoint), "adapter": str(adapter), "device": "cpu"})._loaded[0]


@pytest.mark.parametrize("parts", ["all", "the decoder"])
def test_outputs_are_those_of_metas_formula(parts, checkpoint, weights, tmp_path, capsys):
    if parts == "the decoder":
        weights = {name: value for name, value in weights.items() if name.startswith(DECODER)}
    assert converted(write(tmp_path / "raw", weights), tmp_path / "adapter", checkpoint) == 0
    told = capsys.readouterr().out
    expected = outputs(adapted_by_hand(checkpoint, weights))
    found = outputs(medical(checkpoint, tmp_path / "adapter"))
    plain = outputs(Sam3Model.from_pretrained(checkpoint).eval())
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-5, atol=1e-5)
    assert max((plain[name] - value).abs().max() for name, value in expected.items()) > 0.1
    if parts == "all":
        assert "87 of 90 pairs, of rank 4 with alpha 12" in told
        assert f"Left out are {', '.join(ONLY_META)}: Sam3Model takes no points as prompts" in told
        assert "no pair" not in told
    else:
        assert "34 of 34 pairs" in told
        assert (
            "The file has no pair for backbone.language_backbone.encoder.transformer.resblocks.*.attn.k_proj, " in told
        )
        assert "Left out" not in told


def test_every_pair_counts_in_the_outputs(checkpoint, weights):
    """What the test above rests on: no pair could be lost or moved without being seen there."""
    silent = []
    model = adapted_by_hand(checkpoint, weights, silent)
    expected = outputs(model)
    for meta in BY_HAND:
        silent[:] = [meta]
        found = outputs(model)
        assert max((found[name] - expected[name]).abs().max() for name in found) > 1e-3, meta


def test_every_weight_is_metas(checkpoint, weights, tmp_path):
    converted(write(tmp_path / "raw", weights), tmp_path / "adapter", checkpoint)
    found = medical(checkpoint, tmp_path / "adapter").state_dict()
    expected = Sam3Model.from_pretrained(checkpoint).state_dict()
    assert set(found) == set(expected)
    for meta, names in BY_HAND.items():
        whole = delta(weights, meta, torch.eye(len(weights[f"{meta}.lora.lora_A"])))
        for name, part in zip(names, whole.detach().T.chunk(len(names)), strict=True):
            expected[f"{name}.weight"] += part
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["lora_dropout"], told["bias"]) == (RANK, ALPHA, 0.0, "none")
    assert told["target_modules"] == sorted(name for names in BY_HAND.values() for name in names)


def test_the_released_size_is_that_of_the_true_model():
    """458 pairs in MedSAM3's file, as its code makes them, of which three are of points."""
    linears = medsam3._linears(medsam3._empty_model(None))
    assert len(linears) + len(ONLY_META) == 458


def keep_points(weights):
    for name in [name for name in weights if not name.startswith(ONLY_META)]:
        del weights[name]


def swap(weights, name, value):
    weights[name] = value


ONE = "transformer.decoder.layers.1.ca_text.q_proj.lora.lora_"
REFUSED = [
    (lambda w: w.pop(f"{ONE}B"), f"missing: {ONE}B. Nothing"),
    (lambda w: w.pop(f"{ONE}A"), f"missing: {ONE}A. Nothing"),
    (
        lambda w: [w.pop(f"{ONE}{half}") for half in "AB"],
        "missing: transformer.decoder.layers.1.ca_text.q_proj. Nothing",
    ),
    (lambda w: w.clear(), "missing: NAME.lora.lora_A. Nothing"),
    (keep_points, "missing: a module of Sam3Model. Nothing"),
    (lambda w: swap(w, "epoch", 3), "unknown: epoch. Nothing"),
    (lambda w: swap(w, 7, 3), "unknown: 7. Nothing"),
    (
        lambda w: [swap(w, f"backbone.resizer.lora.lora_{half}", w[f"{ONE}{half}"]) for half in "AB"],
        "unknown: backbone.resizer. Nothing",
    ),
    (
        lambda w: [swap(w, f"{ONE}{half}".replace("1", "2"), w[f"{ONE}{half}"]) for half in "AB"],
        "unknown: transformer.decoder.layers.2.ca_text.q_proj. Nothing",
    ),
    (lambda w: swap(w, f"{ONE}A", w[f"{ONE}A"].T), f"of another shape: {ONE}A is [4, 32], expected [32, 4]. Nothing"),
    (
        lambda w: swap(w, f"{ONE}B", torch.ones(4, 31)),
        f"of another shape: {ONE}B is [4, 31], expected [4, 32]. Nothing",
    ),
    (
        lambda w: [swap(w, f"{ONE}A", torch.ones(32, 8)), swap(w, f"{ONE}B", torch.ones(8, 32))],
        f"of another shape: {ONE}A is [32, 8], expected [32, 4], {ONE}B is [8, 32], expected [4, 32]. Nothing",
    ),
    (
        lambda w: swap(w, f"{ONLY_META[0]}.lora.lora_A", torch.ones(2, 5)),
        f"of another shape: {ONLY_META[0]}.lora.lora_A is [2, 5], expected [2, 4]. Nothing",
    ),
    (lambda w: w[f"{ONE}B"].data[1].fill_(float("nan")), f"not finite: {ONE}B. Nothing"),
    (lambda w: w[f"{ONE}A"].data[1].fill_(float("inf")), f"not finite: {ONE}A. Nothing"),
    (lambda w: swap(w, f"{ONE}A", torch.ones(32, 4).int()), f"no matrix of floating point: {ONE}A. Nothing"),
    (
        lambda w: swap(w, f"{ONE}A", torch.ones(32, 4).to(torch.float8_e5m2)),
        f"no matrix of floating point: {ONE}A. Nothing",
    ),
    (lambda w: swap(w, f"{ONE}A", torch.ones(32, 4).to_sparse()), f"no matrix of floating point: {ONE}A. Nothing"),
    (lambda w: swap(w, f"{ONE}A", torch.ones(32, 4, device="meta")), f"no matrix of floating point: {ONE}A. Nothing"),
    (lambda w: swap(w, f"{ONE}A", torch.ones(32)), f"no matrix of floating point: {ONE}A. Nothing"),
    (lambda w: swap(w, f"{ONE}A", [1.0]), f"no matrix of floating point: {ONE}A. Nothing"),
]


@pytest.mark.parametrize(("change", "told"), REFUSED)
def test_what_is_not_as_expected_is_refused_by_name(change, told, checkpoint, weights, tmp_path, capsys):
    change(weights)
    folder = write(tmp_path / "raw", weights)
    assert converted(folder, tmp_path / "adapter", checkpoint) == 1
    said = capsys.readouterr().err
    assert f"the LoRA weights in {folder / medsam3.RELEASED} are not as expected; {told} was written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_weights_for_a_model_of_another_size_are_refused(checkpoint, weights, tmp_path):
    file = write(tmp_path / "raw", weights) / medsam3.RELEASED
    with pytest.raises(
        UserError, match=r"missing: backbone.*blocks\.2\.attn\.qkv.* more; of another shape: .* more\. N"
    ):
        medsam3.convert(file, tmp_path / "adapter", ALPHA, None)
    Sam3VideoConfig(detector_config=Sam3Config(**tiny_sam3.CONFIG).to_dict()).save_pretrained(tmp_path / "whole")
    medsam3.convert(file, tmp_path / "adapter", ALPHA, tmp_path / "whole")
    LlavaConfig().save_pretrained(tmp_path / "llava")
    with pytest.raises(UserError, match=r"model_type is 'llava', expected one of sam3, sam3_video"):
        medsam3.convert(file, tmp_path / "second", ALPHA, tmp_path / "llava")
    assert not (tmp_path / "second").exists()


def test_alpha_is_known_of_the_released_rank_only(checkpoint, weights, tmp_path):
    file = write(tmp_path / "raw", weights) / medsam3.RELEASED
    with pytest.raises(UserError, match=r"is of rank 4, and only of .* rank 16, alpha is known \(32\): write --alpha"):
        medsam3.convert(file, tmp_path / "adapter", None, checkpoint)
    assert not (tmp_path / "adapter").exists()
    torch.save(lora(checkpoint, rank=16), file)
    medsam3.convert(file, tmp_path / "adapter", None, checkpoint)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["lora_alpha"] == 32


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read as a file of weights alone: EOFError"),
        (b"never opened", "cannot be read as a file of weights alone: "),
        (b"\x80\x02.", "cannot be read as a file of weights alone: "),
        ("cut", "cannot be read as a file of weights alone: "),
        (
            Evil(),
            "cannot be read as a file of weights alone: Trying to load unsupported GLOBAL posix.system",
        ),
        ([1.0], "must hold tensors by name, found list"),
    ],
)
def test_a_file_of_something_else_is_refused_and_runs_nothing(
    content, told, checkpoint, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "raw", weights if content == "cut" else content) / medsam3.RELEASED
    if content == "cut":
        content = file.read_bytes()[:-1000]
    if isinstance(content, bytes):
        file.write_bytes(content)
    assert converted(file, tmp_path / "adapter", checkpoint) == 1
    said = capsys.readouterr().err
    assert f"{file} {told}" in said
    assert "weights_only" not in said, "how to run the file's code all the same"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_flipped_bit_is_seen(checkpoint, weights, tmp_path):
    file = write(tmp_path / "raw", weights) / medsam3.RELEASED
    content = bytearray(file.read_bytes())
    content[content.index(weights[f"{ONE}A"].detach().numpy().tobytes()) + 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{file} is damaged in \S*/data/\d+: download it anew"):
        medsam3.convert(file, tmp_path / "adapter", ALPHA, checkpoint)


def test_an_option_that_would_not_be_used_is_refused(checkpoint, weights, tmp_path, capsys):
    folder = write(tmp_path / "raw", weights)
    assert cli.main(["convert", str(folder), str(tmp_path / "adapter"), "--back", str(folder)]) == 1
    assert f"--back cannot be used: {folder / medsam3.RELEASED} is taken for LoRA weights" in capsys.readouterr().err
    assert cli.main(["convert", str(checkpoint), str(tmp_path / "adapter"), "--alpha", "32"]) == 1
    assert (
        f"--alpha cannot be used: {checkpoint} is no file of LoRA weights, and no folder with best_lora"
        in capsys.readouterr().err
    )


def test_a_target_that_is_there_is_refused(checkpoint, weights, tmp_path, capsys):
    folder = write(tmp_path / "raw", weights)
    assert converted(folder / medsam3.RELEASED, folder, checkpoint) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [medsam3.RELEASED]
