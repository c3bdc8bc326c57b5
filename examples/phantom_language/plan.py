"""The benchmark as tasks, from the language model to the tables; what each leaves lies in a folder of its own."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import figure
import published
import recount
from scales import GRID_SEEDS, MAIN, OBJECTIVES, SCALES, SEARCH_SEED, WITH_NOISE, WITHOUT_NOISE

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "phantom"))
from tasks import Shell, Task, whole  # noqa: E402

NOT_DECIDING = ("run.py", "plan.py", "published.py", "recount.py", "figure.py")
"""Files that no answer depends on."""
SECONDS = {
    "begin": 25.0,
    "start": 40.0,
    "tower step": 0.4,
    "projector step": 0.15,
    "step": 5.2,
    "question": 0.2,
    "report": 0.8,
    "pair": 1.0,
}
"""What each takes on one core; "begin" is what every process takes to start. A pair is one of FiRe-MPO in bfloat16."""

Key = tuple[str, str, str, int]
"""Of a run: depth, noise, objective, seed."""


class Plan:
    """One folder of work.

    Args:
        folder: Where everything is kept.
        seeds: How many of every row of the table; from 1 on.
        scale: Name of how much is done.
        given: Whether the table's base and answers come from the repository, as far as it has them.
    """

    def __init__(self, folder: Path, seeds: int, scale: str, given: bool = False) -> None:
        self.folder, self.seeds = folder, range(1, seeds + 1)
        self.name, self.scale, self.given = scale, SCALES[scale], given
        self.logs = folder / "logs"

    def claim(self) -> None:
        """Notes in the folder what its work depends on, and refuses one that depends on something else.

        Raises:
            SystemExit: The folder was begun with other files or at another scale: old and new answers would be mixed.
        """
        digest = hashlib.sha256(self.name.encode())
        for file in [*sorted(HERE.glob("*.py")), HERE / "train.yaml"]:
            if file.name not in NOT_DECIDING:
                digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        note = self.folder / published.MADE_WITH
        self.folder.mkdir(parents=True, exist_ok=True)
        if not note.exists() and not any(task.done.exists() for stage in self.stages() for task in stage):
            note.write_text(digest.hexdigest(), encoding="utf-8")
        if not note.exists() or note.read_text(encoding="utf-8") != digest.hexdigest():
            sys.exit(
                f"{self.folder} was not begun by this version of {HERE} and in this mode (with or without --quick). "
                "Delete it, or name another --folder."
            )

    def stages(self) -> list[list[Task]]:
        """Everything, in order."""
        depth, rest = MAIN[0], [depth for depth in self.scale.depths if depth != MAIN[0]]
        given = self._step(f"bases/{depth}", "given base", 10, depth)
        first = [
            [self._step("questions", "questions", 0), self._step("start", "start", SECONDS["start"])],
            *([[given]] if self.given else self._teaching([depth])),
            [self._base_answers(depth, split) for split in ("pool", "test", "validation")],
            [self._step(f"pairs/{'-'.join(MAIN)}", "pairs", 60, *MAIN)],
            [self._try(name, rate) for name in self.scale.objectives for rate in self.scale.rates],
            [self._run(key) for key in self.table_keys()],
            [self._tables("table")],
        ]
        if not rest:
            return first
        pairs = [
            self._step(f"pairs/{depth}-{noise}", "pairs", 60, depth, noise)
            for depth in self.scale.depths
            for noise in self.scale.noises
        ]
        then = [
            *self._teaching(rest),
            [self._base_answers(depth, split) for split in ("pool", "test") for depth in rest],
            pairs,
            [self._run(key) for key in self.noise_keys()],
            [self._tables("all")],
        ]
        names = {task.name for stage in first for task in stage}
        return first + [[task for task in stage if task.name not in names] for stage in then]

    def before_table(self) -> list[list[Task]]:
        """What the table's runs begin with: the base, its answers, their pairs, the rates."""
        stages = self.stages()
        return stages[: next(place for place, stage in enumerate(stages) if stage[0].name.startswith("run "))]

    def _teaching(self, depths: list[str]) -> list[list[Task]]:
        """From the untaught model to the bases of these depths."""
        watched, stage = self.answers_seconds("watch"), self.scale.look
        look = stage.steps * SECONDS["step"] / 2 + stage.steps / stage.every * watched / 2
        habits = self.scale.habits.steps * SECONDS["step"] / 2 + 2 * self.answers_seconds("validation")
        deepest = max(map(self.scale.depths.index, depths))
        return [
            [self._step("tower", "tower", sum(phase.steps for phase in self.scale.phases) * SECONDS["tower step"])],
            [self._step("projector", "projector", self.scale.projector_steps * SECONDS["projector step"])],
            *([self._step(f"looked/{depth}", "look", look, depth)] for depth in self.scale.depths[: deepest + 1]),
            [self._step(f"bases/{depth}", "base", habits, depth) for depth in depths],
        ]

    @property
    def results(self) -> Path:
        """Folder of the tables."""
        return self.folder / "results"

    def table_keys(self) -> list[Key]:
        """The runs of the table."""
        return [(*MAIN, name, seed) for seed in self.seeds for name in self.scale.objectives]

    def noise_keys(self) -> list[Key]:
        """What the experiment with noises needs besides."""
        keys: list[Key] = []
        for seed in self.seeds[:GRID_SEEDS]:
            for depth in self.scale.depths:
                keys += [(depth, noise, WITH_NOISE, seed) for noise in self.scale.noises]
                keys.append((depth, MAIN[1], WITHOUT_NOISE, seed))
        table = self.table_keys()
        return [key for key in keys if key not in table]

    def rate(self, objective: str) -> float:
        """The rate with most right answers on the validation split, unread ones being wrong; the lowest of several."""
        rows = recount.lines(self.folder / "questions" / "validation.jsonl")
        tried = {rate: self._tried(objective, rate) / "answers.jsonl" for rate in self.scale.rates}
        right = {rate: recount.Answers.of(rows, file).right.mean() for rate, file in tried.items()}
        return max(right, key=lambda rate: right[rate])

    def _step(self, place: str, step: str, seconds: float, *what: str) -> Task:
        target = self.folder / place
        return Task(place, target, SECONDS["begin"] + seconds, partial(self._do, step, target, what))

    def _do(self, step: str, target: Path, what: tuple[str, ...], shell: Shell) -> None:
        script = (sys.executable, str(HERE / "steps.py"), self.name, str(self.folder))
        whole(target, lambda part: shell(*script, str(part), step, *what))

    def _base_answers(self, depth: str, split: str) -> Task:
        return self._step(f"answers/{depth}/{split}", "answer", self.answers_seconds(split), depth, split)

    def answers_seconds(self, split: str) -> float:
        """What the answers to a split take."""
        quota = self.scale.quotas[split]
        # Kinds have two to five findings or sides each, and habit right and wrong.
        asked = 2 * sum(count * {"zone": 2, "size": 3, "seen": 2}.get(kind, 5) for kind, count in quota.each.items())
        return asked * SECONDS["question"] + quota.reports * SECONDS["report"]

    def _tried(self, objective: str, rate: float) -> Path:
        return self.folder / "search" / objective / f"{rate:.0e}"

    def _try(self, objective: str, rate: float) -> Task:
        target = self._tried(objective, rate)
        adapter = target.with_name(f"{target.name}-adapter")

        def work(shell: Shell) -> None:
            if not adapter.exists():
                self.fit((*MAIN, objective, SEARCH_SEED), adapter, rate, shell)
            self._do("answer", target, (MAIN[0], "validation", str(adapter)), shell)

        seconds = self.train_seconds() + self.answers_seconds("validation") + SECONDS["begin"]
        return Task(f"try {objective} {rate:.0e}", target, seconds, work)

    def train_seconds(self) -> float:
        """What a run takes."""
        return SECONDS["begin"] + self.scale.pairs * SECONDS["pair"]

    def adapter(self, key: Key) -> Path:
        """The adapter of a run."""
        depth, noise, objective, seed = key
        return self.folder / "runs" / f"{depth}-{noise}" / objective / f"seed{seed}"

    def tested(self, key: Key) -> Path:
        """The test answers of a run."""
        depth, noise, objective, seed = key
        return self.folder / "tested" / f"{depth}-{noise}" / objective / f"seed{seed}"

    def _run(self, key: Key) -> Task:
        """A run with its answers to the test split, which nothing is chosen by."""
        target, adapter = self.tested(key), self.adapter(key)

        def work(shell: Shell) -> None:
            if not adapter.exists():
                self.fit(key, adapter, self.rate(key[2]), shell)
            self._do("answer", target, (key[0], "test", str(adapter)), shell)

        seconds = self.train_seconds() + self.answers_seconds("test") + SECONDS["begin"]
        return Task(f"run {' '.join(map(str, key))}", target, seconds, work)

    def fit(self, key: Key, target: Path, rate: float, shell: Shell, pairs: Path | None = None, **more: object) -> None:
        """Trains a run.

        Args:
            key: Its depth, noise, objective and seed.
            target: Its adapter.
            rate: Its learning rate.
            shell: Runs the host.
            pairs: A folder of other pairs than the base's own.
            **more: Further settings of the host.
        """
        depth, noise, objective, seed = key
        folder = pairs or self.folder / "pairs" / f"{depth}-{noise}"
        given = {
            "model_name_or_path": self.folder / "bases" / depth,
            "dataset_dir": folder,
            "media_dir": folder,
            "learning_rate": rate,
            "seed": seed,
            **OBJECTIVES[objective],
            **more,
        }

        def train(part: Path) -> None:
            words = [f"{name}={json.dumps(value, default=str)}" for name, value in given.items()]
            shell("llamafactory-cli", "train", str(HERE / "train.yaml"), *words, f"output_dir={part}")

        whole(target, train)

    def _tables(self, what: str) -> Task:
        done = self.results / f"{what}-{len(self.seeds)}"

        def work(shell: Shell) -> None:
            recount.write(self.folder, self.results)
            figure.draw(self.results / "recount.json", self.results / "noise.png")
            done.touch()

        return Task(f"tables of {what}", done, 30, work)
