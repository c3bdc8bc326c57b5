"""`llamafactory-cli train` itself, beside the bare step of its rows: the loader, the caches, a resumed run."""

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from contestants import DEFAULT
from model import load
from presets import write_checkpoint
from rows import Rows, Shape, make_rows

from gpu.clock import release
from gpu.stage import Context, Table
from gpu.steps import FOUR, GIGABYTE, Bench, bench

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "qwen3_vl_4b" / "fire_mpo.yaml"
CACHED = "all_cached"
STEPS_OF_EPOCH, STEPS_REHEARSED = 8, 3
ACCUMULATION = 2
MORE_STEPS = 2
"""Of the first run, beyond an epoch: it is resumed within one."""
EPOCHS = 4
"""Of both runs together. The resumed one fills the caches by the end of the third, and uses them in the fourth."""
WARMING = 2
"""Steps of a process that are not timed; nor is the first of an epoch, for which the loader's workers start anew."""
START_LOSS = 1.1 * math.log(2)
"""Of a policy that is its reference, under the recipe: ranking and a tenth of the visual term."""
TOLERANCE = 0.05
WORKERS, WORKERS_BYTES = 4, 2 * GIGABYTE
"""As in the recipe, and the shared memory through which they hand over batches; with less there are none."""
BARE_SECONDS, RUN_SECONDS = 20.0, 35.0
"""Of a bare step with loading, and of a run, as far as they can be counted: less left, and it is not begun."""
COLUMNS = (
    "run", "steps timed", "step s", "x bare", "waiting", "epoch's first step s", "collate s", "start s", "peak GB"
)  # fmt: skip
REHEARSAL = {
    "use_cpu": True, "bf16": False, "lora_rank": 4, "lora_alpha": 8, "preprocessing_num_workers": 1
}  # fmt: skip


def run(context: Context) -> None:
    """The stage."""
    each = STEPS_REHEARSED if context.rehearse else STEPS_OF_EPOCH
    on = bench(context, FOUR, Shape(256, 120, 4, ACCUMULATION * each))
    model, data = context.folder / on.preset.name, context.folder / "data"
    write_checkpoint(on.preset, model, weights=True)
    release()
    rows = make_rows(on.checkpoint(False), on.shape, False, data, "jpg")
    workers = WORKERS if shutil.disk_usage("/dev/shm").free >= WORKERS_BYTES else 0
    pairs = f"{on.shape.batch} x {ACCUMULATION} pairs, {on.shape.name}"
    table = context.result.table(f"{pairs}, no gradient checkpointing; loader workers: {workers}", *COLUMNS)
    bare(context, on, rows, table)
    first, last = each + MORE_STEPS, EPOCHS * each
    keys = {
        "model_name_or_path": model, "dataset_dir": data, "media_dir": data, "dataset": "rows",
        "output_dir": context.folder / "out", "per_device_train_batch_size": on.shape.batch,
        "disable_gradient_checkpointing": True, "dataloader_num_workers": workers, "plot_loss": False,
        **(REHEARSAL if context.rehearse else {}),
    }  # fmt: skip
    if not context.may_start("llamafactory-cli train", RUN_SECONDS):
        return
    found = launch(context, "first", keys | {"max_steps": first, "save_steps": first})
    check(found, range(1, first + 1))
    tell(context, table, "llamafactory-cli train", "train", found, range(1, first + 1), each)
    if not context.may_start("the resumed run, caches filled", RUN_SECONDS):
        return
    caches = {key: context.folder / key for key in ("fire_reference_cache", "fire_vision_cache")}
    resumed = keys | caches | {"resume_from_checkpoint": context.folder / "out" / f"checkpoint-{first}"}
    found = launch(context, "resumed", resumed | {"max_steps": last, "save_strategy": "no"})
    check(found, range(first + 1, last + 1))
    known = range(last - each + 1, last + 1)
    tell(context, table, "resumed, filling both caches", "train/filling", found, range(first + 1, known[0]), each)
    check_known(found, known)
    tell(context, table, "both caches filled", "train/cached", found, known, each)


def bare(context: Context, on: Bench, rows: Rows, table: Table) -> None:
    """The step without the trainer's loop, the loader and the optimiser, of the first rows."""
    on.known_rows[False] = Rows(*(part[:ACCUMULATION] for part in (rows.fire, rows.dpo, rows.text)), rows.image_tokens)
    for name, title, value in ((DEFAULT, "bare step", "train/bare"), (CACHED, "bare, cached", "train/bare_cached")):
        if context.may_start(title, BARE_SECONDS):
            line = on.measure(name, False)
            if line.error:
                table.add(title, line.error)
                continue
            seconds = line.typical("seconds")
            context.result.value(value, seconds)
            collate, peak = line.typical("collate_seconds"), line.typical("peak") / GIGABYTE
            table.add(title, len(line.runs), seconds, None, None, None, collate, None, peak)
    load.cache_clear()  # the runs need the device's memory
    release()


def launch(context: Context, name: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Runs the recipe with some keys set otherwise, in a process of its own; returns what its clock saw.

    Raises:
        ValueError: It failed, or had not ended when the time was up; says how.
    """
    file, log = context.folder / f"{name}.json", context.folder / f"{name}.log"
    command = [sys.executable, "-m", "gpu.probe", str(file), "train", str(RECIPE)]
    # Quoted as in JSON, since a bare `no` is no string in YAML.
    command += [f"{key}={json.dumps(str(value) if isinstance(value, Path) else value)}" for key, value in keys.items()]
    started = time.time()
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            process.wait(max(0.0, context.ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ValueError(f"llamafactory-cli train ({name}) had not ended when the time was up") from None
        finally:
            process.kill()
            process.wait()
            print(f"--- llamafactory-cli train ({name})\n{log.read_text(errors='replace')[-20_000:]}", flush=True)
    if process.returncode != 0:
        said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise ValueError(f"llamafactory-cli train ({name}) ended with {process.returncode} and said: {said[-1]}")
    found: dict[str, Any] = json.loads(file.read_text())
    found["start"] = found["began"] - started
    return found


def check(found: dict[str, Any], steps: range) -> None:
    """Holds a run against what it was to do.

    Raises:
        ValueError: It ran other steps, or its losses are not finite, or do not begin where equal models begin.
    """
    numbers = [step["step"] for step in found["steps"]]
    if numbers != list(steps):
        ran = f"steps {numbers[0]} to {numbers[-1]}" if numbers else "no step"
        raise ValueError(f"WRONG: it ran {ran}, expected {steps[0]} to {steps[-1]}")
    losses = [loss for step, loss in found["losses"] if step in steps]
    if not losses or not all(math.isfinite(loss) for loss in losses):
        raise ValueError(f"WRONG: losses {losses}, expected finite ones")
    if steps[0] == 1 and abs(losses[0] / START_LOSS - 1) > TOLERANCE:
        raise ValueError(f"WRONG: the loss begins with {losses[0]:.4f}, expected about {START_LOSS:.4f}")


def check_known(found: dict[str, Any], steps: range) -> None:
    """Makes sure that in these steps nothing was run that a cache holds.

    Raises:
        ValueError: Something was.
    """
    counts = {step["step"]: step["run"] for step in found["steps"]}
    for name, count in counts[steps[-1]].items():
        more = count - counts[steps[0] - 1][name]
        if more:
            raise ValueError(f"WRONG: {more} {name} were run with both caches filled, expected none")


def tell(
    context: Context, table: Table, title: str, value: str, found: dict[str, Any], steps: Sequence[int], each: int
) -> None:
    """Adds some steps of a run to the table, and to the values."""
    first = found["steps"][0]["step"]
    mine = {step["step"]: step for step in found["steps"] if step["step"] in steps}
    steady = [step for number, step in mine.items() if number - first >= WARMING and (number - 1) % each]
    starts = [step["seconds"] for number, step in mine.items() if number > first and (number - 1) % each == 0]
    seconds = median(step["seconds"] for step in steady)
    waiting = sum(step["waiting"] for step in steady) / sum(step["seconds"] for step in steady)
    values = context.result.values
    bare_seconds = values.get("train/bare_cached" if value == "train/cached" else "train/bare")
    values |= {f"{value}/step": seconds, f"{value}/waiting": waiting, f"{value}/peak": found["peak"] / GIGABYTE}
    times = seconds / bare_seconds if bare_seconds else None
    start = found["start"] if first in steps else None
    first_seconds = median(starts) if starts else None
    table.add(title, len(steady), seconds, times, waiting, first_seconds, None, start, found["peak"] / GIGABYTE)
