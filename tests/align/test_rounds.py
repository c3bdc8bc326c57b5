"""What a round finds again of itself, and what it makes anew; no command is run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from firempo_plugin.align.config import AlignConfig, evaluate_keys
from firempo_plugin.align.policy import Policy
from firempo_plugin.align.rounds import Rounds
from firempo_plugin.align.split import Split
from firempo_plugin.errors import UserError
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.records import Record
from firempo_plugin.sources.reading import Reading

SOURCE = {"name": "table", "options": {"file": "records.csv"}}


class Commands:
    """In the place of `Children`: notes what is asked for, and does what the test says."""

    def __init__(self):
        self.asked = []
        self.act = lambda: None

    def host(self, *words, log):
        self.asked.append(words[0])
        self.act()

    def firempo(self, *words, log, fine=(0,)):
        return self.host(*words, log=log) or 0


def adapter(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text(content)
    return Policy("base", str(folder))


@pytest.fixture
def commands():
    return Commands()


@pytest.fixture
def rounds(tmp_path, commands):
    evaluate = {"source": SOURCE, "measures": ["accuracy"]}
    train = {"model_name_or_path": "base"}
    return Rounds(AlignConfig(str(tmp_path / "all"), {"source": SOURCE}, train, evaluate), split_of("yes"), commands)


def split_of(truth):
    """A record on each side."""
    return Split(*(Reading([Record(name, (), "Which?", truth)]) for name in ("training", "validation")), {})


def test_a_round_does_not_go_on_from_a_model_that_was_trained_anew(rounds, tmp_path):
    first = adapter(tmp_path / "first", "one")
    rounds.claim(2, first)
    rounds.claim(2, first)
    adapter(tmp_path / "first", "another")
    again = Rounds(rounds._config, rounds._split, rounds._children)
    with pytest.raises(UserError, match=r"round 2 was made with another model than .*first is now; .*delete"):
        again.claim(2, first)


def test_a_round_is_not_gone_on_with_over_other_records(rounds, commands):
    rounds.claim(1, Policy("base"))
    with pytest.raises(UserError, match=r"round 1 was made with other records than build.source gives now"):
        Rounds(rounds._config, split_of("no"), commands).claim(1, Policy("base"))


def test_a_round_goes_on_under_another_limit_of_costs_and_no_other_judge(rounds):
    edit = {"judge": "endpoint", "endpoint": {"model": "judge", "concurrency": 8}}
    rounds._config.build = {"source": SOURCE, "max_cost": 1.0, "edit": edit}
    rounds.claim(1, Policy("base"))
    rounds._config.build = {"source": SOURCE, "edit": edit | {"endpoint": {"model": "judge", "price_in": 1.0}}}
    rounds.claim(1, Policy("base"))
    rounds._config.build["edit"]["endpoint"]["model"] = "another"
    with pytest.raises(UserError, match=r"build.edit.endpoint.model 'judge', and it is 'another' now; .*found again"):
        rounds.claim(1, Policy("base"))


def test_known_pairs_are_left_out_whatever_the_folder_is_called(tmp_path, commands, rounds, monkeypatch):
    """An override would read the place of the marks as YAML."""
    strange = Rounds(replace(rounds._config, folder=str(tmp_path / "a: [b")), rounds._split, commands)
    pairs = {name: Pair(name, "Which?", "a", "b", (), ()) for name in "xy"}
    monkeypatch.setattr(strange, "_pairs", lambda file: pairs)
    monkeypatch.setattr(strange, "_known", lambda number, policy, given: {"x": 3.0})
    monkeypatch.setattr(strange, "rows", lambda number: [{"id": name} for name in pairs])
    assert strange.build(1, Policy("base")).dropped == 1
    exported = yaml.safe_load((strange.place(1) / "export.yaml").read_text())["export"]
    marks = json.loads(Path(exported["decisions"]).read_text())["marks"]
    assert set(marks) == {"x"}
    assert commands.asked == ["build", "export"]


def test_a_right_answer_that_is_preferred_by_more_than_asked_for_is_known_and_no_other(rounds, commands, monkeypatch):
    """Margins are of the rows in their order; what was wrong is trained on, however sure the model is of the mended."""
    strict = Rounds(replace(rounds._config, drop_margin=2.0), rounds._split, commands)
    margins = {"surely right": 2.1, "wrong": 9.0, "just right": 2.0, "not answered": 9.0, "wrong, too": -1.0}
    correct = {"surely right": True, "just right": True, "wrong": False, "wrong, too": False}
    pairs = {name: Pair(name, "Which?", "a", "b", (), (), was_correct=correct.get(name)) for name in margins}
    monkeypatch.setattr(strict, "_pairs", lambda file: pairs)
    shown = [{"id": name} for name in margins]
    monkeypatch.setattr(strict, "rows", lambda number: shown)

    def act():
        if commands.asked[-1] == "check-noise":
            lines = [json.dumps({"id": f"row {row}", "clean": each}) for row, each in enumerate(margins.values())]
            (strict.place(1) / "margins.jsonl").write_text("\n".join(reversed(lines)) + "\n")
        elif commands.asked[-1] == "export":
            shown.pop(0)

    commands.act = act
    built = strict.build(1, Policy("base"))
    assert set(json.loads((strict.place(1) / "decisions.json").read_text())["marks"]) == {"surely right"}
    assert (built.pairs, built.from_wrong, built.dropped) == (4, 2, 1)


def test_half_a_state_is_no_end_of_training(rounds, commands):
    output = rounds.place(1) / "train"
    output.mkdir(parents=True)
    (output / "trainer_state.json").write_text('{"log_history": [')
    rounds.train(1, Policy("base"))
    assert commands.asked == ["train"]
    output.mkdir()
    (output / "trainer_state.json").write_text("{}")
    rounds.train(1, Policy("base"))
    assert commands.asked == ["train"]


def test_what_was_stacked_of_an_earlier_training_is_made_anew(rounds, commands, tmp_path, monkeypatch):
    made = rounds.place(2) / "adapter"
    adapter(made, "of an earlier training")
    monkeypatch.setattr("firempo_plugin.align.rounds.stack", lambda parts, target: adapter(target, "anew"))
    assert rounds.train(2, adapter(tmp_path / "first", "one")).adapter == str(made)
    assert (made / "adapter_model.safetensors").read_text() == "anew"


def test_a_measurement_is_found_again_for_the_same_model_and_keys_alone(rounds, commands, tmp_path):
    def measured():
        for row in ("base", "round-1"):
            file = tmp_path / "all" / "evaluate" / "items" / "accuracy" / f"{row}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"complete": True, "corpus": {}, "missing": {}}) + "\n")

    commands.act = measured
    policies = [Policy("base"), adapter(tmp_path / "first", "one")]
    rounds.evaluate(policies)
    rounds.evaluate(policies)
    assert commands.asked == ["evaluate"]
    adapter(tmp_path / "first", "another")
    again = Rounds(rounds._config, rounds._split, commands)
    again.evaluate(policies)
    assert commands.asked == ["evaluate"] * 2
    Rounds(rounds._config, split_of("no"), commands).evaluate(policies)
    assert commands.asked == ["evaluate"] * 3


def test_a_measurement_under_other_keys_that_was_stopped_leaves_no_note_of_the_earlier_one(rounds, commands, tmp_path):
    def stopped():
        raise KeyboardInterrupt

    policies = [Policy("base"), adapter(tmp_path / "first", "one")]
    note = rounds.place(1) / "evaluate.done"
    note.parent.mkdir(parents=True)
    note.write_text("of other keys than " + json.dumps(evaluate_keys(rounds._config, policies)))
    commands.act = stopped
    with pytest.raises(KeyboardInterrupt):
        rounds.evaluate(policies)
    assert not note.exists()
