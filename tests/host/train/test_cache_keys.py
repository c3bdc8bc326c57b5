"""Any two settings whose results differ have two keys, and two whose results are the same have one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from transformers import LlavaConfig

from firempo_plugin.forward import reference_cache, vision_cache
from firempo_plugin.forward.disk import Vectors
from firempo_plugin.forward.plan import ScoredCell
from firempo_plugin.forward.reference_cache import ReferenceCache
from firempo_plugin.forward.vision_cache import FeatureKind, VisionCache
from firempo_plugin.host.data import dataset, rows
from firempo_plugin.host.data.dataset import encoding_fingerprint
from firempo_plugin.host.data.processor import image_settings
from firempo_plugin.host.train import caches
from firempo_plugin.host.train.caches import reference_digest, tower_digest
from firempo_plugin.objectives.terms import Cell


@pytest.fixture
def fingerprint(checkpoint):
    """Returns a function from settings to the fingerprint of the encoding; `change` gets tokenizer and processor."""

    def compute(change=lambda tokenizer, processor: None, images=None, family="qwen3_vl", **data):
        args = ModelArguments(model_name_or_path=str(checkpoint(family)), **images or {})
        data_args = DataArguments(**{"template": "qwen3_vl_nothink", "cutoff_len": 1024, **data})
        tokens = load_tokenizer(args)
        change(**tokens)
        return encoding_fingerprint(data_args, **tokens)

    return compute


@pytest.mark.parametrize(
    "data",
    [
        {"template": "qwen3_vl"},
        {"default_system": "You are a radiologist."},
        {"tool_format": "qwen"},
        {"enable_thinking": False},
        {"preserve_thinking": True},
        {"cutoff_len": 1023},
        {"images": {"image_max_pixels": 500_000}},
        {"images": {"image_min_pixels": 500}},
        {"images": {"image_do_pan_and_scan": True}},
        {"images": {"crop_to_patches": True}},
        {"images": {"split_special_tokens": True}},
        {"images": {"add_tokens": "lung"}},
        {"family": "qwen2_5_vl"},
    ],
    ids=str,
)
def test_every_setting_of_the_encoding_is_in_its_fingerprint(fingerprint, data):
    assert fingerprint() == fingerprint()
    assert fingerprint(**data) != fingerprint()


def fewer_merges(tokenizer, processor):
    """The same vocabulary, other tokens."""
    import json

    from tokenizers import Tokenizer

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["model"]["merges"] = content["model"]["merges"][:-1]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))


def other_eos(tokenizer, processor):
    tokenizer.eos_token = "<|endoftext|>"


def other_chat_template(tokenizer, processor):
    """Read where no `template` is named."""
    tokenizer.chat_template = "another"


def other_patches(tokenizer, processor):
    processor.image_processor.patch_size = 99


def other_setting_of_the_processor(tokenizer, processor):
    processor.num_additional_image_tokens = 7


@pytest.mark.parametrize(
    "change", [fewer_merges, other_eos, other_chat_template, other_patches, other_setting_of_the_processor]
)
def test_every_part_of_tokenizer_and_processor_is_in_it(fingerprint, change):
    assert fingerprint(change) != fingerprint()


def test_padding_that_a_call_leaves_behind_is_not_in_it(fingerprint):
    def pad(tokenizer, processor):
        tokenizer(["a", "a b"], padding=True, truncation=True, max_length=4)

    assert fingerprint(pad) == fingerprint()


def test_the_version_of_the_encoding_and_the_host_are_in_it(fingerprint, monkeypatch):
    before = fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "version", lambda *_: "another version")
        assert fingerprint() != before
    monkeypatch.setattr(rows, "VERSION", rows.VERSION + 1)
    assert fingerprint() != before


@pytest.fixture
def images(checkpoint):
    """Returns a function from settings to what decides the pixels; `change` gets the processor."""

    def compute(change=lambda processor: None, template="qwen3_vl_nothink", **limits):
        args = ModelArguments(model_name_or_path=str(checkpoint("qwen3_vl")), **limits)
        tokens = load_tokenizer(args)
        change(tokens["processor"])
        found = get_template_and_fix_tokenizer(tokens["tokenizer"], DataArguments(template=template))
        return image_settings(found, tokens["processor"])

    return compute


def other_patch_size(processor):
    processor.image_processor.patch_size = 99


def other_mean(processor):
    processor.image_processor.image_mean = [0.1, 0.1, 0.1]


def slow_resampling(processor):
    """Another class with the same settings, as of another back end."""
    base = type(processor.image_processor)
    processor.image_processor.__class__ = type("Another", (base,), {})


@pytest.mark.parametrize(
    "change",
    [
        {"image_max_pixels": 500_000},
        {"image_min_pixels": 500},
        {"crop_to_patches": True},
        {"template": "llava"},
        {"change": other_patch_size},
        {"change": other_mean},
        {"change": slow_resampling},
    ],
    ids=lambda keys: " ".join(map(str, (*keys, *(getattr(value, "__name__", value) for value in keys.values())))),
)
def test_all_that_decides_pixels_is_in_the_image_settings(images, change):
    assert images() == images()
    assert images(**change) != images()


def test_texts_are_not_in_the_image_settings(images):
    assert images(template="qwen3_vl") == images(), "it writes other words around the same images"


def model(tower=1.0, text=1.0, trained=1.0, changes=None, **config):
    """Modules of a tower, of a frozen language model, and in training."""
    values = {"visual": tower, "language_model": text, "trained": trained}
    parts = {name: torch.nn.Linear(1, 1) for name in values}
    with torch.no_grad():
        for part, value in zip(parts.values(), values.values(), strict=True):
            part.weight.fill_(value)
            part.bias.zero_()
    found = torch.nn.ModuleDict({"model": torch.nn.ModuleDict(parts)})
    found.config = LlavaConfig(**{"attn_implementation": "eager", **config})
    for (part, key), value in (changes or {}).items():
        setattr(getattr(found.config, part) if part else found.config, key, value)
    return found


def arguments(device="cpu", **training):
    flags = dict.fromkeys(("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32"), False) | training
    return SimpleNamespace(**flags, device=SimpleNamespace(type=device))


def of_reference(found=None, settings=None, **training):
    trained = {"model.trained.weight", "model.trained.bias"}
    return reference_digest(found or model(), arguments(**training), settings or {}, trained)


def of_tower(found=None, settings=None, **training):
    return tower_digest(found or model(), arguments(**training), settings or {}, ("visual",))


COMMON = {
    "weights of the tower": lambda: {"found": model(tower=2.0)},
    "type of the weights": lambda: {"found": model().to(torch.bfloat16)},
    "settings of the tower": lambda: {"found": model(changes={("vision_config", "hidden_act"): "relu"})},
    "layer that is taken": lambda: {"found": model(vision_feature_layer=-1)},
    "attention": lambda: {"found": model(attn_implementation="sdpa")},
    "attention of the tower": lambda: {"found": model(changes={("vision_config", "_attn_implementation"): "sdpa"})},
    "quantisation": lambda: {"found": model(changes={("", "quantization_config"): {"load_in_4bit": True}})},
    "image settings": lambda: {"settings": {"image_max_pixels": 9}},
    "device": lambda: {"device": "cuda"},
    **{name: lambda name=name: {name: True} for name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32")},
}
OF_THE_TEXT = {
    "weights of the language model": lambda: {"found": model(text=2.0)},
    "settings of the language model": lambda: {"found": model(changes={("text_config", "rms_norm_eps"): 0.1})},
    "its attention": lambda: {"found": model(changes={("text_config", "_attn_implementation"): "sdpa"})},
}


@pytest.mark.parametrize("change", (COMMON | OF_THE_TEXT).values(), ids=COMMON | OF_THE_TEXT)
def test_all_that_a_reference_says_depends_on_is_in_its_digest(change):
    assert of_reference() == of_reference()
    assert of_reference(**change()) != of_reference()


@pytest.mark.parametrize("change", COMMON.values(), ids=COMMON)
def test_all_that_features_depend_on_is_in_the_digest_of_the_tower(change):
    assert of_tower() == of_tower()
    assert of_tower(**change()) != of_tower()


@pytest.mark.parametrize("change", OF_THE_TEXT.values(), ids=OF_THE_TEXT)
def test_nothing_of_the_language_model_is_in_the_digest_of_the_tower(change):
    assert of_tower(**change()) == of_tower()


@pytest.mark.parametrize("digest", [of_reference, of_tower])
def test_the_place_of_a_model_and_weights_in_training_are_in_no_digest(digest):
    assert digest(model(trained=2.0)) == digest()
    assert digest(model(name_or_path="elsewhere")) == digest()


@pytest.mark.parametrize("digest", [of_reference, of_tower])
@pytest.mark.parametrize("package", ["torch", "transformers", "pillow", "torchvision"])
def test_the_versions_are_in_both(monkeypatch, package, digest):
    before, real = digest(), caches.version
    monkeypatch.setattr(caches, "version", lambda name: "another" if name == package else real(name))
    assert digest() != before


def test_the_versions_of_what_is_stored_are_in_the_keys(monkeypatch, tmp_path):
    vectors = Vectors(4, frozenset({torch.float32}))
    image = Image.new("L", (4, 4))
    cell = ScoredCell(0, Cell.CLEAN_CHOSEN, (1, 2), (3, 4), (image,), (0, 1), frozenset(), frozenset(), ())

    def keys():
        of_image = VisionCache(tmp_path, "tower", 9, FeatureKind(vectors)).key(image)
        return of_image, ReferenceCache(tmp_path, "reference", vectors).entry(cell).key

    before = keys()
    assert keys() == before
    for module in (vision_cache, reference_cache):
        monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert not set(keys()) & set(before)


def test_no_key_reads_a_source(fingerprint, images, monkeypatch):
    """A comment in a module must not make everything anew."""
    read = []
    real_open, real_bytes = open, Path.read_bytes

    def noted(file, *args, **kwargs):
        read.append(str(file))
        return real_open(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", noted)
    monkeypatch.setattr("io.open", noted)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(str(path)) or real_bytes(path))
    fingerprint(), of_reference(settings=images()), of_tower(settings=images())
    assert any(name.endswith("tokenizer.json") for name in read), "reads are seen"
    assert not [name for name in read if "firempo_plugin" in name and name.endswith(".py")]
