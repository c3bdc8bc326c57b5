import os
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from firempo_plugin.forward.disk import CHECKSUM, DamagedError, image_digest, read, size_of, weights_digest, write_whole

CONTENT = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0], dtype=torch.bfloat16)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ab" / "abc.safetensors"
    write_whole(path, CONTENT)
    return path


@pytest.fixture
def soon():
    """Ends a test that hangs."""
    signal.alarm(5)
    yield
    signal.alarm(0)


def rewrite(path, **changes):
    """As another program would: a sound file, with the checksum of before."""
    save_file(load_file(path) | changes, path)


def another_place(path, make):
    path.unlink()
    make(path)


DAMAGE = {
    "a bit of the data": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "a letter of the header": lambda path: path.write_bytes(path.read_bytes().replace(b'"a"', b'"c"')),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no data": lambda path: rewrite(path, a=torch.empty(0, 2)),
    "another value": lambda path: rewrite(path, a=CONTENT["a"] + 1),
    "another kind": lambda path: rewrite(path, a=CONTENT["a"].double()),
    "the same bits of another kind": lambda path: rewrite(path, a=CONTENT["a"].view(torch.int32)),
    "another shape": lambda path: rewrite(path, a=CONTENT["a"].reshape(4)),
    "a row less": lambda path: rewrite(path, a=CONTENT["a"][:1].clone()),
    "another tensor": lambda path: rewrite(path, c=torch.ones(1)),
    "no checksum": lambda path: save_file(CONTENT, path),
    "of another name": lambda path: (
        (write_whole(path.with_name("b.safetensors"), CONTENT), path.unlink())
        and path.with_name("b.safetensors").rename(path)
    ),
    "not a number": lambda path: write_whole(path, CONTENT | {"b": torch.tensor([float("nan")])}),
    "infinity": lambda path: write_whole(path, CONTENT | {"b": torch.tensor([float("inf")])}),
    "a folder": lambda path: another_place(path, os.mkdir),
    "a pipe": lambda path: another_place(path, os.mkfifo),
    "a link to a device": lambda path: another_place(path, lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": lambda path: another_place(path, lambda path: path.symlink_to(path)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.usefixtures("soon")
def test_what_is_not_what_was_written_is_damaged(file, damage):
    found = read(file)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [[1.0, 2.0], [3.0, 4.0]], "b": [5.0]}
    damage(file)
    with pytest.raises(DamagedError):
        read(file)


def test_an_unreadable_file_is_damaged_and_a_missing_one_is_not(file, monkeypatch):
    assert read(file.with_name("missing.safetensors")) == {}
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(DamagedError, match="Input/output error"):
        read(file)


@pytest.mark.parametrize("place", ["a pipe", "a link to a device", "cut off"])
def test_a_damaged_file_is_written_anew(file, place):
    DAMAGE[place](file)
    write_whole(file, CONTENT)
    assert read(file).keys() == CONTENT.keys()
    assert CHECKSUM in load_file(file)


def test_only_regular_files_have_a_size(file):
    assert size_of(file) == file.stat().st_size > 0
    for place in ("a folder", "a link to a device", "a link to itself"):
        other = file.with_name(f"{place}.safetensors")
        other.touch()
        DAMAGE[place](other)
        assert size_of(other) == 0


def test_images_are_known_by_content(tmp_path):
    path = tmp_path / "scan.png"
    Image.new("L", (4, 4), 1).save(path)
    first, content = image_digest(str(path)), path.read_bytes()
    assert image_digest({"bytes": content, "path": None}) == first
    assert image_digest({"bytes": None, "path": str(path)}) == first
    Image.new("L", (4, 4), 2).save(path)
    assert image_digest(str(path)) != first


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "F"])
def test_pixels_of_every_mode_are_known_by_content(mode):
    one, other = Image.new(mode, (4, 4)), Image.new(mode, (4, 4))
    assert image_digest(one) == image_digest(other)
    other.paste(1, (0, 0, 1, 1)) if len(other.getbands()) == 1 else other.putpixel((0, 0), (1,) * len(other.getbands()))
    assert image_digest(one) != image_digest(other)
    assert image_digest(one) != image_digest(Image.new(mode, (2, 8)))


def test_a_palette_is_part_of_the_pixels():
    one, other = Image.new("P", (2, 2)), Image.new("P", (2, 2))
    one.putpalette([1, 2, 3])
    other.putpalette([3, 2, 1])
    assert image_digest(one) != image_digest(other)


def test_weights_are_known_by_every_bit():
    weight = torch.zeros(3, 2, dtype=torch.bfloat16)
    first = weights_digest([("a", weight)])
    assert weights_digest([("a", weight.clone())]) == first
    assert weights_digest([("b", weight)]) != first
    assert weights_digest([("a", weight.view(2, 3))]) != first
    changed = weight.clone()
    changed[2, 1] = 1e-30
    assert weights_digest([("a", changed)]) != first
    assert weights_digest([("a", torch.zeros(0))]) != weights_digest([])
