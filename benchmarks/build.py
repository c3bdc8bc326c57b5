"""Measures `firempo build` by the number of records: one command, no network, no model.

    python benchmarks/build.py 2000 20000 [--folder FOLDER] [--images 300]

Questions with recorded answers over a few hundred small images are edited by the rules, and noised with shared noise.
Each command runs in a process of its own: seconds of the clock, seconds of CPU, and the most memory that it held.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

SIDE = 64
FINDINGS = (
    "pleural effusion", "pneumothorax", "fracture", "consolidation", "mass", "nodule", "cardiomegaly", "edema",
    "atelectasis", "calcification", "cyst", "haemorrhage",
)  # fmt: skip
PLACES = ("lung", "liver", "kidney", "lobe", "ventricle", "breast")
SHAPES = ("{a}.", "{a}", "The answer is {a}.", "Looking at the image carefully, the answer is {a}.")
COMMANDS = {
    "build": ("build",),
    "nothing to do": ("build",),
    "status": ("status",),
    "export": ("export",),
}


@dataclass(frozen=True)
class Taken:
    """What a command took: seconds of the clock and of CPU, and MB at most."""

    clock: float
    cpu: float
    memory: float


def rows(number: int, images: int) -> Iterator[dict[str, object]]:
    """Questions, ground truths and answers; of a third of them no rule makes a pair."""
    chance = random.Random(0)
    for place in range(number):
        finding, organ = chance.choice(FINDINGS), chance.choice(PLACES)
        question, truth, wrong = chance.choice((
            (f"Is there a {finding} in the {organ}?", "Yes", "No"),
            (f"Is there a {finding} in the {organ}?", "No", "Yes"),
            (f"Which {organ} shows the {finding}, left or right?", "Left", "Right"),
            (f"What does the {organ} show beside the {finding}?", f"Sign {place}", "Nothing"),
        ))  # fmt: skip
        response = chance.choice(SHAPES).format(a=truth if chance.random() < 0.6 else wrong)
        yield {
            "id": place,
            "image": f"{place % images}.png",
            "question": question,
            "truth": truth,
            "response": response,
        }


def written(folder: Path, number: int, images: int) -> Path:
    """Writes images, a table and its build."""
    level = np.random.default_rng(0)
    for place in range(images):
        Image.fromarray(level.integers(0, 200, (SIDE, SIDE), dtype=np.uint8)).save(folder / f"{place}.png")
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows(number, images))
    columns = {name: name for name in ("id", "image", "question", "truth", "response")}
    options = {"file": str(folder / "rows.jsonl"), "image_root": str(folder), "columns": columns}
    config = {
        "workspace": str(folder / "work"),
        "source": {"name": "table", "options": options},
        "noise": {"shared": True},
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    return folder / "build.yaml"


def taken(words: tuple[str, ...], config: Path, log: Path) -> Taken:
    """Runs a command to its end.

    Raises:
        SystemExit: It failed; its words are in the log.
    """
    command = [sys.executable, "-m", "firempo_plugin.cli", *words, str(config)]
    started = time.monotonic()
    with open(log, "ab") as out:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        _, code, usage = os.wait4(child, 0)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(code)}; see {log}")
    return Taken(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("records", nargs="+", type=int)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    args = parser.parse_args()
    print("| records | command | s | CPU s | records/s | MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for number in args.records:
            folder = (args.folder or Path(temporary)) / str(number)
            folder.mkdir(parents=True)
            config = written(folder, number, args.images)
            for name, words in COMMANDS.items():
                took = taken(words, config, folder / "log")
                rate = f"{number / took.clock:.0f}"
                print(f"| {number:,} | {name} | {took.clock:.1f} | {took.cpu:.1f} | {rate} | {took.memory:.0f} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
