"""Every way of training with several processes against one process on the same rows: losses, gradients, the adapter.

    python benchmarks/launchers.py [--processes 2] [--folder saves/launchers] [--only ddp fsdp2]

Trains the demo's tiny model by `llamafactory-cli train` in float32, on as many GPUs as there are processes, or else on
the CPU. What cannot run here is told with the reason. Exits with 1 where a difference is
above what the order of summation explains.

The caches of reference and vision tower are written by all processes at once, then read. Rows that fill no last batch
are compared with one process that has the first rows twice.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import load_file

from firempo_plugin.demo import pairs, tiny_model
from firempo_plugin.demo.run import build_once
from firempo_plugin.errors import UserError
from firempo_plugin.processes import host_command, search_path

STEPS, ROWS, UNEVEN = 3, 24, 22
"""One epoch of full batches; and rows of which the last batch is not full."""
CLOSE = {"loss": 1e-4, "gradient": 1e-3, "adapter": 1e-3}
"""Relative differences that are let pass; the adapter's against how far training moved it."""
CACHES = "caches"
"""The folder of both."""
COMMON = {
    "model_name_or_path": "model",
    "template": "qwen3_vl_nothink",
    "image_max_pixels": 65536,
    "stage": "fire_mpo",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_target": "all",
    "dataset": "firempo_demo",
    "dataset_dir": "data",
    "media_dir": "data",
    "max_samples": ROWS,
    "optim": "sgd",  # Adam makes much of what the order of summation changes
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1000.0,
    "max_steps": STEPS,
    "logging_steps": 1,
    "report_to": "none",
    "overwrite_cache": True,
    "overwrite_output_dir": True,
    "save_only_model": True,
    "seed": 7,
}


@dataclass(frozen=True)
class Launcher:
    """A way of starting several processes.

    Attributes:
        keys: What it adds to the training file.
        environment: What it adds to the environment, with "N" in the place of the number of processes.
        against: What it is compared with, among ONE_PROCESS.
        caches: Whether they are empty at its start (`cold`) or must know all (`warm`).
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    against: str = "one"
    caches: Literal["", "cold", "warm"] = ""


TORCHRUN = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "N"}


def _zero(stage: int) -> Launcher:
    auto = dict.fromkeys(("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_clipping"), "auto")
    config = {**auto, "zero_allow_untested_optimizer": True, "zero_optimization": {"stage": stage}}
    return Launcher({"deepspeed": config}, TORCHRUN)


def _fsdp(version: int) -> Launcher:
    config = {"fsdp_version": version, "transformer_layer_cls_to_wrap": ["Qwen3VLTextDecoderLayer"]}
    # transformers refuses save_only_model with sharded states.
    return Launcher({"fsdp": "full_shard auto_wrap", "fsdp_config": config, "save_only_model": False}, TORCHRUN)


BOTH_CACHES = {"fire_reference_cache": f"{CACHES}/reference", "fire_vision_cache": f"{CACHES}/vision"}
IN_ORDER = {"disable_shuffling": True}

ONE_PROCESS: Mapping[str, Launcher] = {
    "one": Launcher(),
    "one-repeated": Launcher({"dataset": "uneven,uneven_first", **IN_ORDER}),
}
LAUNCHERS: Mapping[str, Launcher] = {
    "ddp": Launcher({}, TORCHRUN),
    "ddp-passes": Launcher({"fire_pass_tokens": 1}, TORCHRUN),
    "ddp-caches-cold": Launcher(BOTH_CACHES, TORCHRUN, caches="cold"),
    "ddp-caches-warm": Launcher(BOTH_CACHES, TORCHRUN, caches="warm"),
    "ddp-uneven": Launcher({"dataset": "uneven", **IN_ORDER}, TORCHRUN, against="one-repeated"),
    "zero2": _zero(2),
    "zero3": _zero(3),
    "fsdp1": _fsdp(1),
    "fsdp2": _fsdp(2),
    "ray": Launcher({"ray_num_workers": "N"}, {"USE_RAY": "1", "RAY_USAGE_STATS_ENABLED": "0"}),
}


def train(folder: Path, name: str, launcher: Launcher, processes: int, on_cpu: bool) -> str:
    """Runs one training; returns the reason where it ended without a result, else nothing."""
    if launcher.caches == "cold":
        shutil.rmtree(folder / CACHES, ignore_errors=True)
    batch = 8 // processes
    keys = {key: processes if value == "N" else value for key, value in launcher.keys.items()}
    given = COMMON | keys | {"output_dir": name, "per_device_train_batch_size": batch, "use_cpu": on_cpu}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    environment = {key: str(processes) if value == "N" else value for key, value in launcher.environment.items()}
    if not launcher.environment:
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    always = {"HF_HUB_OFFLINE": "1", "PATH": search_path(), "OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        command = [host_command(), "train", f"{name}.yaml"]
        given_environment = os.environ | always | environment
        status = subprocess.run(command, cwd=folder, env=given_environment, stdout=log, stderr=log, check=False)
    lines = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    if not status.returncode:
        return _unknown(lines) if launcher.caches == "warm" else ""
    told = [line for line in lines if "firempo:" in line or "Error: " in line]
    return told[0].partition("firempo:")[2].strip() or told[0].strip() if told else f"status {status.returncode}"


def _unknown(lines: list[str]) -> str:
    """What the caches did not know by a log."""
    told = re.findall(r"(fire_\w+: (\d+) of (\d+) \w+ skipped)", "\n".join(lines))
    if len(told) != len(BOTH_CACHES):
        return "the log does not say what the caches knew"
    return "; ".join(words for words, known, asked in told if known != asked)


def write_uneven(data: Path) -> None:
    """Adds to the demo's data sets UNEVEN of its rows, and those that fill the last batch, once more."""
    file = data / "dataset_info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    entry = info[COMMON["dataset"]]
    rows = json.loads((data / entry["file_name"]).read_text(encoding="utf-8"))[:UNEVEN]
    for name, kept in (("uneven", rows), ("uneven_first", rows[: ROWS - UNEVEN])):
        (data / f"{name}.json").write_text(json.dumps(kept), encoding="utf-8")
        info[name] = {**entry, "file_name": f"{name}.json"}
    file.write_text(json.dumps(info), encoding="utf-8")


def differences(ours: Path, theirs: Path, start: float) -> dict[str, float]:
    """The greatest relative differences between two runs' results.

    Args:
        ours: Output folder of a run.
        theirs: That of one process.
        start: Norm of what training moved in theirs.
    """
    sides = [
        [entry for entry in json.loads((side / "trainer_state.json").read_text())["log_history"] if "loss" in entry]
        for side in (ours, theirs)
    ]
    found = {
        shown: max(abs(a[name] - b[name]) / abs(b[name]) for a, b in zip(*sides, strict=True))
        for shown, name in (("loss", "loss"), ("gradient", "grad_norm"))
    }
    return found | {"adapter": _distance(ours, theirs) / start}


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def _distance(ours: Path, theirs: Path) -> float:
    one, two = _weights(ours), _weights(theirs)
    if one.keys() != two.keys():
        raise UserError(f"{ours} and {theirs} hold adapters of other layers")
    return float(sum((one[name] - two[name]).square().sum() for name in one).sqrt())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compares every launcher with one process.")
    parser.add_argument("--processes", type=int, default=2, choices=(2, 4, 8))
    parser.add_argument("--folder", type=Path, default=Path("saves/launchers"))
    parser.add_argument("--only", nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    build_once(folder / "model", tiny_model.build)
    build_once(folder / "data", pairs.write)
    write_uneven(folder / "data")
    on_cpu = torch.cuda.device_count() < arguments.processes
    device = "the CPU" if on_cpu else torch.cuda.get_device_name()
    print(f"{arguments.processes} processes on {device}, against one; {STEPS} steps of 8 rows\n")
    moved = {}
    for name in dict.fromkeys(LAUNCHERS[wanted].against for wanted in arguments.only):
        if reason := train(folder, name, ONE_PROCESS[name], 1, on_cpu):
            sys.exit(f"{name}: {reason}")
        moved[name] = float(sum(w.square().sum() for n, w in _weights(folder / name).items() if "lora_B" in n) ** 0.5)
    print("| launcher | loss | gradient norm | adapter |\n|---|---|---|---|", flush=True)
    failed = False
    for name in arguments.only:
        launcher = LAUNCHERS[name]
        reason = train(folder, name, launcher, arguments.processes, on_cpu)
        if reason:
            print(f"| {name} | {reason} | | |", flush=True)
            continue
        found = differences(folder / name, folder / launcher.against, moved[launcher.against])
        failed |= any(not value <= CLOSE[what] for what, value in found.items())
        print(f"| {name} | " + " | ".join(f"{value:.1e}" for value in found.values()) + " |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
