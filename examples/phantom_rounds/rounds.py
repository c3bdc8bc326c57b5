"""Both experiments as tasks, behind the benchmark's own up to its pairs and rates.

Rounds: after the table's run of an objective its model answers the pool, pairs are made of that, and a new adapter is
trained on them with that model as reference; then once more. Beside it one long round on the first pairs, of as many
steps. Findings: the base's wrong reports as pairs, whole or by finding, and as many steps on either.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "phantom_language"), str(HERE.parent / "phantom")]
import tables  # noqa: E402
from plan import Key, Plan  # noqa: E402
from scales import MAIN  # noqa: E402
from tasks import Shell, Task, whole  # noqa: E402
from work import ASKED, SPLIT_AS  # noqa: E402

from firempo_plugin.align.adapters import stack  # noqa: E402

OBJECTIVES = ("fire_mpo", "dpo", "rrpo")
LATER = (2, 3)
"""The rounds behind the first."""
LONG = "long"
"""The one round of as many steps as all have together."""
FINDINGS = "fire_mpo"
"""Objective of the reports' pairs."""
BATCH = 8
DECIDING = ("by_finding.py", "work.py")
"""Files that answers depend on, beside those of the benchmark."""


class Experiments:
    """The folder of a benchmark, with `rounds` and `findings` in it.

    Args:
        plan: The benchmark, with as many seeds as are wanted.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rounds, self.findings = plan.folder / "rounds", plan.folder / "findings"
        names = [name for name in OBJECTIVES if name in plan.scale.objectives]
        self.keys: list[Key] = [(*MAIN, name, seed) for seed in plan.seeds for name in names]

    def claim(self) -> None:
        """Notes what the answers depend on beside the benchmark's scripts.

        Raises:
            SystemExit: They were begun by other scripts.
        """
        digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in DECIDING)).hexdigest()
        for folder in (self.rounds, self.findings):
            note = folder / "made_with"
            if not folder.exists():
                folder.mkdir(parents=True)
                note.write_text(digest, encoding="utf-8")
            if not note.exists() or note.read_text(encoding="utf-8") != digest:
                sys.exit(f"{folder} was not begun by this version of {HERE}: delete it, or name another --folder")

    def stages(self) -> list[list[Task]]:
        """Everything, in order; what needs the round before is one task, which goes on where it was."""
        return [
            *self.plan.before_table(),
            [self._first(key) for key in self.keys if not (self.place(key, LONG) / "test").exists()]
            + [self._reports()],
            [self._report_pairs(split_as) for split_as in SPLIT_AS],
            [self._rounds(key) for key in self.keys]
            + [self._of_reports(split_as, seed) for seed in self.plan.seeds for split_as in SPLIT_AS],
            [self._between(key) for key in self.keys],
            [self._tables()],
        ]

    def place(self, key: Key, name: str) -> Path:
        """The folder of a round, or of the long one."""
        return self.rounds / key[2] / f"seed{key[3]}" / name

    def _script(self, shell: Shell, target: Path, step: str, *what: str) -> None:
        script = (sys.executable, str(HERE / "work.py"), self.plan.name, str(self.plan.folder))
        whole(target, lambda part: shell(*script, str(part), step, *what))

    def _once(self, target: Path, make: Callable[[], None]) -> None:
        if not target.exists():
            make()

    def _test(self, adapter: Path, target: Path, shell: Shell) -> None:
        self._once(target, lambda: self._script(shell, target, "answer", "test", str(adapter)))

    def _first(self, key: Key) -> Task:
        """The first round is the table's run; its adapter is not in the repository, as its answers may be."""
        target = self.plan.adapter(key)
        return Task(
            f"round 1 {key[2]} {key[3]}",
            target,
            self.plan.train_seconds(),
            lambda shell: self.plan.fit(key, target, self.plan.rate(key[2]), shell),
        )

    def _rounds(self, key: Key) -> Task:
        target = self.place(key, LONG) / "test"

        def work(shell: Shell) -> None:
            self._test(self.plan.adapter(key), self.plan.tested(key), shell)
            for number in LATER:
                self._once(self.place(key, str(number)) / "adapter", partial(self._round, key, number, shell))
            last = self.place(key, str(LATER[-1]))
            self._test(last / "adapter", last / "test", shell)
            long = self.place(key, LONG) / "adapter"
            self._once(long, lambda: self._long(key, long, shell))
            self._test(long, target, shell)

        answered = len(LATER) * self.plan.answers_seconds("pool") + 2 * self.plan.answers_seconds("test")
        return Task(f"rounds {key[2]} {key[3]}", target, 5 * self.plan.train_seconds() + answered, work)

    def _adapter(self, key: Key, number: int) -> Path:
        return self.plan.adapter(key) if number < LATER[0] else self.place(key, str(number)) / "adapter"

    def _round(self, key: Key, number: int, shell: Shell) -> None:
        """Answers of the model so far, pairs of them, and an adapter more; in all one adapter."""
        place, before = self.place(key, str(number)), self._adapter(key, number - 1)
        pool, pairs, train = place / "pool", place / "pairs", place / "train"
        self._once(pool, lambda: self._script(shell, pool, "answer", "pool", str(before)))
        answers = str(pool / "answers.jsonl")
        self._once(pairs, lambda: self._script(shell, pairs, "pairs", str(number), answers))
        more = {"adapter_name_or_path": before, "create_new_adapter": True}
        self._once(train, lambda: self.plan.fit(key, train, self.plan.rate(key[2]), shell, pairs, **more))
        stack([before, train], place / "adapter")

    def _long(self, key: Key, target: Path, shell: Shell) -> None:
        trained = [self.plan.adapter(key), *(self.place(key, str(number)) / "train" for number in LATER)]
        self.plan.fit(key, target, self.plan.rate(key[2]), shell, max_steps=sum(map(_steps, trained)))

    def _between(self, key: Key) -> Task:
        """The test answers of the rounds between the first and the last."""
        places = [self.place(key, str(number)) for number in LATER[:-1]]

        def work(shell: Shell) -> None:
            for place in places:
                self._test(place / "adapter", place / "test", shell)

        return Task(f"between {key[2]} {key[3]}", places[-1] / "test", self.plan.answers_seconds("test"), work)

    def _reports(self) -> Task:
        said = self.findings / "answers"
        return Task("reports", said, ASKED[self.plan.name], lambda shell: self._script(shell, said, "reports"))

    def _report_pairs(self, split_as: str) -> Task:
        target, said = self.findings / f"pairs-{split_as}", str(self.findings / "answers" / "answers.jsonl")
        return Task(
            f"pairs {split_as}", target, 30, lambda shell: self._script(shell, target, "report pairs", split_as, said)
        )

    def _of_reports(self, split_as: str, seed: int) -> Task:
        place, key = self.findings / split_as / f"seed{seed}", (*MAIN, FINDINGS, seed)
        folders = {name: self.findings / f"pairs-{name}" for name in SPLIT_AS}
        adapter = place / "adapter"

        def work(shell: Shell) -> None:
            steps = -(-max(map(_rows, folders.values())) // BATCH)
            rate = self.plan.rate(key[2])
            self._once(adapter, lambda: self.plan.fit(key, adapter, rate, shell, folders[split_as], max_steps=steps))
            self._test(adapter, place / "test", shell)

        seconds = self.plan.train_seconds() + self.plan.answers_seconds("test")
        return Task(f"reports as {split_as} {seed}", place / "test", seconds, work)

    def _tables(self) -> Task:
        results = self.plan.folder / "results"
        done = results / f"rounds-{len(self.plan.seeds)}"

        def work(shell: Shell) -> None:
            tables.write(self.plan.folder, results)
            done.touch()

        return Task("tables", done, 30, work)


def _steps(folder: Path) -> int:
    return int(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])


def _rows(folder: Path) -> int:
    return len(json.loads((folder / "pairs.json").read_text(encoding="utf-8")))
