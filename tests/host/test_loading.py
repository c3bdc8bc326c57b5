"""The stage is there in every process, by wheel and by editable install; off by switch; refused as a whole."""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from firempo_plugin.host import touchpoints
from firempo_plugin.host.autoload import HOOKED, HostFinder

ROOT = Path(__file__).parents[2]
START_UP = ("firempo_plugin_autoload.pth", "firempo_plugin_autoload.start")
SHOW_STAGE = (
    "from llamafactory.extras.constants import TRAINING_STAGES as stages;"
    "from llamafactory.hparams import FinetuningArguments as F;"
    "print('fire_mpo' in stages.values(), hasattr(F, 'fire_gamma'))\n"
)
TRAIN = "import sys; from llamafactory.cli import main; sys.argv = ['llamafactory-cli', 'train', 'run.yaml']; main()"
"""What the stock command does."""
RUN = {"stage": "fire_mpo", "do_train": True, "model_name_or_path": "nowhere", "dataset": "x", "output_dir": "out"}
RUN |= {"use_cpu": True, "fire_gamma": 0.1, "streaming": True, "max_steps": 1}


def python(code, *, executable=sys.executable, cwd=None, **environment):
    return subprocess.run(
        [executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": ""} | environment,
        timeout=600,
    )


def test_start_up_imports_nothing_heavy_and_is_quick(tmp_path):
    code = (
        "import sys; ours = [m for m in sys.modules if m.startswith('firempo_plugin')];"
        "print(ours, [m for m in ('torch', 'ast', 'dataclasses', 'inspect') if m in sys.modules])"
    )
    assert python(code, cwd=tmp_path).stdout.strip() == (
        "['firempo_plugin', 'firempo_plugin.host', 'firempo_plugin.host.autoload'] []"
    )


def test_installing_twice_registers_one_finder():
    from firempo_plugin.host.autoload import install

    install()
    install()
    assert sum(type(finder) is HostFinder for finder in sys.meta_path) == 1


def test_the_hook_watches_exactly_the_modules_that_are_extended():
    assert {f"llamafactory.{point.module}" for point in touchpoints.TOUCH_POINTS if point.extend} == HOOKED


def test_every_touch_point_is_there_in_the_installed_host():
    assert list(touchpoints.missing_points()) == []


@pytest.mark.parametrize(
    ("need", "problem"),
    [
        ("no_such_function(x)", "llamafactory.train.tuner.no_such_function is not there"),
        ("_training_function(config, extra)", "now takes (config)"),
        ("Worker.no_such_method", "Worker.no_such_method is not there"),
    ],
)
def test_a_moved_touch_point_is_named(need, problem):
    point = touchpoints.TouchPoint("train.tuner", (need,))
    (found,) = touchpoints.missing_points((point,))
    assert problem in found


def test_a_module_that_is_gone_is_named():
    (found,) = touchpoints.missing_points((touchpoints.TouchPoint("train.gone", ("x",)),))
    assert found == "llamafactory.train.gone is not there"


def test_a_moved_host_gets_one_clear_error_and_is_not_touched(tmp_path):
    """A host package with one function renamed: the first import fails; with the switch, nothing is changed.

    The stage is then unknown to the host, which the switch is named for.
    """
    package = Path(sysconfig.get_path("purelib")) / "llamafactory"
    moved = tmp_path / "llamafactory"
    for source in package.rglob("*.py"):
        target = moved / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        if source.name == "tuner.py":
            text = text.replace("_training_function", "_train_it")
        target.write_text(text, encoding="utf-8")
    result = python(SHOW_STAGE, cwd=tmp_path)
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode != 0
    assert "llamafactory.train.tuner._training_function is not there" in last
    assert touchpoints.SUPPORTED_HOSTS in last
    assert "FIREMPO_DISABLE=1" in last
    train = f"from llamafactory.hparams import get_train_args; get_train_args({RUN})"
    off = python(SHOW_STAGE + train, cwd=tmp_path, FIREMPO_DISABLE="1")
    assert off.stdout.split() == ["False", "False"]
    assert off.stderr.strip().splitlines()[-1].startswith("firempo: FIREMPO_DISABLE is set, ")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_the_start_up_files_and_nothing_foreign(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(next(n for n in names if n.endswith("RECORD"))).decode()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"firempo_plugin", *START_UP}
    assert all(name in record for name in START_UP), "so that uninstalling leaves nothing"
    assert not any("test" in name for name in names)


def test_the_wheel_brings_the_examples_and_templates(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site'); from firempo_plugin import cli; sys.exit(cli.main(['init', 'here']))"
    )
    result = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name in ("data_templates/images/frontal.png", "examples/qwen3_vl_4b/fire_mpo.yaml"):
        assert (tmp_path / "here" / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_wheel_install_finds_the_stage_and_refuses_a_run_in_a_sentence(wheel, tmp_path):
    """A bare environment with the wheel; the host comes from this one's site-packages as plain files.

    That each refusal is a UserError, which the command shows so, is tested where it is made.
    """
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "a_host.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "run.yaml").write_text(json.dumps(RUN))
    result = python(SHOW_STAGE + TRAIN, executable=str(tmp_path / "env" / "bin" / "python"), cwd=tmp_path)
    assert result.stdout.split()[:2] == ["True", "True"], result.stderr[-2000:]
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("firempo: stage: fire_mpo does not support streaming.")


@pytest.mark.parametrize(
    ("torch", "torchvision", "torchaudio"),
    [("2.6.0", "0.21.0", "2.6.0"), ("2.14.1+cu130", "0.29.2", "2.11.1"), ("3.0.0", "1.0.0", "3.0.0")],
)
def test_installing_the_wheel_leaves_another_torch_as_it_is(wheel, tmp_path, torch, torchvision, torchaudio):
    """A resolver's dry run, without any index, in an environment of this one's releases but for those three."""
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    other = {"torch": torch, "torchvision": torchvision, "torchaudio": torchaudio}
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"].lower()
        if name != "firempo-plugin":
            about = site / f"{name.replace('-', '_')}-{other.get(name, one.version)}.dist-info"
            about.mkdir(exist_ok=True)
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {other.get(name, one.version)}\n"
            (about / "METADATA").write_text(text)
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "--python", tmp_path / "env" / "bin" / "python", "install", "--dry-run"]
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    bare["PIP_CONFIG_FILE"] = os.devnull  # this machine's own constraints
    command += ["--no-index", "--report", report, wheel]
    subprocess.run(command, check=True, capture_output=True, env=bare)
    names = [entry["metadata"]["name"] for entry in json.loads(report.read_text())["install"]]
    assert names == ["firempo-plugin"]


def test_no_error_where_the_host_is_absent(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    result = python("import json; print('fine')", executable=str(tmp_path / "env" / "bin" / "python"), cwd=tmp_path)
    assert (result.stdout.strip(), result.stderr) == ("fine", "")
