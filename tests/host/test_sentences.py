"""What stops a run says so in a sentence of the stock command, and what takes the stage away is named."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from llamafactory.hparams import get_train_args

from firempo_plugin.errors import UserError
from firempo_plugin.host import sentences
from firempo_plugin.host.arguments import WrongValueError
from firempo_plugin.host.train import demands, unknown_keys

CLI = Path(sys.executable).parent / "llamafactory-cli"
CONFIG = {"stage": "fire_mpo", "do_train": True, "model_name_or_path": "nowhere", "dataset": "x", "use_cpu": True}
VARIABLES = [variable for _, variable in demands.BACKENDS.values() if variable]


def test_the_variable_that_takes_the_stage_away_is_named(tmp_path):
    """Of the stock command; tests/host/test_loading.py shows the same of FIREMPO_DISABLE."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "output_dir": "out", "fire_gamma": 0.1}))
    result = subprocess.run(
        [CLI, "train", "run.yaml"],
        cwd=tmp_path,
        env=os.environ | {"USE_V1": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("firempo: USE_V1 is set, ")


def test_a_backend_is_refused_before_the_host_starts_its_processes(tmp_path):
    """It starts one for each device, hence none on a CPU, and each would show where it ended."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "output_dir": "out"}))
    variable = VARIABLES[0]
    result = subprocess.run(
        [CLI, "train", "run.yaml", "fire_gamma=0.2"],
        cwd=tmp_path,
        env=os.environ | {variable: "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines() if not line.startswith("[")] == [
        f"firempo: {variable} is set, and {demands.problem({**CONFIG, variable.lower(): True})[0]}: unset {variable}"
    ]


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_backend_is_refused_in_its_words(variable, monkeypatch):
    reason = demands.problem({**CONFIG, variable.lower(): True})[0]
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli", "train", "--stage", "fire_mpo"])
    host = SimpleNamespace(launch=lambda: pytest.fail("the host was launched"))
    unknown_keys.extend_launcher(host)
    with pytest.raises(UserError, match=f"^{re.escape(f'{variable} is set, and {reason}: unset {variable}')}$"):
        host.launch()


@pytest.mark.parametrize(
    "words", [["train"], ["train", "gone.yaml"], ["train", "list.yaml"], ["train", "-h"], ["chat"]]
)
def test_words_that_are_no_run_of_the_stage_are_the_hosts(words, tmp_path, monkeypatch):
    (tmp_path / "list.yaml").write_text("[stage, fire_mpo]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USE_MCA", "1")
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli", *words])
    launched = []
    host = SimpleNamespace(launch=lambda: launched.append(sys.argv[1:]))
    unknown_keys.extend_launcher(host)
    host.launch()
    assert launched == [words]


@pytest.mark.parametrize("error", [ValueError("an odd number"), ImportError("no module"), TypeError("not a text")])
def test_a_fault_keeps_its_traceback(error, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: shown.append(error))
    sentences.install()
    sys.excepthook(type(error), error, None)
    assert shown == [error]
    sys.excepthook(UserError, UserError("gamma is negative"), None)
    assert shown == [error]
    assert capsys.readouterr().err == "firempo: gamma is negative\n"


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({"fire_objektive": "dpo"}, UserError, "unknown key fire_objektive; did you mean fire_objective?"),
        ({"fire-lambda": 1}, UserError, "unknown key fire-lambda; did you mean fire_lambda?"),
        ({"fire_temperature": 1}, UserError, "unknown key fire_temperature; known: fire_alpha, "),
        ({"fire_lambda": 2}, WrongValueError, "fire_lambda must be a number in [0, 1], found 2. Write for example"),
        ({"learning_rat": 1}, ValueError, "Some keys are not used by the HfArgumentParser"),
    ],
)
def test_a_key_that_is_wrong_is_named_with_what_was_meant(keys, kind, words, tmp_path):
    with pytest.raises(ValueError, match=r"key|must be") as caught:
        get_train_args({**CONFIG, "output_dir": str(tmp_path), **keys})
    assert type(caught.value) is kind
    assert str(caught.value).startswith(words)
