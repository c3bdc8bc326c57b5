"""Rounds and findings on the phantom: pairs finding by finding, and every task with a tiny random model."""

import json
from pathlib import Path

import numpy as np
import pytest
from phantom_language.conftest import POOL, Here, do, half_right


def example(found, split="reports", number=3):
    """An image with a report to write, and the masks of what is to be found in it."""
    import splits
    from pictures import draw
    from sentences import ask

    drawn = draw(found, np.random.default_rng(number))
    return splits.Example(f"{split}-{number}", drawn, (ask(("report", None, None), found, 0),))


NODULE = {"size": "small", "side": "right", "zone": "upper"}
EFFUSION = {"size": "large", "side": "left"}


def test_a_wrong_report_becomes_a_pair_for_every_finding_that_is_wrong(scripts):
    import by_finding
    from sentences import report

    there = {"nodule": NODULE, "effusion": EFFUSION}
    said = {"nodule": {**NODULE, "zone": "lower"}, "pacemaker": {"side": "left"}}
    one = example(there)
    pairs = by_finding.by_finding([one], [[report(said)]])
    assert [pair.question.finding for pair in pairs] == ["nodule", "effusion", "pacemaker"]
    assert {pair.chosen for pair in pairs} == {report(there)}
    assert [pair.rejected for pair in pairs] == [
        report({"nodule": said["nodule"], "effusion": EFFUSION}),
        report({"nodule": NODULE}),
        report({"nodule": NODULE, "effusion": EFFUSION, "pacemaker": {"side": "left"}}),
    ]
    (whole,) = by_finding.whole([one], [[report(said)]])
    assert (whole.chosen, whole.rejected) == (report(there), report(said))


def test_noise_hides_the_finding_of_a_pair_and_of_one_that_is_not_there_both_lungs(scripts):
    import by_finding
    import pairs
    from pictures import dilated
    from sentences import report

    one = example({"nodule": NODULE})
    masks = one.picture.masks
    wrong, added = by_finding.by_finding(
        [one], [[report({"nodule": {**NODULE, "side": "left"}, "effusion": EFFUSION})]]
    )
    assert np.array_equal(pairs.asked_about(wrong.question, masks, 3), dilated(masks["nodule"], 3))
    lungs = masks["left lung"] | masks["right lung"]
    assert np.array_equal(pairs.asked_about(added.question, masks, 3), dilated(lungs, 3))
    (whole,) = by_finding.whole([one], [[report({})]])
    assert pairs.asked_about(whole.question, masks, 3) is None


@pytest.mark.parametrize(
    "said", ["There is a small nodule in the right upper zone.", "A tale. The lungs are clear.", ""]
)
def test_a_report_that_is_right_or_cannot_be_read_becomes_no_pair(scripts, said):
    import by_finding

    one = example({"nodule": NODULE})
    assert by_finding.whole([one], [[said]]) == by_finding.by_finding([one], [[said]]) == []


def test_the_full_experiments_have_rounds_of_three_objectives(scripts, tmp_path):
    from plan import Plan
    from rounds import Experiments

    assert [key[2:] for key in Experiments(Plan(tmp_path, 1, "full")).keys] == [
        ("fire_mpo", 1),
        ("dpo", 1),
        ("rrpo", 1),
    ]


class HalfRight(Here):
    """Answers as no random model gives them, where pairs are made of them."""

    def __init__(self, monkeypatch, plan):
        super().__init__(monkeypatch)
        self.plan = plan

    def __call__(self, *command):
        import answering
        import work
        from sentences import report

        super().__call__(*command)
        if Path(command[1]).name == "work.py":
            target, step, *what = command[4:]
            file = Path(target) / "answers.jsonl"
            if (step, *what[:1]) == ("answer", "pool"):
                half_right(self.plan, file)
            elif step == "reports":
                asked = work._reports(self.plan.name)
                said = [[report({"nodule": NODULE, "effusion": EFFUSION})] for _ in asked]
                answering.write(asked, said, file)


def test_every_task_of_rounds_and_findings_runs(plan, repository, monkeypatch):
    import work
    from rounds import Experiments

    monkeypatch.setitem(work.ASKED, "quick", 4)
    plan.scale = type(plan.scale)(**{**vars(plan.scale), "objectives": ("sft", "dpo", "fire_mpo")})
    plan.claim()
    experiments, here = Experiments(plan), HalfRight(monkeypatch, plan)
    experiments.claim()
    for name in do(experiments.stages(), here):
        if name == POOL:
            half_right(plan)
    trained = [dict(word.split("=", 1) for word in command[3:]) for command in here.commands if "cli" in command[0]]
    of_fire = [
        run for run in trained if run.get("fire_objective") == '"fire_mpo"' and "findings" not in run["dataset_dir"]
    ]
    _search, first, second, third, long = of_fire
    adapters = [json.loads(run["adapter_name_or_path"]) for run in (second, third)]
    assert adapters == [
        str(plan.adapter(experiments.keys[0])),
        str(experiments.place(experiments.keys[0], "2") / "adapter"),
    ]
    assert second["create_new_adapter"] == third["create_new_adapter"] == "true"
    assert first["dataset_dir"] == long["dataset_dir"] != second["dataset_dir"]
    states = [
        json.loads((folder / "trainer_state.json").read_text())["global_step"]
        for folder in (
            plan.adapter(experiments.keys[0]),
            *(experiments.place(experiments.keys[0], name) / "train" for name in ("2", "3")),
            experiments.place(experiments.keys[0], "long") / "adapter",
        )
    ]
    assert states[3] == sum(states[:3]) == int(long["max_steps"])
    config = json.loads((experiments.place(experiments.keys[0], "3") / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 3 * 16

    made = json.loads((plan.results / "rounds.json").read_text())
    assert {name: set(sides) for name, sides in made["rounds"].items()} == {
        name: {"1", "2", "3", "long", "pairs"} for name in ("dpo", "fire_mpo")
    }
    assert set(made["findings"]) == {"whole", "findings"}
    shown = (plan.results / "rounds.md").read_text()
    assert shown.count("three rounds minus one round") == 2 * 2
    assert "findings minus whole" in shown
    assert not list(plan.folder.rglob("*.partial"))

    experiments.claim()
    assert all(task.done.exists() for stage in experiments.stages() for task in stage)

    import published
    from plan import Plan

    published.give(plan.folder, repository)
    other = Experiments(Plan(plan.folder.parent / "other", 1, "quick", given=True))
    other.plan.scale = plan.scale
    other.plan.claim()
    assert published.take(other.plan.folder, repository) == 3 + 3 + 2, "not the experiments', which nobody has claimed"
    other.claim()
    assert published.take(other.plan.folder, repository) == 2 * 3 + 3
    here.commands.clear()
    left = list(do(other.stages(), here))
    assert not any(name.startswith(("round", "reports", "between")) for name in left)
    assert not any("cli" in command[0] for command in here.commands), "nothing is trained"
    assert json.loads((other.plan.results / "rounds.json").read_text())["findings"] == made["findings"]

    (experiments.rounds / "made_with").write_text("another")
    with pytest.raises(SystemExit, match="was not begun by this version"):
        experiments.claim()
