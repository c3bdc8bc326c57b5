"""What LLaMA-Factory's `stage: dpo` computes for each `pref_loss`, by its own functions and those of the installed TRL.

docs/objectives.md says so, and `firempo doctor` names the objective that computes what was asked. Where one of these
tests fails, LLaMA-Factory or TRL has mended it: then the page and the doctor have to say for which versions.
"""

import re
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from llamafactory.hparams import FinetuningArguments
from llamafactory.train.dpo.trainer import CustomDPOTrainer
from places import ROOT
from torch.nn.functional import logsigmoid
from torch.testing import assert_close
from transformers import TrainingArguments

from firempo_plugin.host.doctor import SIGMOID_INSTEAD

BETA = 0.3
LENGTHS = (4, 7, 5, 2)
"""Of two chosen responses, then of their two rejected ones, behind a prompt of three tokens."""


class Says(torch.nn.Module):
    """A model with the same logits for every batch."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.nn.Parameter(3 * torch.randn(4, 10, 11, generator=generator))
        self.config = SimpleNamespace(is_encoder_decoder=False)

    def forward(self, **batch):
        return SimpleNamespace(logits=self.logits)


@pytest.fixture
def policy():
    return Says(1)


@pytest.fixture
def reference():
    return Says(2)


@pytest.fixture
def batch():
    tokens = torch.randint(11, (4, 10), generator=torch.Generator().manual_seed(3))
    labels = torch.full_like(tokens, -100)
    for row, length in enumerate(LENGTHS):
        labels[row, 3 : 3 + length] = tokens[row, 3 : 3 + length]
    return {"input_ids": tokens, "labels": labels}


@pytest.fixture
def hosts(policy, reference, batch, tmp_path):
    """Returns a function that gives the host's loss of the batch."""

    def loss(name):
        arguments = FinetuningArguments(stage="dpo", pref_loss=name, pref_beta=BETA)
        training = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
        with_reference = reference if arguments.use_ref_model else None
        trainer = CustomDPOTrainer(policy, with_reference, arguments, None, args=training, tokenizer=None)
        return trainer.get_batch_loss_metrics(policy, dict(batch))[0]

    return loss


def logps(model, batch):
    """log p of the tokens of each response."""
    found = []
    for row, length in enumerate(LENGTHS):
        tokens = batch["input_ids"][row, 3 : 3 + length]
        found.append(torch.log_softmax(model.logits[row, 2 : 2 + length], -1)[range(length), tokens])
    return found


def margins(rewards):
    """Chosen minus rejected of each pair."""
    return torch.stack(rewards[:2]) - torch.stack(rewards[2:])


@pytest.fixture
def ratios(policy, reference, batch):
    return [ours - theirs for ours, theirs in zip(logps(policy, batch), logps(reference, batch), strict=True)]


def test_hinge_and_kto_pair_are_the_sigmoid_to_the_last_digit(hosts, ratios):
    sums = margins([ratio.sum() for ratio in ratios])
    assert_close(hosts("sigmoid"), -logsigmoid(BETA * sums).mean())
    assert hosts("hinge") == hosts("sigmoid")
    assert hosts("kto_pair") == hosts("sigmoid")
    assert abs(hosts("hinge") - (1 - BETA * sums).clamp(min=0).mean()) > 0.01


def test_ipo_is_the_sigmoid_of_mean_log_ratios(hosts, ratios):
    sums, means = margins([ratio.sum() for ratio in ratios]), margins([ratio.mean() for ratio in ratios])
    assert_close(hosts("ipo"), -logsigmoid(BETA * means).mean())
    for margin in (sums, means):
        assert abs(hosts("ipo") - (margin - 1 / (2 * BETA)).square().mean()) > 0.01


def test_simpo_and_orpo_are_what_they_say(hosts, policy, batch):
    means = [each.mean() for each in logps(policy, batch)]
    assert_close(hosts("simpo"), -logsigmoid(BETA * margins(means) - 0.5).mean())
    odds = margins([mean - torch.log(1 - mean.exp()) for mean in means])
    assert_close(hosts("orpo"), (-torch.stack(means[:2]) - BETA * logsigmoid(odds)).mean())


def test_the_page_and_the_doctor_name_just_these():
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8").split("## What the host computes")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page.split("|---|---|---|")[1], re.M))
    assert set(rows) == set(get_args(FinetuningArguments.__dataclass_fields__["pref_loss"].type))
    assert {name for name, computes in rows.items() if computes.startswith("**")} == set(SIGMOID_INSTEAD)
