"""A step never waits for the device: on a GPU, whatever reads a number from it stops the host until it is there."""

import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import send_to_device
from test_numbers import as_rows, pairs  # noqa: F401 - a fixture
from tiny import TEMPLATES
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils.pin_memory import pin_memory
from trainers import load
from transformers import Seq2SeqTrainingArguments

import firempo_plugin
from firempo_plugin.host.train.trainer import FireMPOTrainer

OURS = str(Path(firempo_plugin.__file__).parent)
READS = {
    "aten::_local_scalar_dense": "reads a number",
    "aten::nonzero": "its size depends on the data",
    "aten::masked_select": "its size depends on the data",
    "aten::is_nonzero": "reads a number",
    "aten::equal": "reads a number",
    "aten::unique2": "its size depends on the data",
    "aten::_unique2": "its size depends on the data",
    "aten::lift_fresh": "is made on the host",
}
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
METHODS = ("tolist", "cpu", "numpy", "item", "__bool__")


def caller():
    """The function of the package that called an operation of torch directly; None where another library did."""
    frame = sys._getframe(2)
    while frame is not None and any(part in frame.f_code.co_filename for part in ("/torch/", __file__)):
        frame = frame.f_back
    ours = frame is not None and frame.f_code.co_filename.startswith(OURS)
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}" if ours else None


class Waits(TorchDispatchMode):
    """Collects what would wait for a device, in the package's own functions, and all operations that it saw."""

    def __init__(self):
        super().__init__()
        self.found = set()
        self.seen = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split(".")[0]
        where = caller()
        self.seen += where is not None
        indices = args[1] if name in INDEXING else ()
        by_data = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if where and (name in READS or by_data):
            self.found.add(f"{where}: {name} {READS.get(name, 'is indexed by data')}")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch):
    """Returns the collector, which also sees the methods that torch does not dispatch on a CPU."""
    mode = Waits()

    def watched(name, method):
        def call(tensor, *args, **kwargs):
            if where := caller():
                mode.found.add(f"{where}: {name}")
            return method(tensor, *args, **kwargs)

        return call

    for name in METHODS:
        monkeypatch.setattr(torch.Tensor, name, watched(name, getattr(torch.Tensor, name)))
    return mode


OBJECTIVES = {
    "fire_mpo": {"fire_kl_scope": "response", "pref_ftx": 0.1, "fire_alpha": 0.2},
    "mdpo": {"fire_objective": "mdpo"},
    **{name: {"fire_objective": name} for name in ("s_dpo", "orpo", "r_dpo_length", "chip_no_kl")},
}


@pytest.fixture(scope="module")
def loaded(pairs, write_dataset_to, checkpoint, adapter, tmp_path_factory):  # noqa: F811
    """The model with the rows."""
    folder = write_dataset_to(tmp_path_factory.mktemp("rows"), as_rows(pairs))
    return load(checkpoint("qwen3_vl"), TEMPLATES["qwen3_vl"], "pairs", folder, folder, adapter=adapter("qwen3_vl"))


@pytest.fixture(params=OBJECTIVES)
def step(request, loaded):
    """A trainer, and one batch of several passes."""
    trainer = loaded.trainer(pass_tokens=1, **OBJECTIVES[request.param])
    batch = trainer.data_collator(list(loaded.rows))["batch"]
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.include_num_input_tokens_seen = "non_padding"
    assert len(batch.passes) > 1
    return trainer, batch


def test_a_step_reads_nothing_from_the_device(step, waits):
    trainer, batch = step
    with waits:
        (inputs,), _ = trainer.get_batch_samples(iter([{"batch": batch}]), 1, trainer.args.device)
        trainer.training_step(trainer.model, inputs)
        trainer.floating_point_ops(inputs)
        trainer._track_num_input_tokens(inputs)
    assert waits.seen > 100
    assert not waits.found
    assert trainer.state.num_input_tokens_seen == sum(int(each.inputs["attention_mask"].sum()) for each in batch.passes)


def test_evaluation_reads_nothing_from_the_device(step, waits):
    trainer, batch = step
    with waits:
        trainer.prediction_step(trainer.model, {"batch": batch})
    assert waits.seen > 100
    assert not waits.found


def tensors(content):
    if isinstance(content, torch.Tensor):
        return [content]
    content = vars(content) if is_dataclass(content) else content
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def test_a_batch_is_pinned_and_moved_whole_without_waiting(trainer_and_batch, monkeypatch):
    finish = Seq2SeqTrainingArguments.__post_init__

    def as_on_a_gpu(args):
        finish(args)
        args.dataloader_pin_memory = True

    monkeypatch.setattr(Seq2SeqTrainingArguments, "__post_init__", as_on_a_gpu)
    trainer, batch = trainer_and_batch("qwen3_vl", "fire_mpo_mixed", pass_tokens=1)
    trainer.args.remove_unused_columns = False
    loader = trainer.get_train_dataloader()
    assert (loader.base_dataloader.pin_memory, loader._non_blocking) == (True, True)

    pinned, moved = [], []
    to = torch.Tensor.to

    def remember(tensor, device, non_blocking):
        moved.append(non_blocking)
        return to(tensor, device)

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    monkeypatch.setattr(torch.Tensor, "to", remember)
    there = send_to_device(pin_memory({"batch": batch}), torch.device("meta"), non_blocking=loader._non_blocking)
    expected = len(tensors(batch))
    assert expected > 30
    assert len(pinned) == expected
    assert moved == [True] * expected
    assert {tensor.device.type for tensor in tensors(there)} == {"meta"}


def test_every_pass_weighs_the_same_whatever_the_accumulation(step):
    """A step's gradient is that of its rows, in however many micro-batches they come."""
    trainer, batch = step
    trainer._rows_of_step = len(batch)

    def gradients(steps):
        trainer.model.zero_grad()
        trainer.current_gradient_accumulation_steps = steps
        trainer.training_step(trainer.model, {"batch": batch}, torch.tensor(9))
        return {name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.requires_grad}

    once = gradients(1)
    assert any(gradient.abs().max() > 0 for gradient in once.values())
    torch.testing.assert_close(gradients(4), once, rtol=1e-4, atol=1e-7)


def test_the_loss_that_is_told_is_the_mean_over_the_rows(step):
    """What `train_loss` sums up, and what is logged."""
    trainer, batch = step
    trainer._rows_of_step = len(batch)
    with torch.no_grad():
        expected = trainer.row_losses(trainer.model, batch)[0].mean().item()
    for steps in (1, 4):
        trainer.current_gradient_accumulation_steps = steps
        told = trainer.training_step(trainer.model, {"batch": batch}, torch.tensor(9))
        assert told.item() == pytest.approx(expected, rel=1e-5)
        assert trainer._train_means.take(lambda sums: sums)["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_separate_reference_is_frozen():
    run = SimpleNamespace(
        is_deepspeed_enabled=False,
        is_fsdp_enabled=False,
        accelerator=SimpleNamespace(prepare_model=lambda model, evaluation_mode: model),
    )
    reference = FireMPOTrainer._prepare_reference(run, torch.nn.Linear(2, 2).train())
    assert not reference.training
    assert not any(weight.requires_grad for weight in reference.parameters())
