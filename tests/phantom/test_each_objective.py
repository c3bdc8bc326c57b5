"""The phantom's table of every objective: its rows, their learning rates, and what its notes say."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from firempo_plugin.evaluate.config import load
from firempo_plugin.objectives.table import OBJECTIVES

PHANTOM = Path(__file__).parents[2] / "examples" / "phantom"
NAMES = ("bench", "tasks", "search", "recount", "publish", "each_objective", "data", "images", "questions")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import each other by name, as they do when they are run; nobody else sees those names."""
    monkeypatch.syspath_prepend(str(PHANTOM))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def bench(tmp_path):
    from each_objective import Relatives

    return Relatives(tmp_path)


def write_search(bench, name, given):
    """Validation answers by rate: a letter each, r right, w wrong, u unread."""
    for rate, letters in given.items():
        answers = [{"right": {"r": True, "w": False, "u": None}[letter]} for letter in letters]
        bench.tried(name, rate).mkdir(parents=True)
        file = bench.tried(name, rate) / "answers.jsonl"
        file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))


def test_every_loss_of_the_package_has_one_row(bench):
    trained = [row.overrides.get("fire_objective", "fire_mpo") for row in bench.rows.values()]
    assert sorted(trained) == sorted(
        name for name, objective in OBJECTIVES.items() if objective.group != "DPO under another name"
    )
    assert len({row.label for row in bench.rows.values()}) == len(trained)
    assert {row.pairs for row in bench.rows.values()} == {"phantom_pairs"}


def test_the_rows_of_the_other_tables_are_taken_as_they_are(bench):
    from bench import OBJECTIVE_ROWS, rows

    known = {name: row for name, row in rows().items() if name in bench.rows}
    assert known.keys() == {*OBJECTIVE_ROWS, "v1", "v2"} - {"dpo_off_policy"}
    assert {name: bench.rows[name] for name in known} == known


def test_an_objective_trains_at_its_own_beta(bench):
    """train.yaml writes FiRe-MPO's, which would stand against the objective's default."""
    usual = yaml.safe_load((PHANTOM / "train.yaml").read_text())["pref_beta"]
    betas = {name: bench.rows[name].overrides.get("pref_beta", usual) for name in ("simpo", "dpop", "s_dpo", "ipo")}
    assert betas == {"simpo": 2.0, "dpop": 0.3, "s_dpo": 1.0, "ipo": 0.1}


def test_who_asks_for_another_image_is_marked(bench):
    from each_objective import MARK

    asks = re.compile("image for which|retrieved image|other image")
    marked = {name for name, row in bench.rows.items() if row.label.endswith(MARK)}
    assert marked == {name for name, objective in OBJECTIVES.items() if asks.search(objective.source)}
    assert "s_vco" in marked


def test_the_search_comes_first_and_knows_the_rates_of_the_other_tables(bench):
    from bench import RATES

    stages = [[task.name for task in stage] for stage in bench.stages()]
    assert [stage[0].split()[0] for stage in stages] == ["data", "pairs", "try", "pairs", "measure", "table"]
    assert [name for name in stages[2] if " dpo " in name] == ["try dpo 2.5e-04"]
    assert [name for name in stages[2] if "fire_mpo " in name] == ["try fire_mpo 5.0e-04"]
    assert [name for name in stages[2] if " ipo " in name] == [f"try ipo {rate:.1e}" for rate in RATES]
    assert len(stages[3]) - 1 == len(stages[4]) - 1 == len(bench.rows)
    assert stages[5] == ["table relatives"]


def test_a_row_trains_at_the_rate_that_was_best_on_validation(bench, monkeypatch):
    from bench import RATES

    write_search(bench, "ipo", dict(zip(RATES, ("rwww", "rrrw", "rrrw", "rruu", "uuuu"), strict=True)))
    trained = []
    monkeypatch.setattr(bench, "_train", lambda *given: trained.append(given))
    task = next(task for stage in bench.stages() for task in stage if task.name == "train ipo seed 1")
    task.work(None)
    assert trained == [("ipo", 1, bench.adapter("ipo", 1), {"learning_rate": RATES[1]}, None)]


def test_the_comparison_is_a_configuration_of_the_product(bench, tmp_path):
    file = tmp_path / "relatives.yaml"
    file.write_text(yaml.safe_dump(bench.comparison("relatives")))
    config = load(file, [])
    assert config.baseline == "DPO"
    assert set(config.rows) == {"base", *(row.label for row in bench.rows.values())}
    assert all(len(models) == 1 for models in config.rows.values())


def write_answers(bench, right):
    """Test answers of rows: a letter each, r right, w wrong, u unread."""
    bench.data.mkdir(parents=True)
    questions = range(len(right["base"]))
    row = {"kind": "vqa", "asks": "side", "usual": True, "side": "left"}
    rows = [row | {"id": str(place), "closed": ("open", "closed")[place % 2]} for place in questions]
    (bench.data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {"r": "left", "w": "right", "u": "."}
    for name, letters in right.items():
        part = bench.folder / "evaluation" / "parts" / name
        model = "base" if name == "base" else f"{name}-seed1"
        answers = [{"id": f"table:{place}", "answer": said[letter]} for place, letter in enumerate(letters)]
        values = {"r": {"judged": 1.0}, "w": {"judged": 0.0}, "u": {}}
        items = [{"id": f"table:{place}", "values": values[letter]} for place, letter in enumerate(letters)]
        for folder, lines in (("answers", answers), ("items/accuracy", items)):
            (part / folder).mkdir(parents=True)
            (part / folder / f"{model}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def measured(bench):
    """Five rows: rrpo and ipo ahead of DPO, cdpo level with it, slic mostly unread and below the base model."""
    from bench import RATES

    bench.table = bench.rows = {name: bench.rows[name] for name in ("dpo", "rrpo", "ipo", "cdpo", "slic")}
    write_search(bench, "dpo", {2.5e-4: "rrww"})
    write_search(bench, "rrpo", {5e-4: "rrrr"})
    for name, rate, best in (("ipo", 2, "rrrw"), ("cdpo", 4, "rrww"), ("slic", 2, "rwww")):
        write_search(bench, name, dict.fromkeys(RATES, "wwww") | {RATES[rate]: best})
    letters = {
        "base": "rw" * 20,
        "dpo": "rrrw" * 10,
        "rrpo": "rrrw" * 10,
        "ipo": "r" * 40,
        "cdpo": "rrrw" * 10,
        "slic": "ruuu" * 10,
    }
    write_answers(bench, letters)
    return bench


def test_the_notes_say_who_is_ahead_and_who_is_below_the_base_model(measured):
    from each_objective import notes

    text = notes(measured)
    table = [line for line in text.splitlines() if line.startswith("|")][2:8]
    assert [line.split(" | ")[0].strip("| ") for line in table] == ["ipo", "DPO", "RRPO", "cdpo", "base", "slic"]
    assert table[0].startswith("| ipo | 2.5e-04 | 75.0 | 100.0 | +50.0 [+")
    assert table[5].startswith("| slic | 2.5e-04 | 25.0 | 25.0 | -25.0 [-")
    assert (
        "- Ahead of DPO on validation: candidates for five seeds, which the rows of the other tables have: ipo.\n"
        in text
    )
    assert "- Ahead of DPO on the test split, with the whole interval: ipo.\n" in text
    assert "- **Below the base model** on the test split, with the whole interval: slic.\n" in text
    assert "- Best at the lowest or the highest rate tried, so perhaps better beyond it: cdpo.\n" in text
    assert "to the letter: mia_dpo, stllava_med, povid_stage1, tgdpo.\n" in text
    assert "| slic | 1.0e-03 | 0.0% | 0 | 0.0% |" in text


def test_p_values_are_corrected_over_the_rows():
    from each_objective import against
    from recount import Verdict

    def answers(right):
        return [{str(place): Verdict(place < right, None, closed=True, usual=True) for place in range(40)}]

    found = against({"a": answers(20), "b": answers(40), "c": answers(28), "d": answers(20)}, "a")
    assert found.keys() == {"b", "c", "d"}
    assert found["b"][4] == pytest.approx(3 * found["b"][3])
    assert found["d"][0] == 0


def test_a_row_of_which_nothing_could_be_read_is_recounted(bench):
    from recount import report

    write_answers(bench, {"base": "rrww", "dpo": "uuuu"})
    means = {"base": {"value": 0.5}, "DPO": None}
    cells = [
        {"row": row, "column": column, "mean": means[row]} for row in means for column in ("Closed", "Open", "All")
    ]
    table = {"rows": {"base": ["base"], "DPO": ["dpo-seed1"]}, "baseline": "base", "cells": cells}
    (bench.compared("relatives") / "tables").mkdir(parents=True)
    file = bench.compared("relatives") / "tables" / "table.json"
    file.write_text(json.dumps(table))
    text, wrong = report(bench.folder, "relatives")
    assert wrong == []
    assert "| DPO | nan | nan | nan | nan | nan | 0.0 | 4.0 |" in text
    means["DPO"] = {"value": 0.0}
    cells = [cell | {"mean": means[cell["row"]]} for cell in cells]
    file.write_text(json.dumps(table | {"cells": cells}))
    assert report(bench.folder, "relatives")[1] == [
        f"DPO, {column}: 0.00 in the table, nan here" for column in ("Closed", "Open", "All")
    ]


def test_what_is_published_leaves_the_other_tables_alone(measured, tmp_path):
    from publish import publish

    made = measured.compared("relatives") / "tables"
    made.mkdir(parents=True)
    (made / "table.md").write_text(
        "# Evaluation\n\n| | All |\n| --- | ---: |\n| base | 1 |\n\n## Protocol\n\n/a/path\n"
    )
    for file in ("table.csv", "recount.md", "notes.md"):
        (made / file).write_text(f"of {file}\n")
    results = tmp_path / "results"
    publish(measured, results)
    assert sorted(file.name for file in results.iterdir()) == ["relatives.csv", "relatives.md"]
    text = (results / "relatives.md").read_text()
    assert text.startswith("# Relatives\n")
    assert text.endswith("## Validation and test\n\nof notes.md\n")
    assert "/a/path" not in text


def test_the_note_counts_the_pairs_whose_rejected_response_is_true_of_the_noised_image():
    from data import examples
    from each_objective import OTHER_IMAGE_NOTE

    pairs = list(examples("pairs", 0))
    hidden = [question for example in pairs if example.phantom.nodule for question in example.questions]
    fair = sum(question.name in ("presence", "is_side") and question.truth == "yes" for question in hidden)
    assert f"in {fair} of the {sum(len(example.questions) for example in pairs)} pairs" in OTHER_IMAGE_NOTE
