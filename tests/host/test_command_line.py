"""The same keys from YAML, from `key=value` overrides and from `--flags`, as the host parses them."""

import sys

import pytest
from llamafactory.hparams import get_train_args

BASE = {
    "model_name_or_path": "nowhere",
    "stage": "fire_mpo",
    "do_train": True,
    "dataset": "pairs",
    "output_dir": "out",
    "use_cpu": True,
    "report_to": "none",
    "fire_objective": "fire_mpo_v1",
    "fire_gamma": 0.25,
    "fire_skip_invalid": True,
}


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    def parse(*argv):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["llamafactory-cli", *map(str, argv)])
        return get_train_args()[3]

    return parse


@pytest.fixture
def yaml_file(tmp_path):
    import yaml

    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(BASE))
    return path


def test_yaml(parsed, yaml_file):
    args = parsed(yaml_file)
    assert (args.fire_objective, args.fire_gamma, args.fire_lambda) == ("fire_mpo_v1", 0.25, 0.5)
    assert args.fire_skip_invalid is True


def test_overrides_win_over_yaml(parsed, yaml_file):
    args = parsed(yaml_file, "fire_gamma=0", "fire_lambda=1e-1", "fire_skip_invalid=false", "pref_beta=0.2")
    assert (args.fire_gamma, args.fire_lambda, args.fire_skip_invalid, args.pref_beta) == (0, 0.1, False, 0.2)


def test_flags(parsed):
    flags = [part for key, value in BASE.items() for part in (f"--{key}", str(value))]
    args = parsed(*flags, "--fire_kl_scope", "response")
    assert (args.fire_objective, args.fire_gamma, args.fire_kl_scope) == ("fire_mpo_v1", 0.25, "response")
    assert args.fire_skip_invalid is True


def test_a_misspelt_key_is_refused(parsed, yaml_file):
    with pytest.raises(ValueError, match="fire_gama"):
        parsed(yaml_file, "fire_gama=0.1")


def test_a_flag_outside_the_choices_is_refused(parsed, capsys):
    flags = [part for key, value in BASE.items() for part in (f"--{key}", str(value))]
    with pytest.raises(SystemExit):
        parsed(*flags, "--fire_kl_scope", "sentence")
    assert "sentence" in capsys.readouterr().err
