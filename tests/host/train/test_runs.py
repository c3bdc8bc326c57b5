"""Whole runs: what is written, evaluation, resuming, two processes, a kill, a checkpoint without processor."""

import json
import math
import os
import runpy
import shutil
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml
from llamafactory import launcher
from places import TEMPLATES_DIR
from ranks import run_as_ranks
from torch.testing import assert_close

from firempo_plugin.errors import UserError
from firempo_plugin.host.train.metrics import metric_names
from firempo_plugin.host.train.trainer import FireMPOTrainer
from firempo_plugin.host.train.workflow import is_complete, skip_broken_checkpoint
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

DATA = "fire_mpo_mixed,fire_mpo_sharegpt,fire_mpo_sharegpt_spans,fire_mpo_alpaca"


@pytest.fixture
def config(checkpoint, tmp_path):
    return {
        "model_name_or_path": str(checkpoint("qwen3_vl")),
        "template": "qwen3_vl_nothink",
        "stage": "fire_mpo",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_target": "all",
        "dataset": DATA,
        "dataset_dir": str(TEMPLATES_DIR),
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
    }


def history(output: Path, key="loss") -> list[dict]:
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in log if key in entry]


def test_a_run_shows_and_saves_everything(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = train(dataset=DATA, max_steps=3, plot_loss=True, report_to="tensorboard", save_strategy="steps", save_steps=3)
    out = tmp_path / "out"
    settings = Settings(OBJECTIVES["fire_mpo"], 0.1, 0.01, 0.1, 0.5, "phrase", 0.0)
    for entry in log[:3]:
        assert set(metric_names(settings)) < set(entry)
        total = entry["terms/rank"] + 0.01 * 0.5 * (entry["terms/kl_forward"] + entry["terms/kl_reverse"])
        assert math.isfinite(total)
    lines = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    for line, entry in zip(lines, log, strict=False):
        for name in metric_names(settings):
            if "loss" in line:
                assert line[name] == (entry[name] if math.isfinite(entry[name]) else None)
    assert lines[0]["accuracy"] == log[0]["rewards/accuracies"], "the host's own field"
    effective = json.loads((out / "fire_mpo.json").read_text())
    assert (effective["fire_alpha"], effective["fire_gamma"], effective["rows"]["train"]["rows"]) == (0.01, 0.1, 10)
    for name in ("training_loss.png", "training_fire_mpo.png", "adapter_model.safetensors", "README.md"):
        assert (out / name).stat().st_size > 0
    events = EventAccumulator(str(next(out.glob("runs/*/events*")).parent))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/terms/rank", "train/terms/kl_reverse", "train/rewards/margins_visual"} <= tags
    assert (out / "checkpoint-3" / "processor_config.json").is_file()


@pytest.mark.parametrize("counted", ["all", "non_padding"])
def test_the_tokens_that_are_run_are_counted(train, tmp_path, counted):
    train(include_num_input_tokens_seen=counted, max_steps=2, seed=1)
    logged = [json.loads(line) for line in (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()]
    seen = [entry["total_tokens"] for entry in logged if "total_tokens" in entry]
    assert 0 < seen[0] < seen[1]
    # Two rows of about 45 prompt and 10 response tokens, on at most two images each, in two steps.
    assert 200 < seen[1] < 2000


def test_metrics_are_means_over_rows_whatever_the_micro_batches(train):
    """Ten rows in one batch, or in micro-batches of 5 and 1, or of 4, 4 and 2: same loss, gradient and metrics."""
    logs = [
        train(dataset=DATA, per_device_train_batch_size=size, gradient_accumulation_steps=-(-10 // size))[0]
        for size in (10, 5, 1, 4)
    ]
    for log in logs[1:]:
        for name in ("loss", "grad_norm", "terms/rank", "terms/visual", "rewards/margins_visual", "noised_share"):
            assert_close(log[name], logs[0][name], rtol=2e-5, atol=1e-7)


def test_undefined_is_not_a_number_rather_than_zero(train, tmp_path):
    """A window without any noised image has no visual term: NaN in the history, null in the JSON log."""
    log = train(dataset="fire_mpo_mixed", dataset_dir=str(_without_noised(tmp_path)))
    assert math.isnan(log[0]["terms/visual"])
    assert math.isfinite(log[0]["terms/rank"])
    line = json.loads((tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()[0])
    assert line["terms/visual"] is None


def _without_noised(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    shutil.copytree(TEMPLATES_DIR, folder)
    rows = json.loads((folder / "mixed.json").read_text())
    (folder / "mixed.json").write_text(json.dumps([row | {"rejected_images": None} for row in rows]))
    return folder


def test_evaluation_reports_every_metric_over_all_rows(train, tmp_path):
    """The mean over ten rows in batches of 4, 4 and 2 is that over one batch of ten."""
    common = {"dataset": DATA, "eval_dataset": DATA, "eval_strategy": "steps", "eval_steps": 1, "do_eval": True}
    one = train(per_device_eval_batch_size=10, **common)
    many = train(per_device_eval_batch_size=4, **common)
    one, many = (next(entry for entry in log if "eval_loss" in entry) for log in (one, many))
    for name in ("loss", "terms/rank", "terms/visual", "terms/kl_forward", "rewards/accuracies", "noised_share"):
        assert_close(many[f"eval_{name}"], one[f"eval_{name}"], rtol=2e-5, atol=1e-6)
    results = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert "eval_terms/visual" in results


def test_evaluation_on_each_dataset(train, tmp_path):
    train(eval_dataset="fire_mpo_mixed,fire_mpo_alpaca", eval_on_each_dataset=True, do_eval=True)
    results = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    assert {"eval_fire_mpo_mixed_terms/rank", "eval_fire_mpo_alpaca_terms/visual"} <= set(results)


def test_a_resumed_run_goes_on_as_if_never_interrupted(train, tmp_path):
    keys = {"dataset": DATA, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "cosine"}
    whole = train(output_dir=str(tmp_path / "whole"), **keys)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "again" / "checkpoint-3")
    train(output_dir=str(tmp_path / "again"), overwrite_output_dir=False, **keys)
    again = history(tmp_path / "again")
    assert [entry["step"] for entry in again] == [1, 2, 3, 4, 5, 6]
    for before, after in zip(history(tmp_path / "whole"), again, strict=True):
        for name in ("loss", "grad_norm", "terms/rank", "terms/kl_forward", "rewards/margins_visual"):
            assert_close(after[name], before[name], rtol=1e-6, atol=1e-9)
    assert len(whole) >= 6


@pytest.mark.parametrize("damaged", ["trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt"])
def test_a_checkpoint_cut_off_in_writing_is_left_aside(tmp_path, damaged):
    class Args:
        output_dir = str(tmp_path)
        resume_from_checkpoint = str(tmp_path / "checkpoint-4")

        save_only_model = False
        deepspeed = None
        fsdp = None

    import torch
    from safetensors.torch import save_file

    for step in ("2", "4"):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.ones(100)}, folder / "adapter_model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.save({"w": torch.ones(100)}, folder / name)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": int(step)}))
    (tmp_path / "checkpoint-4-backup").mkdir()
    args = Args()
    skip_broken_checkpoint(args)
    assert args.resume_from_checkpoint == str(tmp_path / "checkpoint-4"), "whole: left as it is"
    broken = tmp_path / "checkpoint-4" / damaged
    broken.write_bytes(broken.read_bytes()[:-60])
    skip_broken_checkpoint(args)
    assert args.resume_from_checkpoint == str(tmp_path / "checkpoint-2")
    shutil.rmtree(tmp_path / "checkpoint-2")
    args.resume_from_checkpoint = str(tmp_path / "checkpoint-4")
    skip_broken_checkpoint(args)
    assert args.resume_from_checkpoint is None
    args.resume_from_checkpoint = str(tmp_path / "elsewhere" / "checkpoint-1")
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        skip_broken_checkpoint(args)


def test_a_checkpoint_by_shards_is_whole_with_the_list_of_its_shards(tmp_path):
    shards = tmp_path / "pytorch_model_fsdp_0"
    shards.mkdir()
    (shards / "__0_0.distcp").write_bytes(b"weights")
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 2}))
    assert not is_complete(tmp_path, whole_state=False)
    (shards / ".metadata").write_bytes(b"list")
    assert is_complete(tmp_path, whole_state=False)
    (tmp_path / "trainer_state.json").unlink()
    assert not is_complete(tmp_path, whole_state=False)


def test_killed_in_mid_run_and_started_again(config, tmp_path, train, monkeypatch):
    """kill -9 with a whole checkpoint there; the same run goes on from it and ends where an unbroken run ends."""
    config |= {"max_steps": 8, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 3}
    config |= {"overwrite_output_dir": False}
    training_step = FireMPOTrainer.training_step

    def until_killed(trainer, *args):
        if trainer.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return training_step(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(FireMPOTrainer, "training_step", until_killed)
        run = get_context("fork").Process(target=train, kwargs=config)  # a process of its own that need not import
        run.start()
        run.join()
    assert run.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists(), "killed before its end"
    log = tmp_path / "out" / "trainer_log.jsonl"
    killed_at = len(log.read_text().splitlines())
    train(**config)
    assert json.loads(log.read_text().splitlines()[killed_at])["current_steps"] == 5, "not begun anew"
    train(**config | {"output_dir": str(tmp_path / "unbroken"), "save_strategy": "no"})
    broken, unbroken = history(tmp_path / "out"), history(tmp_path / "unbroken")
    assert [entry["step"] for entry in broken] == list(range(1, 9))
    for before, after in zip(unbroken, broken, strict=True):
        assert_close(after["loss"], before["loss"], rtol=1e-5, atol=0)


def as_torchrun_starts_it(file):
    """Runs what the host gives to torchrun, on a YAML file."""
    sys.argv = [launcher.__file__, str(file)]
    runpy.run_path(launcher.__file__, run_name="__main__")


def test_two_processes_give_what_one_gives_on_the_same_global_batch(config, tmp_path, train):
    """Ten rows: the last evaluation batch of two processes is filled up with rows that must not count.

    Two processes run many passes a step, whose gradients they reduce once; one process runs one pass.
    """
    config |= {"optim": "sgd", "learning_rate": 0.1}  # Adam would blow up the order of summation
    config |= {"max_steps": 2, "do_eval": True, "eval_dataset": DATA, "per_device_eval_batch_size": 3}
    two = config | {"per_device_train_batch_size": 2, "fire_pass_tokens": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(two))
    run_as_ranks(as_torchrun_starts_it, tmp_path / "run.yaml")
    train(**config | {"output_dir": str(tmp_path / "one"), "fire_pass_tokens": 100_000})
    names = ("loss", "terms/rank", "terms/visual", "terms/kl_forward", "rewards/margins", "noised_share")
    two, one = (history(tmp_path / name) for name in ("out", "one"))
    assert [entry["step"] for entry in two] == [1, 2]
    for a, b in zip(one, two, strict=True):
        for name in names:
            assert_close(b[name], a[name], rtol=1e-4, atol=1e-7)
    two, one = (json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ("out", "one"))
    for name in names:
        assert_close(two[f"eval_{name}"], one[f"eval_{name}"], rtol=1e-4, atol=1e-7)


def test_a_checkpoint_without_a_processor_takes_it_from_the_key(checkpoint, train, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(checkpoint("qwen2_5_vl"), bare, ignore=shutil.ignore_patterns("*processor*", "source"))
    keys = {"model_name_or_path": str(bare), "dataset": "fire_mpo_sharegpt"}
    with pytest.raises(ValueError, match="Processor was not found"):
        train("qwen2_5_vl", **keys)
    log = train("qwen2_5_vl", processor_name_or_path=str(checkpoint("qwen2_5_vl")), **keys)
    assert_close(log[0]["terms/rank"], math.log(2), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="processor_name_or_path"):
        train("qwen2_5_vl", processor_name_or_path=str(tmp_path / "nowhere"), **keys)


def test_qlora_takes_the_reference_from_the_same_quantised_weights(train):
    log = train(dataset=DATA, quantization_bit=4, quantization_method="bnb", bf16=True, max_steps=2)
    assert_close(log[0]["terms/rank"], math.log(2), rtol=1e-3, atol=0)
    assert abs(log[0]["terms/kl_forward"]) < 1e-6
    assert log[1]["terms/kl_forward"] > 0


def test_freeze_tuning_and_a_named_reference(train, checkpoint, adapter):
    log = train(dataset=DATA, finetuning_type="freeze", freeze_trainable_layers=1, max_steps=2)
    assert_close(log[0]["terms/rank"], math.log(2), rtol=1e-5, atol=0)
    named = train(dataset=DATA, adapter_name_or_path=str(adapter("qwen3_vl")), ref_model=str(checkpoint("qwen3_vl")))
    by_switch = train(dataset=DATA, adapter_name_or_path=str(adapter("qwen3_vl")))
    for name in ("loss", "terms/rank", "terms/visual", "terms/kl_forward", "terms/kl_reverse"):
        assert_close(named[0][name], by_switch[0][name], rtol=1e-5, atol=0)


def test_evaluation_alone_against_a_named_reference(train, checkpoint, adapter, tmp_path):
    keys = {"adapter_name_or_path": str(adapter("qwen3_vl")), "dataset": DATA}
    first = train(per_device_train_batch_size=10, **keys)[0]
    with pytest.raises(FileNotFoundError, match="trainer_state"):
        train(
            do_train=False,
            do_eval=True,
            eval_dataset=DATA,
            ref_model=str(checkpoint("qwen3_vl")),
            output_dir=str(tmp_path / "eval"),
            **keys,
        )
    results = json.loads((tmp_path / "eval" / "eval_results.json").read_text())
    assert_close(results["eval_loss"], first["loss"], rtol=1e-5, atol=0)
    assert_close(results["eval_terms/visual"], first["terms/visual"], rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"streaming": True}, "streaming"),
        ({"packing": True}, "packing"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha"),
        ({"fsdp": "full_shard auto_wrap"}, "fsdp on a CPU"),
        ({"do_train": False, "do_eval": True, "eval_dataset": "fire_mpo_mixed"}, "ref_model"),
    ],
)
def test_what_the_stage_cannot_do_is_refused(keys, reason, train):
    with pytest.raises(UserError, match=f"stage: fire_mpo does not support.*{reason}"):
        train(**keys)


def test_other_stages_run_as_before(train):
    log = train(stage="dpo", dataset="fire_mpo_sharegpt")
    assert_close(log[0]["loss"], math.log(2), rtol=1e-5, atol=0)
    assert "terms/rank" not in log[0]


def test_a_tokenised_dataset_is_saved_served_and_refused_when_stale(train, tmp_path, monkeypatch):
    from firempo_plugin.host.data import rows

    keys = {"dataset": DATA, "tokenized_path": str(tmp_path / "tokenized")}
    first = train(**keys)
    assert_close(train(**keys)[0]["loss"], first[0]["loss"], rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="Delete that folder"):
        train(**keys, cutoff_len=512)
    monkeypatch.setattr(rows, "VERSION", rows.VERSION + 1)
    with pytest.raises(ValueError, match="Delete that folder"):
        train(**keys)
