"""What is read of the files of a round."""

import json
from dataclasses import replace

import pytest
import yaml

from firempo_plugin.align import commands
from firempo_plugin.align.config import AlignConfig, evaluate_keys
from firempo_plugin.align.numbers import Training, difference, gather, rise, skipped, training
from firempo_plugin.align.policy import Policy
from firempo_plugin.align.rounds import Built, Rounds
from firempo_plugin.align.split import Split
from firempo_plugin.errors import UserError
from firempo_plugin.evaluate.config import CompareConfig
from firempo_plugin.evaluate.store import ItemFile, Measured
from firempo_plugin.sources.reading import Reading

SOURCE = {"name": "table", "options": {"file": "records.csv"}}
NOTHING = Split(Reading(), Reading(), {})
COMPARE = CompareConfig(draws=500)


OWN, OTHER = {}, {"ref_model": "base"}


@pytest.mark.parametrize(
    ("keys", "logged", "steps", "expected"),
    [
        (OTHER, {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.9}, 4, Training(0.1, 0.9, 0.25, 20)),
        (
            OTHER,
            dict(zip(range(1, 9), (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), strict=True)),
            8,
            Training(0.2, 0.95, 0.25, 20),
        ),
        (OTHER, {3: 0.7}, 4, Training(0.7, 0.7, 0.75, 60)),
        (OTHER, {}, 4, None),
        (OWN, {1: 0.0, 2: 1.0, 3: 1.0, 4: 1.0}, 4, Training(1.0, 1.0, 0.5, 40)),
        (OWN, {5: 0.8, 10: 1.0, 15: 1.0, 20: 1.0}, 20, Training(1.0, 1.0, 0.25, 20)),
        (OWN, {1: 0.0}, 1, None),
    ],
)
def test_reward_accuracy_at_the_beginning_and_the_end(tmp_path, keys, logged, steps, expected):
    """Of a model that is its own reference without its first step, where all rewards are 0 and none is higher."""
    log = [{"step": step, "loss": 1.0} for step in range(1, steps + 1)]
    log += [{"step": step, "rewards/accuracies": accuracy} for step, accuracy in logged.items()]
    (tmp_path / "train").mkdir()
    state = {"global_step": steps, "epoch": 2.0, "log_history": log}
    (tmp_path / "train" / "fire_mpo.json").write_text(json.dumps({"rows": {"train": {"rows": 40, "skipped": 3}}}))
    (tmp_path / "train" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(keys))
    found = training(tmp_path)
    assert (found is None) == (expected is None)
    if expected:
        assert vars(found) == pytest.approx(vars(expected))


def test_pairs_that_training_could_not_use_are_counted(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "fire_mpo.json").write_text(json.dumps({"rows": {"train": {"rows": 20, "skipped": 3}}}))
    assert skipped(tmp_path) == 3


@pytest.fixture
def rounds(tmp_path):
    evaluate = {"source": SOURCE, "measures": ["accuracy"]}
    config = AlignConfig(str(tmp_path / "all"), {"source": SOURCE}, {"model_name_or_path": "base"}, evaluate)
    return Rounds(config, NOTHING, None)


def measured(rounds, **rows):
    """Stores a model's items; returns what `firempo evaluate` was given."""
    for row, items in rows.items():
        file = ItemFile(rounds.folder / "evaluate", "accuracy", row)
        file.write("key", {}, replace(file.read(), items=items))
    keys = evaluate_keys(rounds._config, [Policy("base")])
    file = rounds.folder / "evaluate.yaml"
    file.write_text(yaml.safe_dump(keys))
    return file


def items(*right):
    values = [{} if one is None else {"judged": float(one)} for one in right]
    return [
        Measured(f"q{place}", "", {"exact": 0.0, **one}, detail='{"samples": [], "no_answer": []}')
        for place, one in enumerate(values)
    ]


def test_an_answer_that_nobody_can_read_is_wrong_and_one_that_could_not_be_asked_is_no_item(rounds):
    base = [*items(1, None, 0), Measured("q3", "", {}, skipped="no image")]
    (found,) = gather(rounds, measured(rounds, base=base), [Policy("base")], [], "accuracy.judged", {"q0": "image"})
    assert found.values == {"q0": 1.0, "q1": 0.0, "q2": 0.0}
    assert found.unread == (0.0, 1.0, 0.0)
    assert found.clusters == ("image", "q1", "q2")


def test_items_that_are_no_records_are_drawn_with_others_of_their_image(rounds):
    base = [replace(item, of="scan") for item in items(1, 0)] + items(0, 0, 0)[2:]
    (found,) = gather(rounds, measured(rounds, base=base), [Policy("base")], [], "accuracy.judged", {})
    assert found.clusters == ("scan", "scan", "q2")


def test_a_difference_counts_questions_on_one_image_together(rounds):
    file = measured(rounds, base=items(*[0] * 40))
    clusters = {f"q{place}": f"image {place // 10}" for place in range(40)}
    (base,) = gather(rounds, file, [Policy("base")], [], "accuracy.judged", clusters)
    now = replace(base, values={name: float(place < 10) for place, name in enumerate(base.values)})
    assert difference(base, now, COMPARE).low == 0.0, "one image of four"
    assert rise(list(base.values.values()), list(now.values.values()), (), COMPARE).low > 0.1, "ten items of forty"


def test_a_metric_without_a_value_is_told_of_before_a_round_is_trained(rounds, monkeypatch):
    file = measured(rounds, base=items(1, 0))
    monkeypatch.setattr(rounds, "build", lambda number, start: Built(2, 1, 0))
    monkeypatch.setattr(rounds, "evaluate", lambda policies: file)
    rounds._config.metric = "accuracy.judgd"
    with pytest.raises(
        UserError, match=r"metric: accuracy.judgd has no value; there is accuracy.exact, accuracy.judged"
    ):
        commands._go(rounds._config, NOTHING, rounds)
