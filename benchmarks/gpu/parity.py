"""Loss, terms and LoRA gradients of every way this project runs, against eight plain float32 forwards on the CPU."""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from contestants import CONTESTANTS
from model import load
from presets import PRESETS, TEMPLATES, Checkpoint
from rows import Rows, encode, write_image
from transformers import AutoModelForImageTextToText

from gpu.clock import failure, release
from gpu.stage import Context

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

import plain
import tiny

WAYS = ("head", "vision", "trees", "passes", "cached", "all_cached")
"""The rows come two to an image, so that trees are shared where there are any."""
ATTENTION = ("sdpa", "disabled")
DTYPES = ("float32", "bfloat16")
TOLERANCE = 1e-3
"""Largest relative difference in float32."""
SIDE = 112
SECONDS = 4.0
TEXTS = (
    ("There is a mass in the left lower lobe.", "There is a mass in the right lower lobe.", [19, 27], [19, 28]),
    ("A CT scan.", "An MR scan.", [0, 4], [0, 5]),
    ("The left kidney is small.", "The right kidney is small.", [4, 8], [4, 9]),
    ("No fluid in the chest.", "Free fluid in the chest.", [0, 2], [0, 4]),
)
QUESTION = "<image>What is it?"


def run(context: Context) -> None:
    """The stage.

    Raises:
        ValueError: In float32 something differs from the plain computation; when all is compared.
    """
    table = context.result.table(
        "differences relative to plain float32: loss, worst term, gradients by norm (the way that is worst in them)",
        "family", "attention", *DTYPES,
    )  # fmt: skip
    worst: dict[str, float] = {}
    for family in TEMPLATES:
        pairs = write_rows(context.folder / f"{family}-rows")
        folders = write_models(family, context.folder / family)
        expected = expected_of(family, folders["float32"], folders["adapter"], pairs)
        for attention in ATTENTION:
            cells = [_cell(context, family, dtype, attention, folders, expected, worst) for dtype in DTYPES]
            table.add(family, attention, *cells)
    wrong = [name for name, value in worst.items() if "float32" in name and not value <= TOLERANCE]
    if wrong:
        raise ValueError(f"WRONG: differs from the plain computation in {', '.join(wrong)}")


def _cell(
    context: Context,
    family: str,
    dtype: str,
    attention: str,
    folders: dict[str, Path],
    expected: "Expected",
    worst: dict[str, float],
) -> str:
    """What the table says of the ways in one dtype; keeps the worst so far of all families."""
    if not context.may_start(f"{family} {attention} {dtype}", SECONDS):
        return "not begun"
    try:
        found = dict(differences(context, family, dtype, attention, folders, expected))
    except Exception as error:  # a result like any other
        if context.rehearse:
            raise
        said = failure(error)
        release()
        return said
    most = [max(each[part] for each in found.values()) for part in range(3)]
    for part, value in zip(("loss", "term", "gradient"), most, strict=True):
        name = f"parity/{dtype}/{part}"
        worst[name] = max(worst.get(name, 0.0), value)
        context.result.value(name, worst[name])
    named = max(found, key=lambda name: found[name][2])
    return f"{', '.join(f'{value:.1e}' for value in most)} ({named})"


def write_rows(folder: Path) -> list[plain.Pair]:
    """Writes a data set of two images with their noised twins and two pairs of each."""
    folder.mkdir()
    pairs = []
    for number, (chosen, rejected, *spans) in enumerate(TEXTS):
        image = number // 2
        write_image(image, SIDE, folder)
        files = [[str(folder / f"{image}{kind}.png")] for kind in ("", "_noised")]
        pairs.append(plain.Pair(QUESTION, chosen, rejected, *([span] for span in spans), *files))
    data = [
        {
            "conversations": [{"from": "human", "value": pair.question}],
            "chosen": {"from": "gpt", "value": pair.chosen},
            "rejected": {"from": "gpt", "value": pair.rejected},
            **{name: vars(pair)[name] for name in ("images", "rejected_images", "chosen_spans", "rejected_spans")},
        }
        for pair in pairs
    ]
    (folder / "rows.json").write_text(json.dumps(data))
    names = ("chosen", "rejected", "images", "rejected_images", "chosen_spans", "rejected_spans")
    columns = {"messages": "conversations", **{name: name for name in names}}
    info = {"file_name": "rows.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": info}))
    return pairs


def write_models(family: str, folder: Path) -> dict[str, Path]:
    """A tiny model with weights that bf16 holds, to be loaded in each dtype, and its adapter."""
    folders = {name: folder / name for name in (*DTYPES, "adapter")}
    half = tiny.build(family, folders["bfloat16"])
    AutoModelForImageTextToText.from_pretrained(half, dtype=torch.bfloat16).save_pretrained(half)
    shutil.copytree(half, folders["float32"])
    config = folders["float32"] / "config.json"
    config.write_text(config.read_text().replace('"bfloat16"', '"float32"'))
    tiny.build_adapter(folders["float32"], folders["adapter"])
    return folders


Expected = tuple[float, dict[str, float], dict[str, torch.Tensor]]


def expected_of(family: str, folder: Path, adapter: Path, pairs: list[plain.Pair]) -> Expected:
    """Loss, terms and gradients of the plain computation."""
    reference = plain.Plain(family, folder, adapter)
    loss, terms = reference.batch(pairs, "fire_mpo")
    loss.backward()
    return loss.item(), terms, gradients_of(reference.model)


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's gradients on the CPU, by name."""
    return {name: weight.grad.float().cpu() for name, weight in model.named_parameters() if weight.grad is not None}


def differences(
    context: Context, family: str, dtype: str, attention: str, folders: dict[str, Path], expected: Expected
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """By way: the relative differences of the loss, of the worst term, and of the gradients."""
    preset = replace(
        PRESETS["cpu"], name=family, family=family, device=context.device, dtype=dtype,
        vision={"patch_size": 14, "spatial_merge_size": 2},
    )  # fmt: skip
    checkpoint = Checkpoint(
        preset, folders[dtype], threads=context.threads, attention=attention, adapter=folders["adapter"]
    )
    fire = encode(checkpoint, context.folder / f"{family}-rows", "fire_mpo")
    rows = Rows([fire], [], [], 0)
    loaded = load(checkpoint)
    for name in WAYS:
        runner: Any = CONTESTANTS[name].build(loaded)
        for _ in range(1 + CONTESTANTS[name].second_epoch):
            loaded.model.zero_grad(set_to_none=True)
            runner.trainer._train_means.take()
            loss = runner.run(runner.collate(rows), lambda backward: backward)
        means = runner.trainer._train_means.take()
        gradients = gradients_of(loaded.model)
        if gradients.keys() != expected[2].keys():
            raise ValueError(f"{name}: gradients of {len(gradients)} weights, expected {len(expected[2])}")
        terms = [abs(means[f"terms/{term}"] / value - 1) for term, value in expected[1].items()]
        off = math.hypot(*(float((gradients[key] - value).norm()) for key, value in expected[2].items()))
        size = math.hypot(*(float(value.norm()) for value in expected[2].values()))
        yield name, (abs(loss / expected[0] - 1), max(terms), off / size)
    loaded.model.zero_grad(set_to_none=True)
