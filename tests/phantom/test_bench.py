"""The phantom's runner: what it does, in which order, and what it says when something fails."""

import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from firempo_plugin.evaluate.config import load
from firempo_plugin.evaluate.store import ItemFile, Measured, Stored
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import Cell

PHANTOM = Path(__file__).parents[2] / "examples" / "phantom"
NAMES = ("bench", "tasks", "search", "dynamics", "flipped", "recount", "overview", "publish")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import each other by name, as they do when they are run; nobody else sees those names."""
    monkeypatch.syspath_prepend(str(PHANTOM))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def names_of(stages):
    return [[task.name for task in stage] for stage in stages]


def test_quick_has_four_rows_and_one_seed(tmp_path):
    from bench import Bench

    assert names_of(Bench(tmp_path).stages()) == [
        ["data"],
        ["pairs phantom_pairs"],
        ["pairs phantom_evidence", "train dpo seed 1", "train rrpo seed 1", "train fire_mpo seed 1"],
        ["measure base", "measure dpo", "measure rrpo", "measure fire_mpo"],
        ["table objectives"],
    ]


def test_full_trains_every_row_with_every_seed_once(tmp_path):
    from bench import BUILDS, DYNAMICS, Bench, rows

    names = [name for stage in names_of(Bench(tmp_path, full=True, rebuild=True).stages()) for name in stage]
    assert len(set(names)) == len(names)
    assert {name for name in names if " seed " in name} == {
        f"train {row} seed {seed}" for row in rows() for seed in range(1, 6)
    }
    assert {f"measure {row}" for row in (*rows(), "base")} <= set(names)
    assert {f"pairs {name}" for name in BUILDS} <= set(names)
    assert {f"follow {row}" for row in DYNAMICS} <= set(names)
    assert names[:3] == ["data", "vision tower", "base model"]


def test_the_search_tries_every_rate_of_every_objective(tmp_path):
    from bench import OBJECTIVE_ROWS, RATES, Bench

    tries = Bench(tmp_path).search()[-1]
    assert len(tries) == len(RATES) * len(OBJECTIVE_ROWS)
    assert len({task.done for task in tries}) == len(tries)


def test_every_row_has_pairs_that_somebody_makes(tmp_path):
    from bench import BUILDS, OFF_POLICY, SHUFFLED, rows

    assert {row.pairs for row in rows().values()} == {*BUILDS, OFF_POLICY, SHUFFLED}


def test_the_comparisons_are_configurations_of_the_product(tmp_path):
    from bench import OBJECTIVE_ROWS, Bench, rows

    bench = Bench(tmp_path, full=True)
    shown = {}
    for table in bench.tables():
        file = tmp_path / f"{table}.yaml"
        file.write_text(yaml.safe_dump(bench.comparison(table)))
        config = load(file, [])
        assert config.baseline == "FiRe-MPO"
        assert all(len(models) == 5 for row, models in config.rows.items() if row != "base")
        shown[table] = set(config.rows)
    labels = {name: row.label for name, row in rows().items()}
    assert shown["objectives"] == {"base", *(labels[name] for name in OBJECTIVE_ROWS)}
    assert shown["objectives"] & shown["ablations"] == {"base", "FiRe-MPO"}
    assert shown["objectives"] | shown["ablations"] == {"base", *labels.values()}


def test_a_folder_that_was_begun_with_other_files_is_refused(tmp_path, monkeypatch):
    import bench

    bench.Bench(tmp_path / "work").claim()
    bench.Bench(tmp_path / "work", full=True).claim()
    monkeypatch.setattr(bench, "DECIDING", bench.DECIDING[1:])
    with pytest.raises(SystemExit, match="was begun with another base model, data or settings"):
        bench.Bench(tmp_path / "work").claim()
    (tmp_path / "older" / "data").mkdir(parents=True)
    with pytest.raises(SystemExit, match="Delete it, or name another --folder"):
        bench.Bench(tmp_path / "older").claim()


def test_a_table_of_the_other_mode_is_not_taken_for_done(tmp_path, monkeypatch):
    from bench import Bench

    monkeypatch.setattr(Bench, "_tabulate", lambda self, table, shell: None)
    full, quick = (Bench(tmp_path, full=full)._table_task("objectives") for full in (True, False))
    full.done.parent.mkdir(parents=True)
    full.work(None)
    assert full.done.exists()
    quick.work(None)
    assert quick.done.exists()
    assert not full.done.exists()


def test_the_control_prefers_the_chosen_response_on_the_noised_image(monkeypatch):
    from flipped import flip

    own = OBJECTIVES["fire_mpo"]
    monkeypatch.setitem(OBJECTIVES, "fire_mpo", own)
    flip()
    rank, visual, kl = OBJECTIVES["fire_mpo"].terms
    assert (rank, kl) == (own.terms[0], own.terms[2])
    assert [(side.sign, side.cells) for side in visual.sides] == [
        (-1.0, (Cell.NOISED_REJECTED,)),
        (1.0, (Cell.NOISED_CHOSEN,)),
    ]
    assert visual.weight == "gamma"


def task(name, folder, work):
    from tasks import Task

    def do(shell):
        work(shell)
        (folder / name).touch()

    return Task(name, folder / name, 1, do)


def test_a_stage_begins_when_the_one_before_is_done_and_tasks_run_side_by_side(tmp_path, capsys):
    from tasks import run

    times = {}

    def slow(name):
        def work(shell):
            begin = time.monotonic()
            time.sleep(0.3)
            times[name] = (begin, time.monotonic())

        return task(name, tmp_path, work)

    run([[slow("a"), slow("b")], [slow("c")]], tmp_path / "logs", 2)
    assert times["a"][0] < times["b"][1]
    assert times["b"][0] < times["a"][1]
    assert times["c"][0] >= max(times["a"][1], times["b"][1])
    assert "3/3 c" in capsys.readouterr().out


def test_what_is_done_is_not_done_again(tmp_path, capsys):
    from tasks import run

    did = []
    (tmp_path / "old").touch()
    run([[task("old", tmp_path, did.append), task("new", tmp_path, did.append)]], tmp_path / "logs", 1)
    assert len(did) == 1
    assert "1 tasks" in capsys.readouterr().out


def test_a_failed_command_shows_the_end_of_its_log_and_ends_the_run(tmp_path):
    from tasks import run

    code = "print('first'); import sys; print('the reason', file=sys.stderr); sys.exit(7)"
    later = []
    stages = [
        [task("bad", tmp_path, lambda shell: shell(sys.executable, "-c", code))],
        [task("b", tmp_path, later.append)],
    ]
    with pytest.raises(SystemExit, match=r"(?s)the reason.*failed with status 7.*bad\.log") as failure:
        run(stages, tmp_path / "logs", 2)
    assert "first" in str(failure.value)
    assert not later
    assert not (tmp_path / "bad").exists()


def test_a_command_that_is_not_installed_is_named(tmp_path):
    from tasks import Shell

    with pytest.raises(SystemExit, match="There is no no-such-command in"):
        Shell(tmp_path / "log", 1)("no-such-command")


def test_a_folder_is_there_only_when_it_is_whole(tmp_path):
    from tasks import whole

    def fails(part):
        (part / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path / "made", fails)
    assert not (tmp_path / "made").exists()
    whole(tmp_path / "made", lambda part: (part / "all").touch())
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["all"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_the_search_counts_unread_answers_as_wrong(tmp_path):
    from search import shares

    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"right": right}) + "\n" for right in (True, True, False, None)))
    assert shares(file) == (pytest.approx(2 / 3), 1, 0.5)


def test_dynamics_joins_rewards_and_answers_by_step(tmp_path):
    from bench import Bench
    from dynamics import read, write

    bench = Bench(tmp_path, full=True)
    bench.followed("dpo").mkdir(parents=True)
    logged = [{"step": 5, "loss": 1.0, "rewards/accuracies": 0.5, "rewards/margins": 0.1}, {"step": 5, "eval": 1}]
    (bench.followed("dpo") / "trainer_state.json").write_text(json.dumps({"log_history": logged}))
    items = [
        Measured("1", "closed", {"judged": 1.0}),
        Measured("2", "closed", {"judged": 0.0}),
        Measured("3", "open", {}, skipped="x"),
    ]
    for model, kept in (("base", items[1:]), ("checkpoint-15", items), ("checkpoint-150", items[:1])):
        file = ItemFile(tmp_path / "dynamics" / "dpo", "accuracy", model)
        file.open("key", {})
        file.write("key", {}, Stored(items=kept))
    run = read(bench, "dpo")
    assert run.reward_accuracy == [(5, 0.5)]
    assert run.margin == [(5, 0.1)]
    assert run.answers == [(0, 0.0), (15, pytest.approx(1 / 3)), (150, 1.0)]
    write([run, run], tmp_path)
    assert (tmp_path / "dynamics.png").stat().st_size > 5000
    assert "DPO,answers,15,0.3333" in (tmp_path / "dynamics.csv").read_text()


@pytest.mark.parametrize(
    ("asks", "text", "right"),
    [
        ("presence", "Yes, there is a nodule in the lungs.", False),
        ("presence", "No, there is no nodule in the lungs.", True),
        ("presence", "Yes and no.", None),
        ("side", "It lies in the left lung.", True),
        ("side", "The nodule is in the left or right lung.", None),
        ("where", "The nodule is in the left lower lung.", False),
        ("where", "The nodule is in the left upper lung.", True),
        ("where", "The nodule is in the left lung.", None),
        ("size", "It is a large nodule.", True),
        ("size", "It is a nodule.", None),
    ],
)
def test_the_recount_reads_the_phantoms_words(asks, text, right):
    from recount import read

    row = {"asks": asks, "answer": "no", "side": "left", "zone": "upper", "size": "large"}
    assert read(text, row) is right


def verdicts(*right):
    from recount import Verdict

    return {
        f"{place}-side": Verdict(one, one, closed=place % 2 == 0, usual=place < 2) for place, one in enumerate(right)
    }


def test_the_recount_counts_by_hand():
    from recount import COLUMNS, difference, of_all, share

    answers = verdicts(True, False, None, True)
    assert share(answers, COLUMNS["All"]) == pytest.approx(200 / 3)
    assert share(answers, COLUMNS["Closed"]) == 100
    assert share(answers, COLUMNS["Open"]) == 50
    assert share(answers, COLUMNS["Habit right"]) == 50
    assert share(answers, COLUMNS["Habit wrong"]) == 100
    assert of_all(answers) == 50
    value, low, high, p = difference([verdicts(*[True] * 20)], [verdicts(*[False] * 20)])
    assert (value, low, high) == (100, 100, 100)
    assert p < 0.01
    value, low, high, p = difference([answers], [answers])
    assert (value, low, high, p) == (0, 0, 0, 1)


def test_the_recount_draws_images_with_all_of_their_questions():
    """Ten questions on each of eight images, answered alike: as wide as one question on each."""
    from recount import difference

    ours, theirs = [True] * 8, [True, False] * 4
    few = difference([verdicts(*ours)], [verdicts(*theirs)])

    def tenfold(values):
        return {f"image{place}-{number}": one for place, one in enumerate(values) for number in range(10)}

    sides = [tenfold(verdicts(*values).values()) for values in (ours, theirs)]
    assert difference(*([side] for side in sides)) == pytest.approx(few)


def test_the_recount_names_a_figure_of_the_table_that_it_does_not_confirm(tmp_path):
    from recount import report

    (tmp_path / "data").mkdir()
    rows = [
        {"id": str(place), "kind": "vqa", "asks": "side", "closed": closed, "usual": place < 2, "side": "left"}
        for place, closed in enumerate(("closed", "closed", "open", "open"))
    ]
    (tmp_path / "data" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = tmp_path / "evaluation" / "parts" / "x" / "answers"
    answers.mkdir(parents=True)
    for model, sides in (("base", "left right left right"), ("mine", "left left left left")):
        given = [{"id": f"table:{place}", "answer": side} for place, side in enumerate(sides.split())]
        (answers / f"{model}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in given))
        items = answers.parent / "items" / "accuracy"
        items.mkdir(parents=True, exist_ok=True)
        judged = [{"id": one["id"], "values": {"judged": float(one["answer"] == "left")}} for one in given[:3]]
        judged.append({"id": "table:3", "values": {}})
        (items / f"{model}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ({"key": ""}, *judged)))
    cells = [
        {"row": row, "column": column, "mean": {"value": value}}
        for row, values in (("base", (0.5, 1.0, 2 / 3)), ("Mine", (0.75, 1.0, 1.0)))
        for column, value in zip(("Closed", "Open", "All"), values, strict=True)
    ]
    table = {"rows": {"base": ["base"], "Mine": ["mine"]}, "baseline": "base", "cells": cells}
    tables = tmp_path / "evaluation" / "objectives" / "tables"
    tables.mkdir(parents=True)
    (tables / "table.json").write_text(json.dumps(table))
    text, wrong = report(tmp_path, "objectives")
    assert "| base | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 0.0 |" in text
    assert "+50.0" in text
    assert wrong == ["Mine, Closed: 75.00 in the table, 100.00 here"]
    assert (
        "8 answers; words and judge contradict each other on 0, only the words tell on 2, only the judge on 0." in text
    )


def test_the_overview_draws_the_rows_that_were_measured(tmp_path):
    from overview import PANELS, draw
    from PIL import Image

    mean = {"value": 0.5, "low": 0.4, "high": 0.7}
    table = {
        "rows": {"base": ["base"], "DPO": ["a", "b"], "FiRe-MPO": ["c", "d"]},
        "cells": [
            {"column": column, "row": row, "mean": mean, "seeds": {"a": 0.45, "b": 0.55}}
            for column, _, _ in PANELS
            for row in ("base", "DPO", "FiRe-MPO")
        ],
    }
    draw(table, tmp_path / "overview.png")
    assert Image.open(tmp_path / "overview.png").width > 800


def test_the_report_leaves_out_columns_and_nothing_else():
    from publish import without_columns

    table = "# T\n\n| | All | All, exact |\n| --- | ---: | ---: |\n| base | 1 | 0 |\n\ntext\n\n| a | b |\n| - | - |\n"
    expected = "# T\n\n|  | All |\n| --- | ---: |\n| base | 1 |\n\ntext\n\n| a | b |\n| - | - |\n"
    assert without_columns(table, "exact") == expected
