"""Measures a training step: the published algorithm, stock DPO, and this project with each saving in turn.

    python benchmarks/step.py --out results

writes results.json, results.md and results.png into a folder and prints the tables. All contestants run the same
rows and take turns, so that a change in the machine's load meets all of them. It ends with 1 where a contestant
that computes FiRe-MPO in float32 does not give the published algorithm's loss and gradient norm.
"""

import argparse
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import report
import torch
import transformers
from chart import draw
from contestants import CONTESTANTS
from measure import Task, Workers, matrix_throughput, measure, run_first_epoch
from presets import PRESETS, Checkpoint, Preset, write_checkpoint
from rows import Rows, Shape, make_rows

WARM_UP = Shape(image_tokens=4, words=13, batch=1, accumulation=1)
"""On the CPU; an accelerator, where a step takes seconds, warms up with the rows that are measured."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    options = parse(arguments)
    preset = PRESETS[options.preset]
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _workers(preset.device) as workers:
        throughput = workers.run(matrix_throughput, preset, options.threads)
        machine = describe_machine(preset, options.threads, throughput)
        workloads = run(preset, options, Path(folder), workers)
    text = as_text(preset, machine, workloads, throughput)
    print(text)
    (options.out / "results.md").write_text(text + "\n")
    (options.out / "results.json").write_text(json.dumps(report.as_data(preset.name, machine, workloads), indent=1))
    draw(workloads, options.out / "results.png")
    problems = report.disagreements(workloads) if preset.dtype == "float32" else []
    for problem in problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("benchmark-results"), help="folder for the results (default: %(default)s)")
    add("--preset", choices=PRESETS, default="cpu", help="the model and the machine it is for (default: %(default)s)")
    add("--image-tokens", type=_square, nargs="+", default=[256, 1024], help="square numbers (default: 256 1024)")
    add("--words", type=int, nargs="+", default=[13, 120], help="of every response (default: 13 120)")
    add("--batch", type=int, help="pairs of a micro-batch (default: 4)")
    add("--repeats", type=int, default=3, help="most times that a contestant is measured (default: %(default)s)")
    add("--patience", type=float, default=45.0, help="seconds after which it is not repeated (default: %(default)s)")
    add("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME", help=_names())
    add("--threads", type=int, default=2, help="of torch on the CPU (default: %(default)s)")
    add("--quick", action="store_true", help="256 image tokens, 13 words, one repeat")
    options = parser.parse_args(arguments)
    if options.quick:
        options.image_tokens, options.words, options.repeats = [256], [13], 1
    return options


def run(preset: Preset, options: argparse.Namespace, folder: Path, workers: Workers) -> list[report.Workload]:
    """Measures every workload of the command line."""
    write_checkpoint(preset, folder / "model")
    workloads = []
    batch = options.batch or preset.batch
    for checkpointing in preset.checkpointing:
        checkpoint = Checkpoint(preset, folder / "model", checkpointing, options.threads)
        for tokens in options.image_tokens:
            for words in options.words:
                workload = report.Workload(Shape(tokens, words, batch, preset.accumulation), checkpointing)
                rows = make_all_rows(checkpoint, workload.shape, folder / f"rows{len(workloads)}")
                tasks = [Task(name, checkpoint, *rows[CONTESTANTS[name].one_image]) for name in options.only]
                measure_in_turns(workload, tasks, options.repeats, options.patience, workers)
                workloads.append(workload)
    return workloads


def make_all_rows(checkpoint: Checkpoint, shape: Shape, folder: Path) -> dict[bool, tuple[Rows, Rows]]:
    """By whether they share an image: the rows that are measured, and those to warm up with."""
    rows = {one: make_rows(checkpoint, shape, one, folder / f"one_image_{one}") for one in (False, True)}
    if checkpoint.preset.device != "cpu":
        return {one: (mine, mine) for one, mine in rows.items()}
    warm_up = make_rows(checkpoint, WARM_UP, False, folder / "warm_up")
    return {one: (mine, warm_up) for one, mine in rows.items()}


def measure_in_turns(
    workload: report.Workload, tasks: list[Task], repeats: int, patience: float, workers: Workers
) -> None:
    """Fills in the workload's lines; each round measures every contestant once that has not yet taken too long."""
    workload.lines = {task.contestant: report.Line() for task in tasks}
    for _ in range(repeats):
        for task in tasks:
            line = workload.lines[task.contestant]
            if line.error or sum(each.seconds for each in line.runs) > patience:
                continue
            try:
                if CONTESTANTS[task.contestant].second_epoch and not line.runs:
                    workers.run(run_first_epoch, task)
                line.runs.append(workers.run(measure, task))
                said = f"{line.runs[-1].seconds:.2f} s"
            except RuntimeError as error:
                line.error = said = " ".join(str(error).split())
            print(f"{workload.name}: {task.contestant}: {said}", file=sys.stderr, flush=True)


def as_text(preset: Preset, machine: dict[str, Any], workloads: list[report.Workload], throughput: float) -> str:
    """The results as Markdown."""
    parts = [
        f"# A training step, preset `{preset.name}`",
        ", ".join(f"{key} {value}" for key, value in machine.items()),
    ]
    parts += [
        "A step is forward and backward of all its micro-batches; the optimiser's step is left out. Memory is the peak "
        "above the loaded model. TFLOP counts what a step needs at least, without recomputation.",
        report.figures_table(preset.name, workloads),
    ]
    if preset.plain_tokens is not None:
        parts.insert(
            3,
            f"The published algorithm and stock DPO run micro-batches of more than {preset.plain_tokens} image tokens "
            "in equal parts, since this machine's memory does not hold their logits otherwise; their memory is then "
            "that of a part.",
        )
    for workload in workloads:
        rows = f"{workload.shape.batch} x {workload.shape.accumulation} pairs"
        parts += [f"## {workload.name}, {rows}", report.workload_table(workload, throughput)]
    return "\n\n".join(parts)


def describe_machine(preset: Preset, threads: int, throughput: float) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    device = torch.cuda.get_device_name() if preset.device == "cuda" else f"{platform.machine()} CPU, {threads} threads"
    return {
        "device": device,
        "dtype": preset.dtype,
        "matrix product, GFLOP/s": round(throughput / 1e9),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


@contextmanager
def _workers(device: str) -> Iterator[Workers]:
    workers = Workers(device)
    try:
        yield workers
    finally:
        workers.close()


def _square(text: str) -> int:
    number = int(text)
    if number < 4 or math.isqrt(number) ** 2 != number:
        raise argparse.ArgumentTypeError(f"{text} is not the square of 2 or more")
    return number


def _names() -> str:
    return f"contestants to measure, of: {', '.join(CONTESTANTS)}"


if __name__ == "__main__":
    sys.exit(main())
