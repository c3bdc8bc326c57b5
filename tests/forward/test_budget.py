"""What a step is counted to take, against numbers by hand and the tensors that autograd saves."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from firempo_plugin.forward.budget import Budget, Pair, Shapes, layer_bytes, token_bytes, trained_bytes

SHAPES = Shapes(2, 10, 20, 1000, 8, 4, 2, 1, 4, normed=False, eager=False, checkpointed=False)
ROOMY = Budget(1_000_000, 1000, 10, 12, SHAPES, Pair(100, 50, 2), head_rows=4)


def test_a_layer_by_hand():
    by_hand = 2 * 4 * 10 + 4 * (2 * 10 + 8 + 20 + 7 + 4 * 8 + 3 * 20) + 4 * 50
    assert layer_bytes(SHAPES, 50) == by_hand == 868
    assert token_bytes(SHAPES, 50) == 2 * 868
    assert token_bytes(replace(SHAPES, checkpointed=True), 50) == 2 * 10 * 4 + 868


def test_the_bytes_of_a_step_by_hand():
    assert ROOMY.fixed == 1000 + 120
    assert [ROOMY.head(tokens) for tokens in (100, 150, 200, 1000)] == [62_000, 93_000, 124_000, 124_000]
    assert ROOMY.least == 1120 + 62_000 + 100 * 1736


@pytest.mark.parametrize("head_rows", [4, 256])
def test_passes_fill_what_is_left_and_hold_the_largest_pair(head_rows):
    budget = replace(ROOMY, head_rows=head_rows)
    tokens = budget.pass_tokens(4096)
    assert budget.needed(tokens) <= 0.9 * budget.free < budget.needed(tokens + 1)
    assert budget.pass_tokens(200) == 200
    assert replace(budget, free=100_000).pass_tokens(4096) == 100
    assert [replace(budget, free=free).fits for free in (2 * budget.least, budget.least)] == [True, False]


@pytest.mark.parametrize(
    ("optimiser", "width", "autocast", "bytes_"),
    [
        ("adamw_torch", 4, False, 12),
        ("adamw_torch_fused", 4, True, 14),
        ("adamw_torch", 2, True, 6),
        ("paged_adamw_8bit", 4, False, 6),
        ("paged_lion_8bit", 4, False, 5),
        ("adafactor", 4, False, 4),
        ("none_that_is_known", 4, False, 12),
    ],
)
def test_what_a_trained_number_takes(optimiser, width, autocast, bytes_):
    assert trained_bytes(optimiser, width, autocast=autocast) == bytes_


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_count_is_what_autograd_saves(dtype):
    sizes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 2, "head_dim": 32, "vocab_size": 32}
    config = Qwen3Config(**sizes, num_attention_heads=8, num_key_value_heads=4)
    model = get_peft_model(Qwen3ForCausalLM(config).to(dtype), LoraConfig(r=16, target_modules="all-linear")).train()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    count, length, half = 2, 128, dtype == torch.bfloat16
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None].expand(count, 1, length, length)
    inputs = torch.randn(count, length, 256, dtype=dtype)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", enabled=half):
        found = model.get_base_model().model(inputs_embeds=inputs, attention_mask=mask, use_cache=False)
    shapes = Shapes(2, 256, 768, 32, 256, 128, 8, 16, 2 if half else 4, normed=True, eager=False, checkpointed=False)
    assert found.last_hidden_state.requires_grad
    assert count * length * token_bytes(shapes, length) == pytest.approx(sum(saved.values()), rel=0.25)
