"""`firempo convert` on tiny models of the true architectures: the same numbers there, the same bytes back."""

import json

import pytest
import torch
from originals import HUATUO, IMAGE, LLAVA_MED, VISION, parts_of, save_shards, save_tower
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, LlavaForConditionalGeneration

from firempo_plugin import cli
from firempo_plugin.convert import commands, place
from firempo_plugin.convert.kinds import KINDS
from firempo_plugin.convert.names import PARTS, original_name, target_name
from firempo_plugin.errors import UserError

ARCHITECTURES = (HUATUO, LLAVA_MED)


def tensors(folder):
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def same_bytes(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name].flatten().view(torch.uint8), value.flatten().view(torch.uint8)), name


def edit_json(file, **changes):
    known = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in (known | changes).items() if value is not ...}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "text", ["<image>\nIs it normal?", "<image>\n<image>\nAre they alike?\nYes or no", "No image."]
)
def test_logits_are_the_originals(architecture, text, released, tmp_path):
    made, folder, tower = released(architecture)
    assert commands.convert(folder, tmp_path / "llava", tower) == 0
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava").eval()
    assert model.dtype == torch.float32
    ids = made.ids(text)
    pixels = torch.randn(max(1, ids.count(IMAGE)), 3, 56, 56, generator=torch.Generator().manual_seed(5))
    expected = made.logits(ids, pixels)
    spread = [token for one in ids for token in ([made.kind.image_token_id] * 16 if one == IMAGE else [one])]
    with torch.no_grad():
        found = model(input_ids=torch.tensor([spread]), pixel_values=pixels if IMAGE in ids else None).logits[0]
    assert expected.std() > 0.1
    assert_close(found[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("form", "dtype"), [("safetensors", "bfloat16"), ("bin", "float16"), ("old bin", "float32")])
def test_there_and_back_are_the_same_bytes(architecture, form, dtype, released, tmp_path):
    made, folder, tower = released(architecture, form=form, dtype=getattr(torch, dtype), torch_dtype=dtype)
    assert cli.main(["convert", str(folder), str(tmp_path / "llava"), *tower_flag(tower)]) == 0
    back = ["convert", str(tmp_path / "llava"), str(tmp_path / "home"), "--back", str(folder), *tower_flag(tower)]
    assert cli.main(back) == 0
    first = made.tensors(tower=tower is None)
    cast = {n: v if v.dtype == torch.int64 else v.to(getattr(torch, dtype)) for n, v in first.items()}
    same_bytes(tensors(tmp_path / "home"), cast)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "README.md"):
        assert (tmp_path / "home" / name).read_bytes() == (folder / name).read_bytes()
    assert not list((tmp_path / "home").glob("*.bin*"))
    assert (tmp_path / "llava" / "generation_config.json").read_bytes() == (
        folder / "generation_config.json"
    ).read_bytes()


def tower_flag(tower):
    return [] if tower is None else ["--vision-tower", str(tower)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_transformers_saves_of_a_trained_model_goes_home(architecture, released, tmp_path):
    made, folder, tower = released(architecture)
    commands.convert(folder, tmp_path / "llava", tower)
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava")
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
        model.model.multi_modal_projector.linear_2.weight.mul_(2.0)
    model.save_pretrained(tmp_path / "trained", max_shard_size="100KB")
    commands.back(tmp_path / "trained", tmp_path / "home", folder, tower)
    expected = made.tensors(tower=tower is None)
    expected["lm_head.weight"] = expected["lm_head.weight"] + 1.0
    expected["model.mm_projector.2.weight"] = expected["model.mm_projector.2.weight"] * 2.0
    same_bytes(tensors(tmp_path / "home"), expected)


def test_the_appended_row_is_the_mean_of_the_others(released, tmp_path):
    made, folder, tower = released(LLAVA_MED, dtype=torch.bfloat16, torch_dtype="bfloat16")
    commands.convert(folder, tmp_path / "llava", tower)
    found = tensors(tmp_path / "llava")
    for name, weight in (
        ("language_model.lm_head.weight", made.text.lm_head.weight),
        ("language_model.model.embed_tokens.weight", made.text.model.embed_tokens.weight),
    ):
        kept = weight.detach().to(torch.bfloat16)
        assert torch.equal(found[name][:-1], kept)
        assert torch.equal(found[name][-1], kept.double().mean(0).to(torch.bfloat16))
    config = json.loads((tmp_path / "llava" / "config.json").read_text())
    assert config["text_config"]["vocab_size"] == len(kept) + 1 == config["image_token_index"] + 1


def test_a_window_that_is_null_stays_null_and_rope_is_told_in_both_ways(released, tmp_path):
    _, folder, tower = released(LLAVA_MED)
    commands.convert(folder, tmp_path / "llava", tower)
    text = json.loads((tmp_path / "llava" / "config.json").read_text())["text_config"]
    assert text["sliding_window"] is None
    assert text["rope_theta"] == text["rope_parameters"]["rope_theta"] == 1e6
    assert text["architectures"] == ["MistralForCausalLM"]


def test_a_tower_in_the_shards_is_the_one_that_is_taken(released, tmp_path):
    made, folder, _ = released(LLAVA_MED, tower=True)
    other = tmp_path / "other"
    save_tower(CLIPVisionModel(CLIPVisionConfig(**VISION)), other)
    commands.convert(folder, tmp_path / "llava", other)
    found = tensors(tmp_path / "llava")
    for name, value in parts_of(made.tower).items():
        assert torch.equal(found[f"vision_tower.vision_model.{name}"], value)


@pytest.mark.parametrize("field", [*KINDS[HUATUO].fields, "tie_word_embeddings", "mm_use_im_patch_token"])
def test_a_field_that_differs_is_refused_by_its_name(field, released, tmp_path):
    made, folder, _ = released(HUATUO)
    expected = {**made.kind.fields, "tie_word_embeddings": False, "mm_use_im_patch_token": False}[field]
    edit_json(folder / "config.json", **{field: "other"})
    with pytest.raises(UserError, match=f'{field} is "other", expected {json.dumps(expected)}'):
        commands.convert(folder, tmp_path / "llava", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["released"]


def test_fields_that_are_missing_are_all_named(released, tmp_path):
    _, folder, _ = released(HUATUO)
    edit_json(folder / "config.json", mm_projector_type=..., image_aspect_ratio=..., tie_word_embeddings=...)
    with pytest.raises(UserError, match='mm_projector_type is missing, expected "mlp2x_gelu"; image_aspect_ratio is'):
        commands.convert(folder, tmp_path / "llava", None)


@pytest.mark.parametrize("architectures", [["LlavaLlamaForCausalLM"], [], None, "LlavaQwen2ForCausalLM"])
def test_another_architecture_is_told_what_is_supported(architectures, released, tmp_path, capsys):
    _, folder, _ = released(HUATUO)
    edit_json(folder / "config.json", architectures=architectures)
    assert cli.main(["convert", str(folder), str(tmp_path / "llava")]) == 1
    told = capsys.readouterr().err
    assert "LlavaQwen2ForCausalLM (HuatuoGPT-Vision-7B), LlavaMistralForCausalLM (LLaVA-Med v1.5)" in told
    assert repr(architectures) in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("model.norm.weight"), "missing: model.norm.weight"),
        (lambda t: t.update({"model.extra.weight": torch.zeros(2)}), "unknown: model.extra.weight"),
        (lambda t: t.update({"model.image_newline": torch.zeros(2)}), "unknown: model.image_newline"),
        (
            lambda t: t.update({"model.mm_projector.0.bias": torch.zeros(3)}),
            r"of another shape: model.mm_projector.0.bias is \[3\], expected \[64\]",
        ),
        (
            lambda t: t.pop("model.vision_tower.vision_tower.vision_model.embeddings.class_embedding"),
            "missing: model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",
        ),
    ],
)
def test_every_tensor_is_accounted_for_before_anything_is_written(change, told, released, tmp_path):
    made, folder, _ = released(HUATUO)
    changed = made.tensors()
    change(changed)
    for file in folder.glob("model*"):
        file.unlink()
    save_shards(folder, changed)
    with pytest.raises(UserError, match=told):
        commands.convert(folder, tmp_path / "llava", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["released"]


def test_a_trained_model_that_is_none_of_the_original_is_refused(released, tmp_path):
    _, folder, tower = released(LLAVA_MED)
    commands.convert(folder, tmp_path / "llava", tower)
    trained = tensors(tmp_path / "llava")
    save_shards(tmp_path / "llava", {n.replace("model.norm", "model.final"): v for n, v in trained.items()})
    with pytest.raises(UserError, match=r"missing: model.norm.weight; unknown: language_model.model.final.weight"):
        commands.back(tmp_path / "llava", tmp_path / "home", folder, tower)
    trained["vision_tower.vision_model.post_layernorm.weight"] += 1
    save_shards(tmp_path / "llava", trained)
    with pytest.raises(UserError, match=r"was trained, .* lost: \S*vision_model.post_layernorm.weight$"):
        commands.back(tmp_path / "llava", tmp_path / "home", folder, tower)
    (tmp_path / "llava" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="merge it with `llamafactory-cli export`"):
        commands.back(tmp_path / "llava", tmp_path / "home", folder, tower)
    assert not (tmp_path / "home").exists()


def test_a_source_without_a_tower_asks_for_it(released, tmp_path):
    _, folder, _ = released(LLAVA_MED)
    with pytest.raises(UserError, match=r"no vision tower: write --vision-tower .* openai/clip-vit-large-patch14-336"):
        commands.convert(folder, tmp_path / "llava", None)
    edit_json(folder / "config.json", mm_vision_tower="/data/my-clip")
    with pytest.raises(UserError, match="mm_vision_tower is '/data/my-clip', which is not a folder of the model"):
        commands.convert(folder, tmp_path / "llava", None)


def test_other_settings_of_images_are_refused_by_name(released, tmp_path):
    _, folder, _ = released(HUATUO)
    edit_json(folder / "vit" / "clip_vit_large_patch14_336" / "preprocessor_config.json", resample=2)
    with pytest.raises(UserError, match="resample is 2, expected 3"):
        commands.convert(folder, tmp_path / "llava", None)


def test_another_vocabulary_is_refused(released, tmp_path):
    _, folder, _ = released(HUATUO)
    longer = AutoTokenizer.from_pretrained(folder)
    longer.add_tokens(["<|user|>"])
    longer.save_pretrained(folder)
    with pytest.raises(UserError, match=f"has {len(longer)} entries, HuatuoGPT-Vision-7B's has {len(longer) - 1}"):
        commands.convert(folder, tmp_path / "llava", None)
    assert not (tmp_path / "llava").exists()


def test_a_place_that_cannot_be_replaced_is_told_before(released, tmp_path, monkeypatch):
    _, folder, _ = released(HUATUO)
    (tmp_path / "volume").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "volume")
    commands.convert(folder, tmp_path / "link", None)
    assert (tmp_path / "volume" / "config.json").is_file()
    monkeypatch.setattr(place.os.path, "ismount", lambda path: path.name == "mounted")
    with pytest.raises(UserError, match="is where a file system is mounted"):
        commands.convert(folder, tmp_path / "mounted", None)


def test_names_go_there_and_back():
    for part in PARTS:
        for start in (part.target, *part.others):
            assert original_name(start + "x.weight") == part.original + "x.weight"
        assert original_name(target_name(part.original + "x.weight")) == part.original + "x.weight"
