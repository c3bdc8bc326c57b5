"""Every objective of the package once: one seed, each at its own learning rate, in a table of their own against DPO.

The rows of objectives.yaml train at their rates; the rates of the others are searched first, on the validation split,
with a seed that is in no table. Beside the table notes.md says what it does not: how validation and test stand to each
other, all answers counted, unread ones as wrong.
"""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import yaml
from bench import HERE, PAIRS, RATES, Bench, Row, rows
from recount import Answers, difference, load, of_all
from search import best_rate, table, tries
from tasks import Shell, Task

from firempo_plugin.evaluate.compare import holm
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import Objective

OTHER_IMAGE = ("re_align", "ic_vco_single", "symmpo_4", "symmpo", "s_vco")
"""Objectives that ask for another second image than the noised one that the pairs have."""
MARK = " †"
OTHER_IMAGE_NOTE = (
    "† No fair test: re_align asks for a similar, retrieved image, the others for one on which the rejected response "
    "is true. They get the noised image, on which it is true in 224 of the 1172 pairs, where hiding the nodule makes a "
    "yes a no; hiding it makes no left nodule a right one."
)
ABOUT = (
    "Percent of right answers among all, unread ones counting as wrong; on validation with the seed of the search, on "
    "test with the seed of the table. Differences are paired, in points, with 95 % intervals over the questions of one "
    "seed, p before and (after) Holm's correction over the rows."
)


class Relatives(Bench):
    """The benchmark with every objective once, in the same kind of folder, or in the same one."""

    baseline = "dpo"

    def __init__(self, folder: Path, *, rebuild: bool = False) -> None:
        super().__init__(folder, rebuild=rebuild)
        self.table = self.rows = relatives()

    def rates(self) -> dict[str, tuple[float, ...]]:
        """One for the rows of objectives.yaml, their own."""
        known = rows()
        usual = yaml.safe_load((HERE / "train.yaml").read_text(encoding="utf-8"))["learning_rate"]
        return {
            name: (row.overrides.get("learning_rate", usual),) if name in known else RATES
            for name, row in self.rows.items()
        }

    def stages(self) -> list[list[Task]]:
        """The search, then the seed, then the table."""
        first = self.search()
        return [*first, *super().stages()[len(first) - 1 :]]

    def tables(self) -> dict[str, list[str]]:
        """One."""
        return {"relatives": list(self.rows)}

    def _train_task(self, name: str, seed: int) -> Task:
        task = super()._train_task(name, seed)

        def work(shell: Shell) -> None:
            self._train(name, seed, task.done, {"learning_rate": best_rate(tries(self, name))}, shell)

        return replace(task, work=work)

    def _tabulate(self, table: str, shell: Shell) -> None:
        super()._tabulate(table, shell)
        (self.compared(table) / "tables" / "notes.md").write_text(notes(self), encoding="utf-8")


def relatives() -> dict[str, Row]:
    """Each loss of the package once: the row of objectives.yaml that has it on the usual pairs, else one made here."""
    known: dict[str, tuple[str, Row]] = {}
    for name, row in rows().items():
        if row.pairs == PAIRS:
            known.setdefault(row.overrides.get("fire_objective", "fire_mpo"), (name, row))
    found = {}
    for objective in OBJECTIVES.values():
        if same_loss(objective)[0] == objective.name:
            name, row = known.get(objective.name, (objective.name, _row(objective)))
            found[name] = row
    return found


def same_loss(objective: Objective) -> list[str]:
    """The objectives that add up the same with the same numbers, this one among them, in the package's order."""
    loss = (objective.terms, objective.defaults)
    return [other.name for other in OBJECTIVES.values() if (other.terms, other.defaults) == loss]


def _row(objective: Objective) -> Row:
    """As objectives.yaml would have it; train.yaml's beta gives way to the objective's own."""
    own = {"pref_beta": objective.defaults["beta"]} if "beta" in objective.defaults else {}
    label = objective.name + (MARK if objective.name in OTHER_IMAGE else "")
    return Row(label, PAIRS, {"fire_objective": objective.name, **own}, flipped=False)


def notes(bench: Relatives) -> str:
    """What the table does not say, as Markdown: validation beside test, every row against the base model and DPO.

    Unread answers are wrong ones here, as they are where a learning rate is chosen.
    """
    given = load(bench.folder, {"base", *(model for name in bench.rows for model in bench.models(name))})
    answers = {model: unread_as_wrong(each) for model, each in given.items()}
    groups = {row.label: [answers[model] for model in bench.models(name)] for name, row in bench.rows.items()}
    groups["base"] = [answers["base"]]
    dpo = bench.rows[bench.baseline].label
    to_base, to_dpo = against(groups, "base"), against(groups, dpo)
    test = {label: fmean(map(of_all, each)) for label, each in groups.items()}
    tried = {row.label: tries(bench, name) for name, row in bench.rows.items()}
    rates = {label: best_rate(found) for label, found in tried.items()}
    validation = {label: tried[label][rate][2] for label, rate in rates.items()}
    lines = [ABOUT, "", "| | learning rate | validation | test | against base | against DPO |", "|---" * 6 + "|"]
    for label in sorted(groups, key=lambda label: -test[label]):
        chosen = f"{rates[label]:.1e} | {100 * validation[label]:.1f}" if label in rates else "– | –"
        lines.append(f"| {label} | {chosen} | {test[label]:.1f} | {shown(label, to_base)} | {shown(label, to_dpo)} |")
    searched = [row.label for name, row in bench.rows.items() if name not in rows()]
    lists = {
        f"Ahead of {dpo} on validation: candidates for five seeds, which the rows of the other tables have": [
            label for label in searched if validation[label] > validation[dpo]
        ],
        f"Ahead of {dpo} on the test split, with the whole interval": [
            label for label, (_, low, *_) in to_dpo.items() if low > 0
        ],
        "**Below the base model** on the test split, with the whole interval": [
            label for label, (_, _, high, *_) in to_base.items() if high < 0
        ],
        "Best at the lowest or the highest rate tried, so perhaps better beyond it": [
            label for label in searched if rates[label] in (RATES[0], RATES[-1])
        ],
        f"Not run, since their loss is that of {dpo} to the letter": same_loss(OBJECTIVES["dpo"])[1:],
    }
    lines += ["", *(f"- {title}: {', '.join(labels) or 'none'}." for title, labels in lists.items())]
    return "\n".join([*lines, "", OTHER_IMAGE_NOTE, "", "## Search", "", table(bench)])


def unread_as_wrong(answers: Answers) -> Answers:
    """The answers with a verdict on each."""
    return {name: replace(verdict, right=verdict.right is True) for name, verdict in answers.items()}


def against(groups: dict[str, list[Answers]], other: str) -> dict[str, tuple[float, ...]]:
    """By row how far it is ahead of another one: percentage points, 95 % interval, p before and after Holm."""
    found = {label: difference(answers, groups[other]) for label, answers in groups.items() if label != other}
    corrected = holm([p for *_, p in found.values()])
    return {label: (*numbers, p) for (label, numbers), p in zip(found.items(), corrected, strict=True)}


def shown(label: str, differences: dict[str, tuple[float, ...]]) -> str:
    """A row's difference for people; nothing for the row that the others are compared with."""
    if label not in differences:
        return ""
    value, low, high, p, corrected = differences[label]
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}], {p:.3f} ({corrected:.3f})"
