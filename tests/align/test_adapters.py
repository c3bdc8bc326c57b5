"""Several adapters as one: the same weights as both of them, one after the other."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from firempo_plugin.align.adapters import WEIGHTS, stack
from firempo_plugin.errors import UserError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)
        self.patch = nn.Conv2d(3, 6, 2, stride=2)

    def forward(self, image):
        return self.down(torch.tanh(self.up(self.patch(image).flatten(2).mean(-1))))


IMAGE = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def write(folder, seed, **keys):
    """An adapter with random weights, as PEFT writes it."""
    wrapped = get_peft_model(Model(), LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ["up", "down"]} | keys))
    torch.manual_seed(seed)
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight, std=0.5)
    wrapped.save_pretrained(folder)
    return folder


def merged(*folders):
    model = Model()
    for folder in folders:
        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    return model(IMAGE)


OTHERS = [
    {},
    {"r": 2, "lora_alpha": 5},
    {"use_rslora": True},
    {"target_modules": ["down"]},
    {"target_modules": ["patch", "down"], "r": 3},
]


@pytest.mark.parametrize("keys", OTHERS, ids=str)
def test_a_stack_is_both_adapters(tmp_path, keys):
    first, second = write(tmp_path / "1", 1), write(tmp_path / "2", 2, **keys)
    stack([first, second], tmp_path / "both")
    expected, found = merged(first, second), merged(tmp_path / "both")
    assert (expected - merged(first)).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_stack_is_stacked_again(tmp_path):
    folders = [write(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    stack(folders[:2], tmp_path / "two")
    stack([tmp_path / "two", folders[2]], tmp_path / "three")
    torch.testing.assert_close(merged(tmp_path / "three"), merged(*folders), rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "three" / "adapter_config.json").read_text())["r"] == 12
    assert not list(tmp_path.glob("*.partial"))


REFUSED = [
    ({"use_dora": True}, "use_dora is True; only plain LoRA is stacked"),
    ({"modules_to_save": ["up"], "target_modules": ["down"]}, r"modules_to_save is \['up'\]"),
    ({"rank_pattern": {"down": 2}}, "rank_pattern is"),
    ({"bias": "lora_only"}, "bias is 'lora_only'"),
]


@pytest.mark.parametrize(("keys", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_no_plain_lora_is_refused(tmp_path, keys, said):
    with pytest.raises(UserError, match=said):
        stack([write(tmp_path / "1", 1), write(tmp_path / "2", 2, **keys)], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_weights_that_are_no_pairs_are_refused(tmp_path):
    folder = write(tmp_path / "1", 1)
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {"base_model.model.up.bias": torch.zeros(10)}, folder / WEIGHTS)
    with pytest.raises(UserError, match=r"\['base_model.model.up.bias'\] are no LoRA weights"):
        stack([folder, folder], tmp_path / "both")
    with pytest.raises(UserError, match="holds no adapter_config"):
        stack([tmp_path / "missing", folder], tmp_path / "both")
