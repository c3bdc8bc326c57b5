"""The phantom benchmark from end to end: data, pairs, training, measurement, all by the product's own commands.

    python run.py [--full] [--folder saves/phantom] [--rebuild-base]

What is finished is kept: the same command goes on where it stopped. Quick: four rows of the table, one seed. Full: all
rows, five seeds. `--rebuild-base` makes the base model anew instead of taking the one beside this file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
QUICK_ROWS = ("dpo", "rrpo", "fire_mpo")
QUICK_SEEDS, FULL_SEEDS = (1,), (1, 2, 3, 4, 5)
CORRUPTIONS: dict[str, list[str]] = {
    "phantom_pairs": [],
    "phantom_pairs_crop": ["noise.corruption=crop"],
    "phantom_pairs_black": ["noise.corruption=black"],
    "phantom_pairs_whole": ["noise.whole_image=true"],
}
"""Overrides of build.yaml by set of pairs."""
OFF_POLICY = "phantom_off_policy"
TEST_QUESTIONS = 801
SECONDS = {"data": 15, "teach": 110, "sft": 100, "build": 70, "other build": 20, "train": 55, "answer": 0.055}
"""What each takes on a busy core; "answer" is one question. Corrected by what this machine takes."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        label: As the table shows it.
        pairs: Name of the set of pairs.
        overrides: What it changes in train.yaml.
    """

    label: str
    pairs: str
    overrides: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Attributes:
        name: For people.
        done: A file or folder that exists when it is done.
        seconds: How long it takes, as far as one can tell beforehand.
        work: Does it.
    """

    name: str
    done: Path
    seconds: float
    work: Callable[[], None]


class Bench:
    """One folder of work.

    Args:
        folder: Where everything is kept.
        full: All rows and seeds.
        rebuild: Make the base model anew.
    """

    def __init__(self, folder: Path, *, full: bool, rebuild: bool) -> None:
        self.folder = folder / "rebuilt" if rebuild else folder  # answers and adapters belong to one base model
        self.rebuild = rebuild
        self.base = self.folder / "base" if rebuild else HERE / "base"
        self._table = self.folder / "evaluation" / f"done-{'full' if full else 'quick'}"
        self.seeds = FULL_SEEDS if full else QUICK_SEEDS
        known = {name: Row(row["label"], row["pairs"], row.get("set", {})) for name, row in _table().items()}
        self.rows = known if full else {name: known[name] for name in QUICK_ROWS}

    def tasks(self) -> list[Task]:
        """Everything, in order."""
        tasks = [Task("data", self.folder / "data", SECONDS["data"], self._data)]
        if self.rebuild:
            tasks.append(Task("vision tower", self.folder / "taught", SECONDS["teach"], self._teach))
            tasks.append(Task("base model", self.base, SECONDS["sft"], self._sft))
        pairs = {row.pairs for row in self.rows.values()} | {"phantom_pairs"}
        for name in [name for name in CORRUPTIONS if name in pairs]:
            seconds = SECONDS["build" if name == "phantom_pairs" else "other build"]
            tasks.append(Task(f"pairs {name}", self._pairs_file(name), seconds, partial(self._build, name)))
        if OFF_POLICY in pairs:
            tasks.append(Task(f"pairs {OFF_POLICY}", self._pairs_file(OFF_POLICY), 1, self._off_policy))
        for seed in self.seeds:
            for name in self.rows:
                work = partial(self._train, name, seed)
                tasks.append(Task(f"train {name}, seed {seed}", self._adapter(name, seed), SECONDS["train"], work))
        models = 1 + len(self.seeds) * len(self.rows)
        tasks.append(Task("evaluation", self._table, models * TEST_QUESTIONS * SECONDS["answer"], self._evaluate))
        return tasks

    def _data(self) -> None:
        self._whole(self.folder / "data", lambda part: _python("data.py", str(part)))

    def _teach(self) -> None:
        self._whole(self.folder / "taught", lambda part: _python("model.py", str(part)))

    def _sft(self) -> None:
        data = self.folder / "data"
        given = {"model_name_or_path": self.folder / "taught", "dataset_dir": data, "media_dir": data}

        def train(part: Path) -> None:
            _run("llamafactory-cli", "train", str(HERE / "sft.yaml"), *_pairs_of(given | {"output_dir": part}))
            keep_what_a_model_needs(part)

        self._whole(self.base, train)

    def _build(self, name: str) -> None:
        data = self.folder / "data"
        paths = {
            "workspace": self.folder / "build",
            "source.options.file": data / "pairs.jsonl",
            "source.options.image_root": data,
            "segment.options.folder": data / "masks",
            "respond.engine.model_name_or_path": self.base,
            "export.options.model": self.base,
            "export.name": name,
        }
        _run("firempo", "build", str(HERE / "build.yaml"), *_pairs_of(paths), *CORRUPTIONS[name])

    def _off_policy(self) -> None:
        files = (self._pairs_file("phantom_pairs"), self.folder / "data" / "pairs.jsonl", self._pairs_file(OFF_POLICY))
        _python("off_policy.py", *map(str, files))

    def _train(self, name: str, seed: int) -> None:
        row = self.rows[name]
        given = {
            "model_name_or_path": self.base,
            "dataset": row.pairs,
            "dataset_dir": self._pairs_file(row.pairs).parent,
            "media_dir": self._pairs_file(row.pairs).parent,
            "seed": seed,
        }
        self._whole(
            self._adapter(name, seed),
            lambda part: _run(
                "llamafactory-cli",
                "train",
                str(HERE / "train.yaml"),
                *_pairs_of(given | row.overrides | {"output_dir": part}),
            ),
        )

    def _evaluate(self) -> None:
        config = self.folder / "evaluate.yaml"
        config.write_text(yaml.safe_dump(self.evaluation(), sort_keys=False), encoding="utf-8")
        _run("firempo", "evaluate", str(config))
        self._table.touch()

    def evaluation(self) -> dict[str, Any]:
        """The configuration of `firempo evaluate` for all models on the test split."""
        data = self.folder / "data"
        columns = {name: name for name in ("id", "image", "question", "kind", "closed")} | {"truth": "answer"}
        adapters = {(name, seed): f"{name}-seed{seed}" for name in self.rows for seed in self.seeds}
        return {
            "workspace": str(self.folder / "evaluation"),
            "measures": ["accuracy"],
            "source": {
                "name": "table",
                "options": {"file": str(data / "test.jsonl"), "image_root": str(data), "columns": columns},
            },
            "model": {
                "model_name_or_path": str(self.base),
                "template": "qwen3_vl_nothink",
                "image_max_pixels": 9216,
            },
            "models": {"base": None, **{model: str(self._adapter(*key)) for key, model in adapters.items()}},
            "groups": {row.label: [adapters[name, seed] for seed in self.seeds] for name, row in self.rows.items()},
            "baseline": "base",
            "answers": {"max_new_tokens": 40},
        }

    def _pairs_file(self, name: str) -> Path:
        return self.folder / ("off_policy" if name == OFF_POLICY else "build/export") / f"{name}.json"

    def _adapter(self, name: str, seed: int) -> Path:
        return self.folder / "runs" / name / f"seed{seed}"

    def _whole(self, target: Path, make: Callable[[Path], None]) -> None:
        """Makes a folder under another name and renames it, so that it is complete whenever it exists."""
        part = target.with_name(f"{target.name}.partial")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(target)


def keep_what_a_model_needs(folder: Path) -> None:
    """Turns the output of a training run into a small checkpoint: weights stored in half precision, and no logs.

    The configuration still says float32, so that they are computed with in single precision everywhere.
    """
    from safetensors.torch import load_file, save_file

    weights = folder / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    for path in folder.iterdir():
        wanted = path.suffix in (".json", ".jinja", ".safetensors") and not path.name.endswith("_results.json")
        if path.is_dir():
            shutil.rmtree(path)
        elif not wanted or path.name == "trainer_state.json":
            path.unlink()


def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load((HERE / "objectives.yaml").read_text(encoding="utf-8"))
    return table


def _pairs_of(values: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _python(script: str, *arguments: str) -> None:
    _run(sys.executable, str(HERE / script), *arguments)


def _run(*command: str) -> None:
    """Runs a command of this environment; what it prints goes to the terminal.

    Raises:
        SystemExit: It failed.
    """
    scripts = Path(sys.executable).parent
    search_path = os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)])
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, "PATH": search_path}
    found = shutil.which(command[0], path=search_path)
    if found is None:
        sys.exit(f"There is no {command[0]} in {scripts}: pip install firempo-plugin there, then run this again.")
    status = subprocess.run([found, *command[1:]], env=environment, check=False).returncode
    if status:
        sys.exit(f"{' '.join(command)}\nfailed with status {status}. Mend what it says and run this again to go on.")


def minutes(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the phantom benchmark; the same command goes on after a stop.")
    parser.add_argument("--folder", type=Path, default=Path("saves/phantom"))
    parser.add_argument("--full", action="store_true", help="all rows of the table, five seeds")
    parser.add_argument("--rebuild-base", action="store_true", help="make the base model anew, from nothing")
    arguments = parser.parse_args()
    bench = Bench(arguments.folder.resolve(), full=arguments.full, rebuild=arguments.rebuild_base)
    bench.folder.mkdir(parents=True, exist_ok=True)
    open_tasks = [task for task in bench.tasks() if not task.done.exists()]
    taken = expected = 0.0
    for number, task in enumerate(open_tasks):
        pace = taken / expected if expected else 1.0
        left = pace * sum(other.seconds for other in open_tasks[number:])
        print(f"\n=== {number + 1}/{len(open_tasks)} {task.name}; all that is left: about {minutes(left)}", flush=True)
        begin = time.monotonic()
        task.work()
        taken, expected = taken + time.monotonic() - begin, expected + task.seconds
    print(f"\nDone. {bench.folder / 'evaluation'}")


if __name__ == "__main__":
    main()
