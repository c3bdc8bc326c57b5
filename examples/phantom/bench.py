"""The benchmark as tasks: data, base model, pairs, training, measurement, all by the product's own commands."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tasks import Shell, Task, whole

HERE = Path(__file__).resolve().parent
QUICK_ROWS = ("dpo", "rrpo", "fire_mpo")
QUICK_SEEDS, FULL_SEEDS = (1,), (1, 2, 3, 4, 5)
PAIRS, OFF_POLICY, SHUFFLED, EVIDENCE = (
    "phantom_pairs",
    "phantom_off_policy",
    "phantom_pairs_shuffled",
    "phantom_evidence",
)
BUILDS: dict[str, list[str]] = {
    PAIRS: [],
    "phantom_pairs_crop": ["noise.corruption=crop"],
    "phantom_pairs_black": ["noise.corruption=black"],
    "phantom_pairs_whole": ["noise.whole_image=true"],
}
"""Overrides of build.yaml by set of pairs; their answers and edits are those of the first one, found again."""
DECIDING = (
    *("images.py", "questions.py", "data.py", "model.py", "off_policy.py", "flipped.py"),
    *("sft.yaml", "build.yaml", "train.yaml", "objectives.yaml"),
)
"""Files that the numbers depend on, besides the base model's."""
MEASURES = ["accuracy", "grounding", "localisation", "sensitivity"]
DYNAMICS: dict[str, dict[str, Any]] = {
    "dpo_off_policy": {"learning_rate": 2.5e-4},  # DPO's, so that only the pairs differ
    "dpo": {},
    "fire_mpo": {},
}
"""Rows whose rewards and answers are followed over training, and what else they then change."""
STEPS_APART = 15
"""Training steps between two checkpoints of those."""
RATES = (5.0e-5, 1.0e-4, 2.5e-4, 5.0e-4, 1.0e-3)
OBJECTIVE_ROWS = ("dpo_off_policy", "dpo", "copo", "mdpo", "mmedpo", "rrpo", "mask_dpo", "fire_mpo")
"""Whose learning rate is searched; the ablations of FiRe-MPO and the controls train at its own."""
SEARCH_SEED = 0
"""Of no row of the table."""
TEST_QUESTIONS, VALIDATION_QUESTIONS = 795, 478
SECONDS = {
    "data": 20,
    "teach": 140,
    "sft": 110,
    "build": 70,
    "other build": 25,
    "train": 50,
    "start": 45,
    "answer": 0.06,
}
"""What each takes on one core. "start" is what an evaluation takes besides answers, "answer" is one question."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        label: As the table shows it.
        pairs: Name of the set of pairs.
        overrides: What it changes in train.yaml.
        flipped: Whether the sign of the visual term is flipped.
    """

    label: str
    pairs: str
    overrides: dict[str, Any]
    flipped: bool


class Bench:
    """One folder of work.

    Args:
        folder: Where everything is kept.
        full: All rows and seeds.
        rebuild: Make the base model anew.

    Attributes:
        baseline: The row that the others are compared with.
    """

    baseline = "fire_mpo"

    def __init__(self, folder: Path, *, full: bool = False, rebuild: bool = False) -> None:
        self.folder = folder / "rebuilt" if rebuild else folder  # answers and adapters belong to one base model
        self.data = self.folder / "data"
        self.base = self.folder / "base" if rebuild else HERE / "base"
        self.logs = self.folder / "logs"
        self.full, self.rebuild = full, rebuild
        self.seeds = FULL_SEEDS if full else QUICK_SEEDS
        self.table = rows()
        self.rows = self.table if full else {name: self.table[name] for name in QUICK_ROWS}

    def claim(self) -> None:
        """Notes in the folder what its work depends on, and refuses one that depends on something else.

        Raises:
            SystemExit: The folder was begun with other files: its answers and adapters would be mixed with new ones.
        """
        digest = hashlib.sha256()
        for file in [HERE / name for name in DECIDING] + sorted((HERE / "base").iterdir()):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        note = self.folder / "made_with"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not note.exists() and not self.data.exists():
            note.write_text(digest.hexdigest(), encoding="utf-8")
        if not note.exists() or note.read_text(encoding="utf-8") != digest.hexdigest():
            sys.exit(
                f"{self.folder} was begun with another base model, data or settings than those of {HERE}. "
                "Delete it, or name another --folder."
            )

    def stages(self) -> list[list[Task]]:
        """Everything that makes the table, in order."""
        sets = {row.pairs for row in self.rows.values()}
        train = [self._train_task(name, seed) for seed in self.seeds for name in self.rows]
        measure = [self._measure_task(name) for name in (None, *self.rows)]
        tables = [self._table_task(table) for table in self.tables()]
        stages = [*self._before(sets), [self._evidence_task(), *train], measure, tables]
        return [*stages, *self._dynamics()] if self.full else stages

    def search(self) -> list[list[Task]]:
        """The learning rates of every objective on the validation split."""
        seconds = SECONDS["train"] + 30
        tries = [
            Task(f"try {name} {rate:.1e}", self.tried(name, rate), seconds, partial(self._try, name, rate))
            for name, rates in self.rates().items()
            for rate in rates
        ]
        return [*self._before({self.table[name].pairs for name in self.rates()}), tries]

    def rates(self) -> dict[str, tuple[float, ...]]:
        """The learning rates that the search tries, by row."""
        return dict.fromkeys(OBJECTIVE_ROWS, RATES)

    def tried(self, name: str, rate: float) -> Path:
        """Folder of a run of the search; holds answers.jsonl."""
        return self.folder / "search" / name / f"{rate:.1e}"

    def _before(self, sets: Iterable[str]) -> list[list[Task]]:
        """What comes before training."""
        stages = [[Task("data", self.data, SECONDS["data"], self._write_data)]]
        if self.rebuild:
            stages.append([Task("vision tower", self.folder / "taught", SECONDS["teach"], self._teach)])
            stages.append([Task("base model", self.base, SECONDS["sft"], self._sft)])
        wanted = {*sets, PAIRS}
        for name in [name for name in BUILDS if name in wanted]:
            seconds = SECONDS["build" if name == PAIRS else "other build"]
            stages.append([Task(f"pairs {name}", self.pairs_file(name), seconds, partial(self._build, name))])
        others = []
        if OFF_POLICY in wanted:
            others.append(Task(f"pairs {OFF_POLICY}", self.pairs_file(OFF_POLICY), 1, self._off_policy))
        if SHUFFLED in wanted:
            others.append(Task(f"pairs {SHUFFLED}", self.pairs_file(SHUFFLED), SECONDS["build"], self._shuffled))
        return [*stages, others] if others else stages

    def _write_data(self, shell: Shell) -> None:
        whole(self.data, lambda part: shell(sys.executable, str(HERE / "data.py"), str(part)))

    def _teach(self, shell: Shell) -> None:
        whole(self.folder / "taught", lambda part: shell(sys.executable, str(HERE / "model.py"), str(part)))

    def _sft(self, shell: Shell) -> None:
        given = {"model_name_or_path": self.folder / "taught", "dataset_dir": self.data, "media_dir": self.data}

        def train(part: Path) -> None:
            shell("llamafactory-cli", "train", str(HERE / "sft.yaml"), *_arguments(given | {"output_dir": part}))
            keep_what_a_model_needs(part)

        whole(self.base, train)

    def _build(self, name: str, shell: Shell) -> None:
        self._firempo_build(shell, name, "pairs.jsonl", "masks", self.folder / "build", BUILDS[name])

    def _shuffled(self, shell: Shell) -> None:
        self._firempo_build(shell, SHUFFLED, "pairs.jsonl", "masks_shuffled", self.folder / "build_shuffled", [])

    def _evidence_task(self) -> Task:
        """Pairs of the test split, never trained on: what the evidence is measured with."""
        folder = self.folder / "build_evidence"

        def work(shell: Shell) -> None:
            self._firempo_build(shell, EVIDENCE, "evidence.jsonl", "masks", folder, [])

        return Task(f"pairs {EVIDENCE}", self.pairs_file(EVIDENCE), SECONDS["other build"], work)

    def _firempo_build(
        self, shell: Shell, name: str, records: str, masks: str, folder: Path, overrides: list[str]
    ) -> None:
        paths = {
            "workspace": folder,
            "source.options.file": self.data / records,
            "source.options.image_root": self.data,
            "segment.options.folder": self.data / masks,
            "respond.engine.model_name_or_path": self.base,
            "export.options.model": self.base,
            "export.name": name,
        }
        shell("firempo", "build", str(HERE / "build.yaml"), *_arguments(paths), *overrides)

    def _off_policy(self, shell: Shell) -> None:
        files = (self.pairs_file(PAIRS), self.data / "pairs.jsonl", self.pairs_file(OFF_POLICY))
        shell(sys.executable, str(HERE / "off_policy.py"), *map(str, files))

    def _train_task(self, name: str, seed: int) -> Task:
        adapter = self.adapter(name, seed)
        return Task(
            f"train {name} seed {seed}", adapter, SECONDS["train"], partial(self._train, name, seed, adapter, {})
        )

    def _train(self, name: str, seed: int, target: Path, overrides: dict[str, Any], shell: Shell) -> None:
        row = self.table[name]
        folder = self.pairs_file(row.pairs).parent
        given = {"model_name_or_path": self.base, "dataset": row.pairs, "dataset_dir": folder, "media_dir": folder}
        given |= {"seed": seed} | row.overrides | overrides
        command = (sys.executable, str(HERE / "flipped.py")) if row.flipped else ("llamafactory-cli", "train")
        whole(target, lambda part: shell(*command, str(HERE / "train.yaml"), *_arguments(given | {"output_dir": part})))

    def _try(self, name: str, rate: float, shell: Shell) -> None:
        target = self.tried(name, rate)
        adapter = target.with_name(f"{target.name}-adapter")
        if not adapter.exists():
            self._train(name, SEARCH_SEED, adapter, {"learning_rate": rate}, shell)
        files = [str(self.data / "validation.jsonl"), str(self.base), "--adapter", str(adapter), "--out"]
        whole(target, lambda part: shell(sys.executable, str(HERE / "measure.py"), *files, str(part / "answers.jsonl")))

    def _measure_task(self, name: str | None) -> Task:
        part = self.folder / "evaluation" / "parts" / (name or "base")
        models = self.models(name)
        seconds = SECONDS["start"] + len(models) * TEST_QUESTIONS * SECONDS["answer"]
        done = part / f"done-{len(models)}"

        def work(shell: Shell) -> None:
            self._firempo_evaluate(shell, self.evaluation(part, models, {}, "test.jsonl", MEASURES))
            done.touch()

        return Task(f"measure {name or 'base'}", done, seconds, work)

    def models(self, name: str | None) -> dict[str, str | None]:
        """The adapters of a row by the names that the evaluation gives them; of no row, the base model."""
        return {f"{name}-seed{seed}": str(self.adapter(name, seed)) for seed in self.seeds} if name else {"base": None}

    def evaluation(
        self,
        workspace: Path,
        models: dict[str, str | None],
        groups: dict[str, list[str]],
        records: str,
        measures: list[str],
    ) -> dict[str, Any]:
        """A configuration of `firempo evaluate`."""
        columns = {name: name for name in ("id", "image", "question", "kind", "closed")} | {"truth": "answer"}
        pairs = {"dataset": EVIDENCE, "dataset_dir": str(self.pairs_file(EVIDENCE).parent)}
        options: dict[str, Any] = {
            "grounding": {"records": str(self.data / "evidence.jsonl"), "box_form": "xyxy"},
            "localisation": pairs,
            "sensitivity": pairs,
        }
        model = {"model_name_or_path": str(self.base), "template": "qwen3_vl_nothink", "image_max_pixels": 9216}
        return {
            "workspace": str(workspace),
            "measures": measures,
            "source": {
                "name": "table",
                "options": {"file": str(self.data / records), "image_root": str(self.data), "columns": columns},
            },
            "model": model,
            "models": models,
            "groups": groups,
            "answers": {"max_new_tokens": 40},
            **{name: chosen for name, chosen in options.items() if name in measures},
        }

    def tables(self) -> dict[str, list[str]]:
        """The rows of each table: objectives against each other, and FiRe-MPO against its ablations and controls."""
        objectives = [name for name in self.rows if name in OBJECTIVE_ROWS]
        others = [name for name in self.rows if name not in OBJECTIVE_ROWS]
        return {"objectives": objectives} | ({"ablations": ["fire_mpo", *others]} if others else {})

    def comparison(self, table: str) -> dict[str, Any]:
        """The configuration of a table: all of its rows and the base model against the baseline."""
        names = self.tables()[table]
        models: dict[str, str | None] = {}
        for name in (None, *names):
            models |= self.models(name)
        groups = {self.rows[name].label: list(self.models(name)) for name in names}
        config = self.evaluation(self.compared(table), models, groups, "test.jsonl", MEASURES)
        return config | {"baseline": self.table[self.baseline].label}

    def compared(self, table: str) -> Path:
        """Folder of a table."""
        return self.folder / "evaluation" / table

    def _table_task(self, table: str) -> Task:
        done = self.compared(table) / f"done-{'full' if self.full else 'quick'}"

        def work(shell: Shell) -> None:
            for other in self.compared(table).glob("done-*"):
                other.unlink()  # the other mode's table is overwritten
            self._tabulate(table, shell)
            done.touch()

        return Task(f"table {table}", done, 60, work)

    def _tabulate(self, table: str, shell: Shell) -> None:
        """Puts the items of the rows together, each measured in a workspace of its own, and makes the table."""
        config = self.comparison(table)
        for part in (self.folder / "evaluation" / "parts").iterdir():
            for file in (part / "items").rglob("*.json*"):  # items, and which of them are of one image
                if file.stem in config["models"] or file.name == "clusters.json":
                    target = self.compared(table) / "items" / file.relative_to(part / "items")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        self._firempo_evaluate(shell, config, "--tables-only")
        shell(sys.executable, str(HERE / "recount.py"), str(self.folder), table)
        if table == "objectives":
            shell(sys.executable, str(HERE / "overview.py"), str(self.folder))

    def _firempo_evaluate(self, shell: Shell, config: dict[str, Any], *flags: str) -> None:
        folder = Path(config["workspace"])
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "evaluate.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        shell("firempo", "evaluate", str(file), *flags)

    def _dynamics(self) -> list[list[Task]]:
        """Checkpoints over training, and what they answer on the validation split."""
        train = [
            Task(
                f"train {name} with checkpoints",
                self.followed(name),
                SECONDS["train"],
                partial(self._train, name, FULL_SEEDS[0], self.followed(name), {"save_steps": STEPS_APART, **changes}),
            )
            for name, changes in DYNAMICS.items()
        ]
        seconds = 11 * (VALIDATION_QUESTIONS * SECONDS["answer"] + 5)
        measure = [Task(f"follow {name}", self._done(name), seconds, partial(self._follow, name)) for name in DYNAMICS]
        figure = self.folder / "dynamics" / "dynamics.png"
        draw = Task(
            "draw dynamics",
            figure,
            10,
            lambda shell: shell(sys.executable, str(HERE / "dynamics.py"), str(self.folder)),
        )
        return [train, measure, [draw]]

    def followed(self, name: str) -> Path:
        """Folder of a run with checkpoints."""
        return self.folder / "dynamics" / "runs" / name

    def _done(self, name: str) -> Path:
        return self.folder / "dynamics" / name / "done"

    def _follow(self, name: str, shell: Shell) -> None:
        checkpoints = sorted(self.followed(name).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        models: dict[str, str | None] = {"base": None} | {path.name: str(path) for path in checkpoints}
        config = self.evaluation(self._done(name).parent, models, {}, "validation.jsonl", ["accuracy"])
        self._firempo_evaluate(shell, config)
        self._done(name).touch()

    def pairs_file(self, name: str) -> Path:
        """Where a set of pairs lies, beside its dataset_info.json."""
        folders = {OFF_POLICY: "off_policy", SHUFFLED: "build_shuffled/export", EVIDENCE: "build_evidence/export"}
        return self.folder / folders.get(name, "build/export") / f"{name}.json"

    def adapter(self, name: str, seed: int) -> Path:
        """Output folder of a run."""
        return self.folder / "runs" / name / f"seed{seed}"


def rows() -> dict[str, Row]:
    """The rows of the table by name, as objectives.yaml gives them."""
    given: dict[str, Any] = yaml.safe_load((HERE / "objectives.yaml").read_text(encoding="utf-8"))
    return {
        name: Row(row["label"], row["pairs"], row.get("set", {}), row.get("flipped", False))
        for name, row in given.items()
    }


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


def _arguments(values: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value) if isinstance(value, bool) else value}" for key, value in values.items()]
