"""Any two settings whose results differ have two keys: every input of them, one at a time."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from transformers import PretrainedConfig

from firempo_plugin.forward import masks, score
from firempo_plugin.host import caches, collator, dataset
from firempo_plugin.host.caches import model_digest
from firempo_plugin.host.dataset import encoding_fingerprint


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


@pytest.mark.parametrize("name", ["code_fingerprint", "version"])
def test_the_code_and_the_host_are_in_it(fingerprint, monkeypatch, name):
    before = fingerprint()
    monkeypatch.setattr(dataset, name, lambda *_: "another version")
    assert fingerprint() != before


def model(weight=1.0, other=1.0, **config):
    found = torch.nn.ModuleDict({"frozen": torch.nn.Linear(1, 1), "other": torch.nn.Linear(1, 1)})
    with torch.no_grad():
        for part, value in zip(found.values(), (weight, other), strict=True):
            part.weight.fill_(value)
            part.bias.zero_()
    found.config = PretrainedConfig(**{"attn_implementation": "eager", **config})
    return found


def digest(found=None, encoding="encoding", device="cpu", **training):
    flags = dict.fromkeys(("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32"), False) | training
    args = SimpleNamespace(**flags, device=SimpleNamespace(type=device))
    return model_digest(found or model(), args, encoding, lambda name: name.startswith("frozen"))


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"found": model(weight=2.0)},
        lambda: {"found": model().to(torch.bfloat16)},
        lambda: {"found": model(rope_theta=5.0)},
        lambda: {"found": model(attn_implementation="sdpa")},
        lambda: {"encoding": "another"},
        lambda: {"device": "cuda"},
        *(lambda name=name: {name: True} for name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32")),
    ],
)
def test_all_that_a_model_says_depends_on_is_in_its_digest(change):
    assert digest() == digest()
    assert digest(**change()) != digest()


def test_the_place_of_a_model_and_weights_that_do_not_count_are_not_in_it():
    assert digest(model(other=2.0)) == digest()
    assert digest(model(name_or_path="elsewhere")) == digest()


@pytest.mark.parametrize("package", ["torch", "transformers", "pillow", "torchvision"])
def test_the_versions_are_in_it(monkeypatch, package):
    before, real = digest(), caches.version
    monkeypatch.setattr(caches, "version", lambda name: "another" if name == package else real(name))
    assert digest() != before


def test_the_code_that_runs_the_model_is_in_it(monkeypatch):
    before = digest()
    monkeypatch.setattr(caches, "code_that_runs", lambda: "another")
    assert digest() != before


@pytest.mark.parametrize("module", [collator, masks, score])
def test_every_part_of_that_code_counts(monkeypatch, module):
    before = caches.code_that_runs.__wrapped__()
    real = Path.read_bytes
    changed = Path(module.__file__)
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + (b"#" if path == changed else b""))
    assert caches.code_that_runs.__wrapped__() != before
