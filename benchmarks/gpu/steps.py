"""Steps of real shapes: who takes how long, what fits, and how the cost grows."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from contestants import CONTESTANTS, DEFAULT, PUBLISHED, PUBLISHED_ONE_IMAGE
from measure import Measurement, matrix_throughput, measure_step
from model import Loaded, load
from presets import PRESETS, QLORA, Checkpoint, Preset, shrunk, write_checkpoint
from report import Line
from rows import Rows, Shape, make_rows
from runners import Runner

from gpu.clock import failure, release
from gpu.stage import Context, Table

FOUR, SEVEN = "qwen3_vl_4b", "qwen2_5_vl_7b"
DPO, ALL_CACHED = "llamafactory_dpo", "one_image_all_cached"
SHAPE = Shape(image_tokens=1024, words=120, batch=4, accumulation=2)
SMALL_WORDS, SMALL_BATCH, SMALL_MATRIX = 20, 2, 256
"""In a rehearsal, whose images are as small as they can be."""
RUNS, ENOUGH_SECONDS = 3, 4.0
"""Most steps of a contestant that are timed, and after how long one that is slow is timed no more."""
STEPS = (
    (False, (DEFAULT, DPO, PUBLISHED, PUBLISHED_ONE_IMAGE, ALL_CACHED)),
    (True, (DEFAULT, PUBLISHED, PUBLISHED_ONE_IMAGE, DPO, "trees", "vision", "head")),
    (False, ("trees", "vision", "head", "all_cached", "one_image")),
)
SEVENS = ((True, (DEFAULT, PUBLISHED, DPO)), (False, (DEFAULT, PUBLISHED)))
"""By whether gradient checkpointing is on, in the order of their worth."""
MOST_SECONDS, HASHING_SECONDS = 12.0, 8.0
"""Of a contestant with collating and warming up, and more where caches need the weights' digest: less left, and it is
not begun."""
LOADING_SECONDS = 15.0
WRITING_SECONDS = 35.0
"""To write a quantised model's weights, and to read them."""
SWEEP = (Shape(256, 120, 4, 2), Shape(1024, 120, 8, 1), Shape(2304, 120, 4, 2), Shape(1024, 120, 4, 2))
SWEPT = ((DEFAULT, False), (DEFAULT, True), (PUBLISHED, True))
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
"""Largest relative difference of the losses of two ways to compute the same."""
COLUMNS = ("contestant", "chk", "step s", "fwd", "bwd", "collate", "tokens", "tokens/s", "of rate", "peak GB", "loss")
GIGABYTE = 1e9


class Bench:
    """A model and rows of one shape, for any contestant.

    Args:
        context: Of the stage.
        preset: The model.
        shape: Of the step.

    Attributes:
        known_rows: Rows that are there, by whether they share an image.
    """

    def __init__(self, context: Context, preset: Preset, shape: Shape) -> None:
        self.context, self.preset, self.shape = context, preset, shape
        self.rate = matrix_throughput(preset, context.threads, SMALL_MATRIX if context.rehearse else None)
        self.known_rows: dict[bool, Rows] = {}

    def checkpoint(self, checkpointing: bool) -> Checkpoint:
        """The model's files, written at the first call."""
        folder = self.context.folder / self.preset.name
        if not folder.exists():
            write_checkpoint(self.preset, folder)
        return Checkpoint(self.preset, folder, checkpointing, self.context.threads)

    def rows(self, one_image: bool) -> Rows:
        """The rows of the step, written at the first call."""
        if one_image not in self.known_rows:
            folder = Path(mkdtemp(dir=self.context.folder)) / "rows"
            self.known_rows[one_image] = make_rows(self.checkpoint(False), self.shape, one_image, folder)
        return self.known_rows[one_image]

    def measure(self, name: str, checkpointing: bool) -> Line:
        """Some steps of a contestant after one that warms up, or why there are none."""
        line = Line()
        try:
            self._measure(name, checkpointing, line.runs)
        except Exception as error:  # a result like any other, most of all where memory runs out
            if self.context.rehearse:
                raise
            line.error = failure(error)
        release()
        return line

    def _measure(self, name: str, checkpointing: bool, runs: list[Measurement]) -> None:
        loaded, runner, batches, seconds = self.warm(name, checkpointing)
        try:
            for _ in range(1 if self.context.rehearse else RUNS):
                runs.append(measure_step(loaded, runner, batches, seconds))
                if sum(each.seconds for each in runs) > ENOUGH_SECONDS:
                    break
        finally:
            loaded.model.zero_grad(set_to_none=True)

    def warm(self, name: str, checkpointing: bool) -> tuple[Loaded, Runner, list[Any], float]:
        """A loaded model, a contestant that has run a step, its batches, and the seconds of collating."""
        contestant = CONTESTANTS[name]
        rows = self.rows(contestant.one_image)  # before the trainer, since encoding resets accelerate's state
        loaded = load(self.checkpoint(checkpointing))
        runner = contestant.build(loaded)
        started = time.perf_counter()
        batches = runner.collate(rows)
        seconds = time.perf_counter() - started
        runner.run(batches, lambda backward: backward)
        if contestant.second_epoch:
            batches = runner.collate(rows)
            runner.run(batches, lambda backward: backward)
        return loaded, runner, batches, seconds

    def tell(self, table: Table, stage: str, name: str, checkpointing: bool, line: Line) -> None:
        """Adds a contestant's row, and its values for the figures to reach."""
        first = (name, "yes" if checkpointing else "no")
        if not line.runs:
            table.add(*first, line.error)
            return
        self.keep(stage, name, checkpointing, line)
        seconds = line.typical("seconds")
        parts = (seconds - line.typical("backward_seconds"), line.typical("backward_seconds"))
        tokens = int(line.typical("tokens"))
        peak = line.typical("peak") / GIGABYTE
        speed, loss = f"{tokens / seconds:.0f}", f"{line.typical('loss'):.5f}"
        table.add(*first, seconds, *parts, line.typical("collate_seconds"), tokens, speed, self.share(line), peak, loss)

    def share(self, line: Line) -> float:
        """Of the measured matrix rate."""
        return line.typical("flops") / line.typical("seconds") / self.rate

    def keep(self, stage: str, name: str, checkpointing: bool, line: Line) -> str:
        """Keeps a contestant's values for the figures to reach; returns the most important of them in a cell."""
        if not line.runs:
            return line.error
        seconds, peak, share = line.typical("seconds"), line.typical("peak") / GIGABYTE, self.share(line)
        key = f"{stage}/{name}/checkpointed" if checkpointing else f"{stage}/{name}"
        values = self.context.result.values
        values |= {key: seconds, f"{key}/peak": peak, f"{key}/share": share}
        values[f"{stage}/{name}/best"] = min(seconds, values.get(f"{stage}/{name}/best", seconds))
        self.context.result.save()
        return f"{seconds:.3g} s, {share:.2g}, {peak:.3g} GB"


def bench(context: Context, name: str, shape: Shape = SHAPE) -> Bench:
    """The bench of a preset, with everything small in a rehearsal."""
    preset = PRESETS[name]
    if context.rehearse:
        preset = replace(shrunk(preset), dtype="float32")  # bf16 is slow on most CPUs
        side = 4 + 2 * (shape.image_tokens > SHAPE.image_tokens)
        shape = replace(shape, image_tokens=side**2, words=SMALL_WORDS, batch=min(shape.batch, SMALL_BATCH))
    return Bench(context, preset, shape)


def measure_all(
    context: Context, on: Bench, stage: str, plan: Sequence[tuple[bool, Sequence[str]]], title: str
) -> None:
    """Measures contestants in order, each told as soon as it is known.

    Raises:
        ValueError: See `agree`; when all are measured.
    """
    table = context.result.table(title, *COLUMNS)
    lines = []
    for checkpointing, names in plan:
        for name in names:
            label = f"{name}{' checkpointed' if checkpointing else ''}"
            if context.may_start(label, MOST_SECONDS + HASHING_SECONDS * CONTESTANTS[name].second_epoch):
                lines.append((name, on.measure(name, checkpointing)))
                on.tell(table, stage, name, checkpointing, lines[-1][1])
    agree(lines, on.preset.dtype)


def agree(lines: Sequence[tuple[str, Line]], dtype: str) -> None:
    """Holds the losses of contestants on the same rows against each other.

    Raises:
        ValueError: One differs from that of the contestant that computes the same; names all such.
    """
    losses = {name: line.typical("loss") for name, line in lines if line.runs}
    wrong = []
    for name, line in lines:
        other = losses.get(CONTESTANTS[name].same_as)
        if line.runs and other is not None and not abs(line.typical("loss") / other - 1) <= TOLERANCE[dtype]:
            wrong.append(f"{name} {line.typical('loss'):.5f}, expected {other:.5f}")
    if wrong:
        raise ValueError(f"WRONG losses: {'; '.join(wrong)}")


def run_step(context: Context) -> None:
    """The stage `step`."""
    on = bench(context, FOUR)
    pairs = f"{on.shape.batch} x {on.shape.accumulation} pairs, {on.shape.name}"
    rate = f"{on.rate / 1e12:.3g} TFLOP/s"
    measure_all(context, on, "step", STEPS, f"{pairs}; chk: gradient checkpointing; of rate: of {rate}")


def run_seven(context: Context) -> None:
    """The stage `seven`."""
    budgets = context.result.table("checkpointed, AdamW's step and state included", "", "")
    four = bench(context, FOUR)
    if context.may_start("the budget of 4B", LOADING_SECONDS + MOST_SECONDS):
        _budget(four, budgets)
    seven = bench(context, SEVEN)
    if context.may_start("7B", LOADING_SECONDS + MOST_SECONDS):
        measure_all(context, seven, "seven", SEVENS, f"7B, {seven.shape.name}")
    if context.may_start("the budget of 7B QLoRA", WRITING_SECONDS):
        load.cache_clear()
        release()
        _budget(bench(context, QLORA.name), budgets)


def _budget(on: Bench, table: Table) -> None:
    """Peak memory of the second step with gradient checkpointing, once the optimiser has its state."""
    try:
        seconds, peak = _budget_figures(on)
        table.add(on.preset.name, f"{seconds:.3g} s, peak {peak:.3g} GB")
    except Exception as error:  # a result like any other
        if on.context.rehearse:
            raise
        table.add(on.preset.name, failure(error))
    release()


def _budget_figures(on: Bench) -> tuple[float, float]:
    loaded, runner, batches, collating = on.warm(DEFAULT, True)
    weights = [weight for weight in loaded.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, fused=True)
    optimiser.step()
    found = measure_step(loaded, runner, batches, collating)
    started = time.perf_counter()
    optimiser.step()
    if on.context.device == "cuda":
        torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() if on.context.device == "cuda" else found.peak) / GIGABYTE
    on.context.result.value(f"seven/{on.preset.name}/peak", peak)
    return found.seconds + time.perf_counter() - started, peak


def run_sweep(context: Context) -> None:
    """The stage `sweep`; one contestant after the other at every shape, since each loads the model anew."""
    titles = [f"{name}{', chk' if checkpointing else ''}" for name, checkpointing in SWEPT]
    table = context.result.table("seconds, share of the measured rate, peak", "image tokens", "pairs", *titles)
    benches = [bench(context, FOUR, shape) for shape in SWEEP]
    lines: list[list[tuple[str, Line]]] = [[] for _ in benches]
    for on in benches:
        table.add(on.shape.image_tokens, f"{on.shape.batch} x {on.shape.accumulation}")
    for name, checkpointing in SWEPT:
        for place, on in enumerate(benches):
            tokens, pairs = table.rows[place][:2]
            cell = "not begun"
            if context.may_start(f"{name} at {tokens} x {on.shape.batch}", MOST_SECONDS):
                line = on.measure(name, checkpointing)
                lines[place].append((name, line))
                cell = on.keep(f"sweep/{tokens}/{pairs}", name, checkpointing, line)
            table.rows[place] = (*table.rows[place], cell)
            context.result.save()
    for mine in lines:
        agree(mine, benches[0].preset.dtype)
