"""Nothing that is not finite reaches the weights, and the run says where it came from."""

import math

import pytest
import torch
from accelerate import Accelerator
from ranks import run_as_ranks

from firempo_plugin.host.train.guard import FiniteGuard
from firempo_plugin.host.train.trainer import FireMPOTrainer

DATA = "fire_mpo_mixed"


@pytest.fixture
def guard():
    return FiniteGuard(Accelerator(cpu=True), {"pref_beta": 0.1})


def test_a_loss_names_its_row(guard):
    guard.add(torch.tensor([0.5, 0.25]), ["pairs, row 4", "pairs, row 2"])
    guard.add(torch.tensor([math.inf]), ["pairs, row 7"])
    with pytest.raises(ValueError, match=r"Step 3 .*loss of 1 row.* pairs, row 7 \(inf\)\. Settings: pref_beta: 0\.1"):
        guard.check(3, 1.0)


def test_a_gradient_names_all_rows_of_the_step(guard):
    guard.add(torch.tensor([0.5, 0.25]), ["pairs, row 4", "pairs, row 2"])
    with pytest.raises(ValueError, match=r"Step 3 .*gradient \(its norm is nan\).* row 4 \(0\.5\); pairs, row 2"):
        guard.check(3, torch.tensor(math.nan))


def test_a_step_is_over_with_its_check(guard):
    guard.add(torch.tensor([0.5]), ["pairs, row 4"])
    guard.check(1, torch.tensor(2.0))
    guard.add(torch.tensor([0.25]), ["pairs, row 5"])
    with pytest.raises(ValueError, match=r"losses: pairs, row 5 \(0\.25\)\."):
        guard.check(2, math.nan)


def test_every_rank_stops_with_the_same_words(tmp_path):
    def stop():
        accelerator = Accelerator(cpu=True)
        rank = accelerator.process_index
        guard = FiniteGuard(accelerator, {"pref_beta": 0.1})
        losses = torch.tensor([0.5, math.nan if rank else 0.25])
        guard.add(losses, [f"pairs, row {rank}", f"pairs, row {rank + 10}"])
        with pytest.raises(ValueError, match="finite") as stopped:
            guard.check(3, 1.0)
        (tmp_path / str(rank)).write_text(str(stopped.value))

    run_as_ranks(stop)
    said = [(tmp_path / rank).read_text() for rank in "01"]
    assert said[0] == said[1]
    assert "loss of 1 row(s) is not finite. Rows and their losses: pairs, row 11 (nan)." in said[0]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_that_diverges_stops_before_the_weights_do(accumulation, train, monkeypatch):
    """The first update is too large, and the second step's losses are none."""
    models = []
    create_optimizer = FireMPOTrainer.create_optimizer
    monkeypatch.setattr(
        FireMPOTrainer,
        "create_optimizer",
        lambda self, *args: models.append(self.model) or create_optimizer(self, *args),
    )
    with pytest.raises(ValueError, match=rf"Step 2 .*{DATA}, row \d+ \((nan|inf)\).*learning_rate: 1e\+25"):
        train(
            learning_rate=1e25, optim="sgd", max_steps=3, max_grad_norm=0,
            lr_scheduler_type="constant", gradient_accumulation_steps=accumulation,
        )  # fmt: skip
    weights = [weight for weight in models[0].parameters() if weight.requires_grad]
    assert all(weight.isfinite().all() for weight in weights)
    assert any(weight.abs().max() > 1e10 for weight in weights), "the first update was made"


def test_a_gradient_that_is_not_finite_changes_no_weight(train, monkeypatch):
    first = []

    def spoil(self, model, *args, **kwargs):
        loss = training_step(self, model, *args, **kwargs)
        first[:] = [(w, w.detach().clone()) for w in model.parameters() if w.requires_grad]
        first[0][0].grad[0] = math.inf
        return loss

    training_step = FireMPOTrainer.training_step
    monkeypatch.setattr(FireMPOTrainer, "training_step", spoil)
    with pytest.raises(ValueError, match=r"Step 1 .*the gradient \(its norm is (inf|nan)\)"):
        train()
    assert all(torch.equal(weight, before) for weight, before in first)


def test_where_backward_updates_the_loss_is_checked_before(trainer_and_batch, monkeypatch):
    trainer, batch = trainer_and_batch("qwen3_vl", DATA)
    trainer._updates_in_backward = True
    trainer.current_gradient_accumulation_steps = 1
    monkeypatch.setattr(trainer.accelerator, "backward", lambda *args, **kwargs: pytest.fail("propagated back"))
    batch.weight[1] = math.nan
    with pytest.raises(ValueError, match=rf"loss of 1 row.*{DATA}, row 1 \(nan\)"):
        trainer.training_step(trainer.model, {"batch": batch})
