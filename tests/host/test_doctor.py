import re
import subprocess
import sys

import pytest
import yaml

from firempo_plugin import torch_releases
from firempo_plugin.host import doctor
from firempo_plugin.objectives.table import OBJECTIVES


@pytest.fixture
def no_misfits(monkeypatch):
    """Loads nothing; tests/test_torch_releases.py is about that."""
    monkeypatch.setattr(doctor, "misfits", list)


def test_a_sound_installation_is_ready(capsys, monkeypatch):
    import sysconfig

    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"))
    assert doctor.examine() == 0
    text = capsys.readouterr().out
    assert "Ready: `stage: fire_mpo` is in place." in text
    assert "llamafactory.train.tuner: _training_function(config)" in text


def test_the_switch_is_reported(capsys, monkeypatch, no_misfits):
    monkeypatch.setenv("FIREMPO_DISABLE", "1")
    assert doctor.examine() == 1
    assert "-> unset FIREMPO_DISABLE" in capsys.readouterr().out


def test_a_release_newer_than_tested_is_a_line_and_no_failure(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: "3.1.0+cu140")
    finding = doctor._requirement("torch>=2.6")
    assert finding.what.startswith("torch 3.1.0+cu140, newer than ")
    assert finding.remedy is None


def test_the_newest_tested_releases_are_not_called_newer(monkeypatch):
    for name, newest in doctor.NEWEST_TESTED.items():
        monkeypatch.setattr(doctor, "version_of", lambda name, newest=newest: f"{newest}+cu130")
        assert doctor._requirement(f"{name}>=0.1").what == f"{name} {newest}+cu130"


def test_a_version_outside_the_range_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", {"transformers": "5.6.0"}.get)
    finding = doctor._requirement("transformers<5.6,>=5.5.4")
    assert finding.what.startswith("transformers 5.6.0, supported: ")
    assert finding.remedy == "pip install 'transformers<5.6,>=5.5.4'"


def test_the_bounds_of_the_installed_host_count_too(monkeypatch):
    """Each version of LLaMA-Factory refuses another transformers, at its import."""
    bounds = ["transformers!=4.57.0,<=5.6.0", "transformers>9; extra == 'other'", "torch<3"]
    monkeypatch.setattr(doctor.metadata, "requires", {"llamafactory": bounds}.get)
    found = {"llamafactory": "0.9.5", "transformers": "5.8.0"}
    monkeypatch.setattr(doctor, "version_of", found.get)
    finding = doctor._requirement("transformers<=5.8.0,>=5.5.4,!=5.6.0")
    assert finding.remedy == "pip install 'transformers!=4.57.0,!=5.6.0,<=5.6.0,<=5.8.0,>=5.5.4'"
    found["transformers"] = "5.5.4"
    assert doctor._requirement("transformers<=5.8.0,>=5.5.4,!=5.6.0").remedy is None
    del found["llamafactory"]
    assert doctor._requirement("transformers>9").remedy == "pip install 'transformers>9'"


@pytest.mark.parametrize(
    ("version", "words", "remedy"),
    [
        ("0.9.5", "llamafactory 0.9.5", None),
        ("0.9.6.dev0", "llamafactory 0.9.6.dev0, which many commits are called; tested at ff6d4d12e", None),
        ("0.9.6", "llamafactory 0.9.6, newer than 0.9.6.dev0, the newest that this release was tested with", None),
        ("0.9.7.dev0", "llamafactory 0.9.7.dev0, supported: <0.9.7,>=0.9.5", doctor.TO_A_TESTED_HOST),
    ],
)
def test_what_is_said_of_a_host(version, words, remedy, monkeypatch):
    monkeypatch.setattr(doctor, "version_of", {"llamafactory": version}.get)
    assert doctor._requirement("llamafactory>=0.9.5,<0.9.7") == doctor.Finding(words, remedy)


def test_a_moved_host_is_reported(capsys, monkeypatch, no_misfits):
    point = doctor.TOUCH_POINTS[0].__class__("train.tuner", ("gone_function",))
    monkeypatch.setattr(doctor, "TOUCH_POINTS", (point,))
    assert doctor.examine() == 1
    assert "llamafactory.train.tuner.gone_function is not there" in capsys.readouterr().out


@pytest.fixture
def asked(tmp_path, no_misfits, capsys):
    """Returns a function that gives what the doctor says of a training YAML."""

    def ask(**config):
        file = tmp_path / "train.yaml"
        file.write_text(yaml.safe_dump(config))
        doctor.examine(file)
        return capsys.readouterr().out.split(f"\n{file}\n")[1]

    return ask


@pytest.mark.parametrize(
    ("loss", "objectives"), [("hinge", ["slic"]), ("ipo", ["ipo", "ipo_mean"]), ("kto_pair", [])], ids=str
)
def test_a_loss_of_the_hosts_that_is_another_names_the_objective_that_computes_it(asked, loss, objectives):
    said = asked(stage="dpo", pref_loss=loss)
    assert f"FAIL  pref_loss: {loss} trains with the sigmoid of plain DPO" in said
    remedy = said.split(f"TRL {doctor.version_of('trl')}\n        -> ")[1].split("\n")[0]
    assert set(objectives) == set(re.findall(r"`(?:fire_objective: )?(\w+)`", remedy)) & set(OBJECTIVES)
    assert ("`stage: kto`" in remedy) == (not objectives)


@pytest.mark.parametrize(
    "config",
    [
        {"stage": "dpo"},
        *({"stage": "dpo", "pref_loss": loss} for loss in ("sigmoid", "orpo", "simpo", ["hinge"])),
        {"stage": "kto", "pref_loss": "hinge"},
    ],
    ids=str,
)
def test_losses_that_are_what_they_say_are_passed_over(asked, config):
    assert "sigmoid" not in asked(**config)


def test_the_trl_that_is_told_its_loss_by_the_trainer_is_passed_over(asked, monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: "0.19.1")
    assert "sigmoid" not in asked(stage="dpo", pref_loss="hinge")


def test_the_command_loads_neither_torch_nor_the_host_in_its_process(tmp_path):
    """Light stand-ins are found first, for the process beside it that loads them."""
    for name in torch_releases.NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    code = (
        "import sys; from firempo_plugin.cli import main; main(['doctor']);"
        "print([m for m in ('torch', 'llamafactory') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert result.stdout.strip().endswith("[]")
