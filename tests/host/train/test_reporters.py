"""A tracker that is not installed is named before the model is loaded."""

from importlib.machinery import ModuleSpec

import pytest
import yaml
from llamafactory.hparams import get_train_args
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from firempo_plugin import cli
from firempo_plugin.host import doctor
from firempo_plugin.host.train import reporters


@pytest.fixture
def bare(monkeypatch):
    """An environment without any tracker."""
    monkeypatch.setattr(reporters, "find_spec", lambda name: None)


def test_every_reporter_of_the_library_is_known():
    assert {*reporters.MODULES, reporters.BY_ITSELF} == set(INTEGRATION_TO_CALLBACK)


@pytest.mark.parametrize("report_to", [None, "none", ["none"], "all", [], "kubeflow"])
def test_what_needs_nothing_is_fine(report_to, bare):
    assert reporters.problem(report_to) is None


def test_what_is_installed_is_fine_and_what_is_not_is_named(monkeypatch):
    monkeypatch.setattr(
        reporters, "find_spec", lambda name: ModuleSpec(name, None, origin="x") if name == "wandb" else None
    )
    assert reporters.installed() == ["wandb"]
    assert reporters.problem(["wandb"]) is None
    what, remedy = reporters.problem(["wandb", "tensorboard"])
    assert what == "report_to: tensorboard needs a package that is not installed"
    assert remedy.startswith("pip install tensorboard, or write `report_to: wandb`")
    what, remedy = reporters.problem("tensorbord")
    assert what == "report_to: tensorbord is unknown"
    assert "tensorboard" in remedy


def test_a_folder_of_earlier_runs_is_no_tracker(tmp_path, monkeypatch):
    (tmp_path / "dvclive").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "dvclive" not in reporters.installed()


def test_the_stage_stops_before_it_loads_anything(train, bare, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_tokenizer", None)
    monkeypatch.setattr("llamafactory.model.load_model", None)
    with pytest.raises(ValueError, match="report_to: tensorboard needs a package that is not installed"):
        train(report_to="tensorboard")


def test_doctor_looks_at_the_reporters_of_a_training_yaml(bare, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "misfits", list)  # which takes seconds
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({"stage": "fire_mpo", "report_to": "tensorboard"}))
    assert cli.main(["doctor", str(file)]) == 1
    assert f"{file}\n  FAIL  report_to: tensorboard needs a package that is not installed" in capsys.readouterr().out
    file.write_text("- no\n")
    assert cli.main(["doctor", str(file)]) == 1
    assert "must hold keys and values" in capsys.readouterr().err


def test_a_yaml_without_reporters_reports_to_none(tmp_path):
    """Else a run without the key could fail for a tracker that nobody chose."""
    config = {"model_name_or_path": "nowhere", "stage": "fire_mpo", "do_train": True, "dataset": "x"}
    assert get_train_args({**config, "output_dir": str(tmp_path), "use_cpu": True})[2].report_to == []
