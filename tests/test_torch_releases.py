"""What does not load is named with the command that mends it, before and where the host's import fails."""

import shutil
import subprocess
import sys
from importlib import metadata

import pytest

from firempo_plugin import torch_releases

TORCH = metadata.version("torch")
UNDEFINED = "OSError: libtorchaudio.so: undefined symbol: torch_exception_get_what_without_backtrace"


@pytest.fixture
def broken_torchaudio(tmp_path, monkeypatch):
    """A torchaudio in front of the installed one that does not load, as one built for another torch does not."""
    return broken("torchaudio", f"raise OSError({UNDEFINED.removeprefix('OSError: ')!r})", tmp_path, monkeypatch)


def broken(name, body, tmp_path, monkeypatch):
    """Puts light stand-ins of the three in front, one of them broken."""
    for other in torch_releases.NAMES:
        (tmp_path / "front" / other).mkdir(parents=True)
        (tmp_path / "front" / other / "__init__.py").write_text(body if other == name else "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "front"))


def test_what_does_not_load_is_named_with_its_reason(broken_torchaudio):
    (misfit,) = torch_releases.misfits()
    assert misfit.what.startswith(f"torchaudio {metadata.version('torchaudio')} does not load beside torch {TORCH}")
    assert UNDEFINED in misfit.what
    assert "--no-deps" in misfit.remedy, "so that torch stays as it is"
    assert "torchaudio" in misfit.remedy


def test_without_torch_nothing_is_said_of_the_others(tmp_path, monkeypatch):
    broken("torch", "raise ImportError('libcudart.so.13: cannot open shared object file')", tmp_path, monkeypatch)
    (misfit,) = torch_releases.misfits()
    assert misfit.what.startswith(f"torch {TORCH} does not load (ImportError: libcudart.so.13")


def test_an_import_that_ends_the_process_is_named(tmp_path, monkeypatch):
    broken("torchvision", "import os; os._exit(139)", tmp_path, monkeypatch)
    (misfit,) = torch_releases.misfits()
    assert misfit.what.startswith("torchvision ")
    assert "the process ended with 139" in misfit.what


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    broken("torchaudio", "raise ModuleNotFoundError(\"No module named 'torchaudio'\")", tmp_path, monkeypatch)
    version = torch_releases.version_of
    monkeypatch.setattr(torch_releases, "version_of", lambda name: None if name == "torchaudio" else version(name))
    (misfit,) = torch_releases.misfits()
    assert misfit.what == "torchaudio is not installed: LLaMA-Factory imports it"


@pytest.mark.parametrize(
    ("name", "torch", "end"),
    [
        ("torchaudio", "2.11.0", " torchaudio==2.11.0"),
        ("torchaudio", "2.9.1", " torchaudio==2.9.1"),
        ("torchaudio", "2.14.1", " 'torchaudio>=2.11.1'"),
        ("torchaudio", "2.11.0+cu128", " torchaudio==2.11.0 --index-url https://download.pytorch.org/whl/cu128"),
        ("torchvision", "2.7.1", " torchvision==0.22.1"),
        ("torchvision", "2.15.0", " 'torchvision>=0.29'"),
        ("torchvision", None, " install torch torchvision torchaudio"),
        ("torch", "2.11.0+cpu", " torch==2.11.0 --index-url https://download.pytorch.org/whl/cpu"),
    ],
)
def test_the_command_fits_the_torch_that_is_there(name, torch, end):
    assert torch_releases._remedy(name, torch).endswith(end)


def test_without_pip_the_command_is_uvs(monkeypatch):
    monkeypatch.setattr(torch_releases.importlib.util, "find_spec", lambda name: None)
    assert torch_releases._remedy("torchaudio", "2.11.0").startswith("uv pip install ")


def test_an_error_of_another_cause_gets_no_note(monkeypatch):
    monkeypatch.setattr(torch_releases, "misfits", list)
    error = ValueError("something else")
    torch_releases.explain(error)
    assert not hasattr(error, "__notes__")


def test_an_import_of_the_host_says_what_to_do(broken_torchaudio, tmp_path):
    for name in ("torch", "torchvision"):  # the host needs the real ones
        shutil.rmtree(tmp_path / "front" / name)
    (tmp_path / "front" / "peft.py").write_text("PeftModel = None")  # all that is asked of it until then
    code = "import sys; from llamafactory.cli import main; sys.argv = ['llamafactory-cli', 'train', 'x.yaml']; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert run.returncode != 0
    notes = [line for line in run.stderr.splitlines() if line.startswith("firempo-plugin: ")]
    (note,) = notes
    assert UNDEFINED in note
    assert f"To mend it: {torch_releases._remedy('torchaudio', TORCH)}" in note


def test_doctor_and_demo_say_the_same(broken_torchaudio, tmp_path):
    (misfit,) = torch_releases.misfits()
    for words in (["doctor"], ["demo", str(tmp_path / "demo")]):
        command = [sys.executable, "-m", "firempo_plugin.cli", *words]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
        assert run.returncode != 0
        assert f"{misfit.what}" in run.stdout + run.stderr
        assert f"-> {misfit.remedy}" in run.stdout + run.stderr
    assert not (tmp_path / "demo").exists()
