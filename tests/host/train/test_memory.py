"""Passes are as large as the device's free memory lets them be, and the log says what it is too small for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from firempo_plugin.forward.budget import Shapes, token_bytes
from firempo_plugin.host.train import memory


@pytest.fixture
def fit(trainer_and_batch, monkeypatch):
    """Returns a function that gives the tokens of a pass, and what the log says, with so much memory free."""
    trainer, _ = trainer_and_batch("qwen3_vl", "fire_mpo_mixed", pass_tokens=1024)
    said = []
    monkeypatch.setattr(memory.logger, "info_rank0", said.append)
    monkeypatch.setattr(memory.logger, "warning_rank0", said.append)

    def call(free, settings=trainer.settings, layout=trainer.data_collator.layout, checkpointed=False):
        said.clear()
        monkeypatch.setattr(memory, "free_bytes", lambda device: free)
        shapes = memory.shapes_of(trainer.model, half=False)
        monkeypatch.setattr(memory, "shapes_of", lambda model, half: replace(shapes, checkpointed=checkpointed))
        args = SimpleNamespace(device=torch.device("cuda"), bf16=False, fp16=False, optim="adamw_torch")
        found = memory.fitting(layout, trainer.model, None, trainer.train_dataset, settings, args)
        return found.pass_tokens, list(said)

    call.trainer = trainer
    return call


def test_the_sizes_are_those_of_the_model(trainer_and_batch):
    model = trainer_and_batch("qwen3_vl", "fire_mpo_mixed")[0].model
    text = model.config.get_text_config()
    assert memory.shapes_of(model, half=True) == Shapes(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        vocabulary=text.vocab_size,
        queries=text.num_attention_heads * text.head_dim,
        keys=text.num_key_value_heads * text.head_dim,
        heads=text.num_attention_heads,
        rank=8,
        width=2,
        normed=True,
        eager=False,
        checkpointed=True,
    )


def test_where_nothing_is_known_of_the_device_the_default_stays():
    assert memory.free_bytes(torch.device("cpu")) is None


def test_passes_fill_what_is_free(fit):
    tokens, said = fit(10**12)
    assert tokens == memory.MOST_PASS_TOKENS
    assert "fire_pass_tokens: 16384; the largest pair (fire_mpo_mixed, row " in said[0]
    least = fit.trainer.train_dataset[memory.longest_row(fit.trainer.train_dataset)]
    largest = memory.largest_pair(least, fit.trainer.settings, fit.trainer.data_collator.layout)
    shapes = memory.shapes_of(fit.trainer.model, half=False)
    trained = sum(weight.numel() for weight in fit.trainer.model.parameters() if weight.requires_grad)
    weights = sum(weight.nbytes for weight in fit.trainer.model.parameters())
    head = largest.scored * shapes.vocabulary * 31 * 1000 / largest.tokens
    free = (weights + 12 * trained + head + 1000 * token_bytes(shapes, largest.length)) / 0.9
    assert largest.tokens < 1000
    assert fit(int(free) + 1)[0] == 1000


@pytest.mark.parametrize("model_type", ["mllama", "qwen3_vl_moe"])
def test_a_model_whose_layers_are_not_counted_keeps_the_default(fit, monkeypatch, model_type):
    monkeypatch.setattr(fit.trainer.model.config, "model_type", model_type)
    assert fit(1) == (1024, [])


def test_layers_that_carry_a_state_are_not_counted(fit, monkeypatch):
    text = fit.trainer.model.config.get_text_config()
    monkeypatch.setattr(text, "layer_types", ["linear_attention", "full_attention"], raising=False)
    assert fit(1) == (1024, [])


def test_what_does_not_fit_is_said_with_what_to_write(fit):
    tokens, (warning,) = fit(1)
    largest = memory.largest_pair(
        fit.trainer.train_dataset[memory.longest_row(fit.trainer.train_dataset)],
        fit.trainer.settings,
        fit.trainer.data_collator.layout,
    )
    assert tokens == largest.tokens
    assert warning.startswith("The run may end out of memory: the largest pair (fire_mpo_mixed, row ")
    assert "and 0.0 GB are free. Write `disable_gradient_checkpointing: false`, lower cutoff_len" in warning
    assert "false" not in fit(1, checkpointed=True)[1][0]


def test_checkpointing_that_is_not_needed_is_named(fit):
    assert "`disable_gradient_checkpointing: true` saves a forward" in fit(10**12, checkpointed=True)[1][1]
    assert len(fit(10**12)[1]) == 1


def test_a_pair_whose_images_are_compared_is_one_pass(fit):
    row = fit.trainer.train_dataset[0]
    assert row["rejected_images"]
    layout, settings = fit.trainer.data_collator.layout, fit.trainer.settings
    apart = memory.largest_pair(row, settings, layout)
    from firempo_plugin.objectives.table import OBJECTIVES

    together = memory.largest_pair(row, replace(settings, objective=OBJECTIVES["mdpo"]), layout)
    assert together.tokens > 1.5 * apart.tokens


def test_the_longest_row_is_found(fit):
    rows = fit.trainer.train_dataset
    lengths = [sum(len(row[name]) for name in memory.IDS) for row in rows]
    assert lengths[memory.longest_row(rows)] == max(lengths)


def test_a_run_takes_it_where_nothing_is_written(train, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "firempo_plugin.host.train.memory.fitting", lambda layout, *rest: asked.append(layout) or layout
    )
    train(max_steps=1)
    train(max_steps=1, fire_pass_tokens=7)
    assert [layout.pass_tokens for layout in asked] == [1024]
