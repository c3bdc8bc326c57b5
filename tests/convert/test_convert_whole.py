"""A target is there whole or not at all, whatever happens on the way; shards that are damaged; and memory."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from firempo_plugin import cli
from firempo_plugin.convert import commands, place, shards
from firempo_plugin.errors import UserError


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_target_that_is_there_is_refused_unless_empty(released, tmp_path):
    _, folder, _ = released()
    (tmp_path / "llava").mkdir()
    commands.convert(folder, tmp_path / "llava", None)
    before = {path.name: path.read_bytes() for path in (tmp_path / "llava").iterdir()}
    assert len(before) == 10
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        commands.convert(folder, tmp_path / "llava", None)
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        commands.convert(folder, folder, None)
    assert {path.name: path.read_bytes() for path in (tmp_path / "llava").iterdir()} == before
    assert left(tmp_path) == ["llava", "released"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_nothing(after, released, tmp_path, monkeypatch, capsys):
    _, folder, _ = released()
    sync, done = os.fsync, []

    def fill(handle):
        done.append(handle)
        if len(done) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(shards.os, "fsync", fill)
    assert cli.main(["convert", str(folder), str(tmp_path / "llava")]) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert f"while {tmp_path / 'llava'} was written; nothing is left of it" in told
    assert left(tmp_path) == ["released"]


def test_a_disk_that_is_too_small_is_told_before(released, tmp_path, monkeypatch):
    _, folder, _ = released()
    monkeypatch.setattr(place.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"has 0\.0 GB free, and the weights take 0\.0 GB"):
        commands.convert(folder, tmp_path / "llava", None)
    assert left(tmp_path) == ["released"]


def test_a_kill_leaves_nothing_that_looks_whole(released, tmp_path, monkeypatch):
    _, folder, _ = released()
    child = os.fork()
    if child == 0:  # killed when all shards are written, before the configuration is
        monkeypatch.setattr(
            commands, "write", lambda *about: (shards.write(*about), os.kill(os.getpid(), signal.SIGKILL))
        )
        commands.convert(folder, tmp_path / "llava", None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert left(tmp_path) == [".llava.part", "released"]
    assert not (tmp_path / ".llava.part" / "config.json").exists()
    with pytest.raises(UserError, match=r"\.llava\.part is of a conversion that was stopped"):
        commands.convert(folder, tmp_path / "llava", None)
    assert left(tmp_path) == [".llava.part", "released"]


def test_what_is_written_is_read_again(released, tmp_path, monkeypatch):
    _, folder, _ = released()
    sync = os.fsync

    def spoil(handle):
        sync(handle)
        os.pwrite(handle, b"\xff\xff", os.fstat(handle).st_size - 2)

    monkeypatch.setattr(shards.os, "fsync", spoil)
    with pytest.raises(RuntimeError, match="does not hold what was written"):
        commands.convert(folder, tmp_path / "llava", None)
    assert left(tmp_path) == ["released"]


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def scrawl(file):
    file.write_bytes(b"\x00" * 100 + file.read_bytes()[100:])


def overlap(file):
    """Lets a tensor begin where another does."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])
    first, second = [name for name in head if name != "__metadata__"][:2]
    head[second] |= {"shape": head[first]["shape"], "data_offsets": head[first]["data_offsets"]}
    text = json.dumps(head).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def lead_outside(file):
    index = file.with_name("model.safetensors.index.json")
    index.write_text(index.read_text().replace(file.name, f"../{file.name}"))


def tell_too_much(file):
    index = file.with_name("model.safetensors.index.json")
    known = json.loads(index.read_text())
    known["weight_map"]["model.more.weight"] = file.name
    index.write_text(json.dumps(known))


def tell_too_little(file):
    index = file.with_name("model.safetensors.index.json")
    known = json.loads(index.read_text())
    del known["weight_map"]["lm_head.weight"]
    index.write_text(json.dumps(known))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "model-00002-of-00003.safetensors is damaged"),
        (scrawl, "model-00002-of-00003.safetensors is not a readable safetensors file"),
        (overlap, "is not a readable safetensors file: .* is not where the tensor before it ends"),
        (lead_outside, r"names a shard outside its folder: \.\./model-00002"),
        (Path.unlink, "model-00002-of-00003.safetensors is missing"),
        (tell_too_much, "lacks tensors that model.safetensors.index.json lists: model.more.weight"),
        (tell_too_little, "holds lm_head.weight, of which model.safetensors.index.json says otherwise"),
    ],
)
def test_shards_that_are_damaged_are_refused_by_name(damage, told, released, tmp_path):
    _, folder, _ = released()
    damage(folder / "model-00002-of-00003.safetensors")
    with pytest.raises(UserError, match=told):
        commands.convert(folder, tmp_path / "llava", None)
    assert left(tmp_path) == ["released"]


class Foreign:
    """What writes a file as it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("form", ["bin", "old bin"])
def test_a_bin_shard_is_read_as_weights_alone(form, released, tmp_path):
    _, folder, _ = released(form=form)
    file = folder / "pytorch_model-00002-of-00003.bin"
    torch.save({"x": Foreign(tmp_path / "ran")}, file, _use_new_zipfile_serialization=form == "bin")
    with pytest.raises(UserError, match=r"00002-of-00003.bin cannot be read as a file of weights alone"):
        commands.convert(folder, tmp_path / "llava", None)
    assert left(tmp_path) == ["released"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_is_bounded_by_a_shard(original, tmp_path):
    """In a fresh process, above what converting a tiny model took; each of three shards has a tensor of 50 MB."""
    original().save(tmp_path / "small")
    large = original(hidden_size=512, intermediate_size=25_000, num_hidden_layers=1)
    large.save(tmp_path / "safetensors")
    large.save(tmp_path / "bin", form="bin")
    shard = max(path.stat().st_size for path in (tmp_path / "bin").iterdir())
    assert 50e6 < shard < 60e6
    script = Path(__file__).with_name("measure_memory.py")
    run = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    grown = json.loads(run.stdout.splitlines()[-1])
    assert 0 < grown["safetensors"] < 2.5 * (1 << 24)
    assert 0 < grown["bin"] < shard + 2.5 * (1 << 24)
