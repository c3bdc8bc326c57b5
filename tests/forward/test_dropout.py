"""Nothing in a model's training forward is left to chance."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForImageTextToText, Phi3Config, Phi3ForCausalLM

from firempo_plugin.forward.dropout import switch_off

RATES = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop")


class FromItsConfiguration(nn.Module):
    """Reads its rates at every call, one from a configuration within its own."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, x):
        x = F.dropout(x, self.config.hidden_dropout, self.training)
        return F.dropout(x, self.config.text_config.attention_dropout, self.training)


def twice(model, *args, **inputs):
    model.train()
    return [model(*args, **inputs) for _ in range(2)]


def test_rates_of_modules_and_of_functions():
    config = Phi3Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, **dict.fromkeys(RATES, 0.5),
    )  # fmt: skip
    model = Phi3ForCausalLM(config)
    ids = torch.arange(8)[None]
    first, second = twice(model, input_ids=ids)
    assert not torch.equal(first.logits, second.logits), "the rates have an effect"
    found = switch_off(model)
    assert {"Dropout.p", "Phi3Attention.attention_dropout", "Phi3Config.resid_pdrop"} <= found.keys()
    first, second = twice(model, input_ids=ids)
    assert_close(first.logits, second.logits, rtol=0, atol=0)
    assert_close(first.logits, model.eval()(input_ids=ids).logits, rtol=0, atol=0)


def test_rates_that_a_forward_reads_from_a_configuration_or_the_one_inside(checkpoint):
    config = AutoConfig.from_pretrained(checkpoint("llava"))
    config.hidden_dropout = 0.5
    config.text_config.attention_dropout = 0.5
    model = FromItsConfiguration(config)
    switch_off(model)
    assert_close(model.train()(torch.ones(100)), torch.ones(100))


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_every_kind_of_module(kind):
    model = kind(0.5)
    switch_off(model)
    assert_close(model.train()(torch.ones(3, 50)), torch.ones(3, 50))


def test_what_is_no_rate_stays():
    model = nn.Module()
    model.dropout_positions, model.drop_last, model.drop_every, model.epsilon = [0.5], True, 3, 0.5
    assert switch_off(model) == {}
    assert (model.dropout_positions, model.drop_last, model.drop_every, model.epsilon) == ([0.5], True, 3, 0.5)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava"])
def test_a_run_with_dropout_in_its_checkpoint_is_a_run_without(family, checkpoint, adapter, train, tmp_path):
    """In text and vision configurations and in the adapter, which is on in the policy's forward only."""
    config = AutoConfig.from_pretrained(checkpoint(family))
    for part in (config.text_config, config.vision_config):
        for rate in RATES:
            setattr(part, rate, 0.3)
    AutoModelForImageTextToText.from_pretrained(checkpoint(family), config=config).save_pretrained(tmp_path / "model")
    for file in checkpoint(family).iterdir():
        if file.is_file() and not (tmp_path / "model" / file.name).exists():
            (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    keys = {"adapter_name_or_path": str(adapter(family)), "freeze_vision_tower": False}
    without = train(family, **keys)[0]
    dropped = train(family, model_name_or_path=str(tmp_path / "model"), lora_dropout=0.3, **keys)[0]
    for name in ("loss", "grad_norm", "terms/rank", "terms/kl_forward"):
        assert_close(dropped[name], without[name], rtol=1e-6, atol=1e-9)
