"""The first run, with a stand-in for the training command."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from firempo_plugin import processes
from firempo_plugin.demo import run as demo
from firempo_plugin.demo.pairs import DATASET_INFO
from firempo_plugin.errors import UserError

STAND_IN = """\
#!{python}
import json, os, pathlib, sys
pathlib.Path("output").mkdir(exist_ok=True)
pathlib.Path("output/training_loss.png").touch()
seen = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"],
        "path": os.environ["PATH"]}}
pathlib.Path("seen.json").write_text(json.dumps(seen))
sys.exit({status})
"""


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, demo_data: Path) -> Path:
    """A demo folder whose model and data are already there."""
    shutil.copytree(model_folder, tmp_path / "my demo" / "model")
    shutil.copytree(demo_data, tmp_path / "my demo" / "data")
    return tmp_path / "my demo"


def stand_in(scripts: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    """Puts a training command next to a Python that is not on PATH."""
    scripts.mkdir()
    command = scripts / processes.HOST
    command.write_text(STAND_IN.format(python=sys.executable, status=status))
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setattr(demo, "misfits", list)  # there is no Python to ask
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_run_starts_the_stock_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path / "bin", monkeypatch)
    assert demo.run(folder, steps=3) == 0
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["arguments"] == ["train", "fire_mpo.yaml"]
    assert Path(seen["folder"]) == folder.resolve()
    assert seen["threads"] == "1"
    assert seen["path"].startswith(str(tmp_path / "bin"))
    shown = capfd.readouterr().out
    for name in ("adapter_model.safetensors", "trainer_log.jsonl", "training_loss.png"):
        assert str(folder / "output" / name) in shown
    assert f"cd '{folder}' && {tmp_path / 'bin' / processes.HOST} train fire_mpo.yaml" in shown


def test_status_of_the_command_is_returned(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path / "bin", monkeypatch, status=7)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert demo.run(folder) == 7
    assert json.loads((folder / "seen.json").read_text())["threads"] == "3"
    assert "status 7" in capfd.readouterr().out


def test_missing_packages_take_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "missing_packages", lambda: ["pydicom", "skimage"])
    with pytest.raises(UserError, match=re.escape("are in pydicom and skimage: pip install 'firempo-plugin[demo]'")):
        demo.run(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_missing_command_takes_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"there is no {processes.HOST} in {tmp_path}"):
        demo.run(tmp_path / "demo")


def test_steps_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        demo.run(tmp_path, steps=0)


def test_configuration_fits_the_folder(folder: Path) -> None:
    demo.prepare(folder, 5)
    config = yaml.safe_load((folder / demo.CONFIG).read_text("utf-8"))
    assert config["max_steps"] == 5
    assert config["stage"] == "fire_mpo"
    assert config["learning_rate"] == pytest.approx(1e-3)  # YAML reads 1e-3 without a point as text
    assert config["dataset"] in DATASET_INFO
    assert (folder / config["model_name_or_path"] / "config.json").is_file()
    assert (folder / config["dataset_dir"] / "dataset_info.json").is_file()
    assert (folder / config["media_dir"] / "images").is_dir()


def test_second_run_keeps_edits_but_the_steps(folder: Path) -> None:
    demo.prepare(folder, 5)
    config = folder / demo.CONFIG
    config.write_text(config.read_text("utf-8").replace("pref_beta: 0.1", "pref_beta: 0.7"), encoding="utf-8")
    demo.prepare(folder, 9)
    edited = yaml.safe_load(config.read_text("utf-8"))
    assert (edited["pref_beta"], edited["max_steps"]) == (0.7, 9)


def test_steps_are_added_where_the_line_was_removed(folder: Path) -> None:
    (folder / demo.CONFIG).write_text("stage: fire_mpo", encoding="utf-8")
    demo.prepare(folder, 4)
    assert yaml.safe_load((folder / demo.CONFIG).read_text("utf-8")) == {"stage": "fire_mpo", "max_steps": 4}


def test_complete_folder_is_kept(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_text("a")

    assert demo.build_once(tmp_path / "x", write)
    (tmp_path / "x" / "a").write_text("edited")
    assert not demo.build_once(tmp_path / "x", write)
    assert (tmp_path / "x" / "a").read_text() == "edited"


def test_interrupted_build_is_not_taken_for_complete(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "half").write_text("a")
        raise KeyboardInterrupt

    def write(folder: Path) -> None:
        (folder / "whole").write_text("b")

    with pytest.raises(KeyboardInterrupt):
        demo.build_once(tmp_path / "x", killed)
    assert not (tmp_path / "x").exists()
    assert demo.build_once(tmp_path / "x", write)
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "whole"]


def test_both_parts_are_built_where_missing(tmp_path: Path) -> None:
    demo.prepare(tmp_path / "fresh", 2)
    names = sorted(path.name for path in (tmp_path / "fresh").iterdir())
    assert names == ["data", "fire_mpo.yaml", "model"]
