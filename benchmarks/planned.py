"""What `firempo plan` counts beside what a training on this CPU took: tokens, operations, memory, seconds.

    .venv/bin/python benchmarks/planned.py            # a few minutes on two cores

Trained is the small Qwen3-VL of the preset `cpu`, with the real vocabulary and a LoRA, through LLaMA-Factory's own
entry point, each run in a process of its own that gives freed memory back. Operations are those of torch's counter
under eager attention, since it does not count the fused one of every device. Seconds are compared as ratios, with those
of docs/speed.md: an hour is as long as the machine's rate makes it.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import start_of_peak_of_process, status_bytes
from presets import PRESETS, Checkpoint, write_checkpoint
from rows import Shape, make_rows

from firempo_plugin.host.plan.command import count
from firempo_plugin.host.validate import quiet_host

PRESET = PRESETS["cpu"]
THREADS = 2
BATCH, STEPS = 4, 2
IMAGE_TOKENS, WORDS = 256, 13
RUNS = ({}, {"disable_gradient_checkpointing": False}, {"fire_pass_tokens": 330})
"""Keys of the trainings."""
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
CACHE, FEATURES = "fire_reference_cache", "fire_vision_cache"
MEASURED = {
    (1024, ()): 13.3 / 2.7,
    (256, (CACHE,)): 6.5 / 8.6,
    (1024, (CACHE,)): 7.0 / 8.8,
    (256, (CACHE, FEATURES)): 6.5 / 9.8,
    (1024, (CACHE, FEATURES)): 7.0 / 11.3,
    (256, ("fire_group_by_image",)): 6.5 / 15.3,
    (1024, ("fire_group_by_image",)): 7.0 / 21.6,
    (256, ("fire_group_by_image", CACHE)): 6.5 / 18.4,
    (1024, ("fire_group_by_image", CACHE)): 7.0 / 27.5,
}
"""By image tokens and keys, seconds of docs/speed.md: of 1,024 image tokens over 256, else of the keys over none."""
GIGABYTE = 1e9


def configuration(folder: Path, model: Path) -> dict[str, Any]:
    """A training YAML over the rows of a folder."""
    return {
        "model_name_or_path": str(model),
        "template": "qwen3_vl_nothink",
        "stage": "fire_mpo",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": PRESET.lora_rank,
        "lora_target": "all",
        "dataset": "rows",
        "dataset_dir": str(folder),
        "media_dir": str(folder),
        "cutoff_len": 4096,
        "image_max_pixels": 4096 * PRESET.pixels_per_token**2,
        "output_dir": str(folder / "out"),
        "overwrite_output_dir": True,
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1.0,
        "disable_shuffling": True,
        "include_num_input_tokens_seen": "all",
        "disable_gradient_checkpointing": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "overwrite_cache": True,
    }


def train(config: dict[str, Any], counting: bool) -> dict[str, float]:
    """Trains in this process, which is to be a fresh one; what it took."""
    import torch
    from llamafactory.train.tuner import run_exp
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import TrainerCallback

    torch.set_num_threads(THREADS)
    took: dict[str, float] = {}
    counter = FlopCounterMode(display=False)

    class Watch(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            took["before"] = start_of_peak_of_process()
            if counting:
                counter.__enter__()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            took["memory"] = status_bytes("VmHWM") - took["before"]
            took["tokens"] = state.num_input_tokens_seen
            if counting:
                counter.__exit__(None, None, None)
                took["operations"] = counter.get_total_flops()

    run_exp(config, callbacks=[Watch()])
    return took


def in_a_fresh_process(config: dict[str, Any], counting: bool) -> dict[str, float]:
    """What `train` returns in one."""
    words = [sys.executable, __file__, "--train", json.dumps(config), *(["--count"] if counting else [])]
    run = subprocess.run(words, capture_output=True, text=True, env=os.environ | GIVE_BACK)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    found: dict[str, float] = json.loads(run.stdout.rpartition("TOOK ")[2])
    return found


def compared(more: dict[str, Any], model: Path, rows: Path) -> list[str]:
    """The table's lines of one training."""
    config = configuration(rows, model) | more
    took = in_a_fresh_process(config, counting=False)
    counted = in_a_fresh_process(config | {"flash_attn": "disabled"}, counting=True)
    cost = cost_of(config)
    budget = cost.budget(cost.written)
    tokens = max(budget.largest.tokens, min(more.get("fire_pass_tokens", 1024), cost.looked.batch_tokens))
    memory = (budget.needed(tokens) - budget.weights) / GIGABYTE
    operations = cost.operations(cost.written.checkpointed).total / 1e12
    name = ", ".join(f"`{key}: {str(value).lower()}`" for key, value in more.items()) or "without checkpointing"
    return [
        f"| {name}: tokens | {cost.looked.work.policy.tokens:,} | {took['tokens']:,} |",
        f"| {name}: operations, TFLOP | {operations:.3f} | {counted['operations'] / 1e12:.3f} |",
        f"| {name}: memory above that before training, GB | {memory:.2f} | {took['memory'] / GIGABYTE:.2f} |",
    ]


def cost_of(config: dict[str, Any]) -> Any:
    """What a plan counts."""
    with TemporaryDirectory() as scratch, quiet_host():
        return count(config, scratch, rows=1000)


def ratios(model: Path, folder: Path) -> list[str]:
    """The table's lines of seconds, as ratios."""
    found = {}
    for tokens, keys in [(256, ()), *MEASURED]:
        one = "fire_group_by_image" in keys
        rows = folder / f"{tokens}_{one}"
        if not rows.exists():
            make_rows(Checkpoint(PRESET, model, threads=THREADS), Shape(tokens, WORDS, BATCH, STEPS), one, rows)
        written = {key: BATCH if key == "fire_group_by_image" else str(folder / key) for key in keys}
        cost = cost_of(configuration(rows, model) | {"disable_shuffling": not one} | written)
        first = cost.operations(False).total
        cost.epochs += 1
        found[tokens, keys] = cost.operations(False).total - first  # of an epoch behind the first
    lines = []
    for (tokens, keys), measured in MEASURED.items():
        counted = found[tokens, keys] / found[tokens if keys else 256, ()]
        name = " and ".join(f"`{key}`" for key in keys) or "1,024 image tokens over 256"
        lines.append(
            f"| {name}{f', {tokens:,} image tokens' if keys else ''}: seconds | {counted:.2f} | {measured:.2f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ratios", action="store_true", help="train nothing")
    arguments = parser.parse_args(argv)
    if arguments.train:
        print("TOOK", json.dumps(train(arguments.train, arguments.count)))
        return 0
    print("| | counted by `firempo plan` | met |\n|---|---|---|")
    with TemporaryDirectory() as scratch:
        model, rows = Path(scratch) / "model", Path(scratch) / "rows"
        write_checkpoint(PRESET, model, weights=True)
        make_rows(Checkpoint(PRESET, model, threads=THREADS), Shape(IMAGE_TOKENS, WORDS, BATCH, STEPS), False, rows)
        for more in () if arguments.ratios else RUNS:
            print("\n".join(compared(more, model, rows)), flush=True)
        print("\n".join(ratios(model, Path(scratch))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
