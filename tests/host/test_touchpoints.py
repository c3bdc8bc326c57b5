"""Every name of the host that this package uses is one whose presence is checked before anything is changed."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from llamafactory.train import tuner
from packaging.requirements import Requirement
from places import ROOT

from firempo_plugin.host.touchpoints import SUPPORTED_HOSTS, TESTED_HOSTS, TO_A_TESTED_HOST, TOUCH_POINTS
from firempo_plugin.host.train import workflow

HOST = Path(workflow.__file__).parent
SOURCES = sorted(HOST.rglob("*.py"))
CHECKED = {name for point in TOUCH_POINTS for need in point.needs for name in need.partition("(")[0].split(".")}
MODULES = {point.module.rpartition(".")[2] for point in TOUCH_POINTS}
OF_THE_HOST = ("module", "plugin", "mm_plugin", "template", "_template")
"""What the host's modules, templates and plug-ins are called in our code."""
OF_OTHERS = {
    "_attn_implementation": "transformers'",
    "_exit": "os's",
    "_metrics": "our trainer's",
    "split": "of a text",
    "ray": "a package that the host imports where it is installed",
}


def test_this_host_is_one_that_the_suite_ran_with():
    """Fails on the day that LLaMA-Factory has a new version: add it once all of tests/host passes with it."""
    assert metadata.version("llamafactory") in TESTED_HOSTS


def test_what_is_said_of_hosts_is_what_this_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SUPPORTED_HOSTS in project["dependencies"]
    assert all(Requirement(SUPPORTED_HOSTS).specifier.contains(host, prereleases=True) for host in TESTED_HOSTS)
    assert TO_A_TESTED_HOST.split()[2].removeprefix("llamafactory==") in TESTED_HOSTS


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def used(tree: ast.Module) -> Iterator[str]:
    """Names that a source takes from the host: what it imports, what it asks host objects for, what is private."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llamafactory"):
            yield from (alias.name for alias in node.names if node.module != "llamafactory.extras")
        elif isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            private = node.attr.startswith("_") and last_name(node.value) not in ("self", "cls", "args")
            if (private and node.attr not in own) or last_name(node.value) in OF_THE_HOST:
                yield node.attr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOST)))
def test_names_of_the_host_are_touch_points(path):
    assert set(used(ast.parse(path.read_text(encoding="utf-8")))) - CHECKED - MODULES - set(OF_OTHERS) == set()


def configuration(stage, folder, **keys):
    config = {"stage": stage, "do_train": True, "model_name_or_path": "x", "dataset": "x", "template": "qwen3_vl"}
    return config | {"output_dir": str(folder / stage), "use_cpu": True, "report_to": "none"} | keys


def assembled(stage, tmp_path, monkeypatch, **keys):
    """The callbacks that a workflow of the host gets, ours among them."""
    got = []
    monkeypatch.setattr(workflow, "run_fire_mpo", lambda *args: got.extend(args[-1]))
    monkeypatch.setattr(tuner, "run_dpo", lambda *args: got.extend(args[-1]))
    tuner._training_function({"args": configuration(stage, tmp_path, **keys), "callbacks": ["given"]})
    return [callback if isinstance(callback, str) else type(callback) for callback in got]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {
            "early_stopping_steps": 3,
            "pissa_convert": True,
            "finetuning_type": "lora",
            "enable_torch_profiler": True,
            "profile_modules": "mlp",
            "eval_strategy": "steps",
            "val_size": 0.1,
            "metric_for_best_model": "loss",
            "load_best_model_at_end": True,
        },
    ],
)
def test_the_stage_has_the_callbacks_of_the_hosts_own(keys, tmp_path, monkeypatch):
    ours, theirs = (assembled(stage, tmp_path, monkeypatch, **keys) for stage in ("fire_mpo", "dpo"))
    assert ours == theirs
    assert len(ours) == (7 if keys else 3)


def test_other_stages_are_parsed_once(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("llamafactory.hparams.parser._parse_train_args", lambda args: parsed.append(args) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        assembled("dpo", tmp_path, monkeypatch)
    assert len(parsed) == 1
    monkeypatch.undo()
    assembled("dpo", tmp_path, monkeypatch)
    assert tuner.get_train_args(configuration("kto", tmp_path))[3].stage == "kto", "what was parsed serves one run"
