"""An export can be moved and published: its images lie in it, its paths are relative, and nothing else leaves."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from firempo_plugin import cli
from firempo_plugin.errors import UserError
from firempo_plugin.pairs.exporters.export import export
from firempo_plugin.pairs.pair import Pair


@pytest.fixture
def source(tmp_path):
    """A folder of originals, whose names nobody should see."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("Doe_John", "Roe_Jane"):
        clean = rng.integers(0, 200, (64, 64), dtype=np.uint8)
        Image.fromarray(clean).save(folder / f"{name}.PNG")
        Image.fromarray(clean + 40).save(folder / f"{name}_noised.PNG")
    return folder


def pair(source: Path, name: str = "Doe_John") -> Pair:
    words = {"question": "Which lung?", "chosen": "The left lung.", "rejected": "The right lung."}
    spans = {"chosen_spans": ((4, 8),), "rejected_spans": ((4, 9),)}
    clean, noised = (str(source / f"{name}{part}.PNG") for part in ("", "_noised"))
    return Pair(id=name[0], images=(clean,), rejected_images=(noised,), **words, **spans)


def exported(source: Path, folder: Path, *pairs: Pair, images: str = "copy", **options: object):
    pairs = pairs or (pair(source), pair(source, "Roe_Jane"))
    return export("llamafactory", pairs, folder, name="lungs", root=source.parent, images=images, options=options)


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "images" / "lungs.json").iterdir())


@pytest.mark.parametrize("images", ["copy", "link"])
def test_a_moved_export_is_whole_and_says_nothing_of_where_it_was(
    images, source, tmp_path, monkeypatch, capsys, checkpoint
):
    before = {file: file.read_bytes() for file in source.iterdir()}
    exported(source, tmp_path / "export", images=images, model=str(checkpoint("qwen3_vl")))
    moved = tmp_path / "elsewhere" / "data"
    shutil.copytree(tmp_path / "export", moved)
    assert {file: file.read_bytes() for file in source.iterdir()} == before
    shutil.rmtree(tmp_path / "export")
    shutil.rmtree(source)
    for file in moved.glob("*.*"):
        text = file.read_text(encoding="utf-8").replace(str(checkpoint("qwen3_vl")), "")
        assert str(tmp_path) not in text
        assert "Doe" not in text
    assert not any("Doe" in name for _, _, names in os.walk(moved) for name in names)
    monkeypatch.chdir(moved)
    assert cli.main(["validate", "lungs.yaml", "preprocessing_num_workers=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "All 2 rows can be used."
    monkeypatch.chdir(tmp_path)
    assert cli.main(["validate", "elsewhere/data/lungs.yaml"]) == 1
    assert "run the command where it can be found" in capsys.readouterr().err


def test_an_export_made_with_paths_of_its_place_goes_on_working(source, tmp_path, monkeypatch, capsys, checkpoint):
    folder, model = tmp_path / "export", str(checkpoint("qwen3_vl"))
    exported(source, folder, images="absolute", model=model)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["validate", "export/lungs.yaml", "preprocessing_num_workers=1"]) == 0
    old = (folder / "lungs.yaml").read_text()
    (note,) = exported(source, folder, model=model).notes
    assert "was kept" in note
    assert (folder / "lungs.yaml").read_text() == old
    assert cli.main(["validate", "export/lungs.yaml", "preprocessing_num_workers=1"]) == 0


def test_links_are_links_and_copies_are_copies_also_after_links(source, tmp_path):
    folder = tmp_path / "export"
    originals = {file.stat().st_ino for file in source.iterdir()}
    exported(source, folder, images="link")
    assert {file.stat().st_ino for file in files_of(folder)} == originals
    exported(source, folder, images="copy")
    assert not {file.stat().st_ino for file in files_of(folder)} & originals
    files_of(folder)[0].write_bytes(b"edited")
    assert all(Image.open(file).size == (64, 64) for file in source.iterdir())


def test_where_there_are_no_hard_links_they_are_copies(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("another file system")))
    exported(source, tmp_path / "export", images="link")
    assert len(files_of(tmp_path / "export")) == 4


def test_the_image_of_a_pair_that_is_no_more_leaves_the_folder_and_others_stay(source, tmp_path):
    folder = tmp_path / "export"
    exported(source, folder)
    mine = folder / "images" / "lungs.json" / "mine.txt"
    alike = mine.with_name(f"{'0' * 32}.png")
    for file in (mine, alike):
        file.write_text("mine")
    exported(source, folder, pair(source))
    left = [Path(name) for key in ("images", "rejected_images") for name in rows(folder)[0][key]]
    assert set(files_of(folder)) == {folder / name for name in left} | {mine, alike}
    assert len(list(source.iterdir())) == 4


def rows(folder: Path) -> list[dict[str, list[str]]]:
    return json.loads((folder / "lungs.json").read_text())


def test_nothing_in_the_way_is_overwritten_or_followed(source, tmp_path):
    folder, outside = tmp_path / "export", tmp_path / "outside"
    outside.mkdir()
    exported(source, folder)
    file = files_of(folder)[0]
    file.write_text("somebody's")
    with pytest.raises(ValueError, match=r"is not the image that belongs there; choose another export\.name"):
        exported(source, folder)
    assert file.read_text() == "somebody's"
    exported(source, folder, overwrite=True)
    file.unlink()
    (outside / "target").write_text("keep")
    file.symlink_to(outside / "target")
    with pytest.raises(ValueError, match="is not the image that belongs there"):
        exported(source, folder)
    shutil.rmtree(folder / "images")
    (folder / "images").symlink_to(outside)
    with pytest.raises(ValueError, match="is a link to another place"):
        exported(source, folder)
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("target", "keep")]


def test_images_that_carry_text_are_counted(source, tmp_path):
    text = PngInfo()
    text.add_text("PatientName", "Doe^John")
    Image.open(source / "Doe_John.PNG").save(source / "Doe_John.PNG", pnginfo=text)
    (note,) = exported(source, tmp_path / "export").notes
    assert note.startswith("1 of 4 images carry more than pixels")


def test_an_export_is_made_for_its_owner_alone(source, tmp_path):
    exported(source, tmp_path / "export")
    for folder in (tmp_path / "export", tmp_path / "export" / "images", tmp_path / "export" / "images" / "lungs.json"):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_full_disk_leaves_no_half_image_and_no_row_that_names_one(source, tmp_path, monkeypatch):
    def fill(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(OSError, match="No space"):
        exported(source, tmp_path / "export")
    assert files_of(tmp_path / "export") == []
    assert not (tmp_path / "export" / "lungs.json").exists()


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_list_of_exports_that_somebody_changed_is_named_with_what_to_do(content, source, tmp_path):
    (tmp_path / "exports.json").write_text(content)
    with pytest.raises(UserError, match=r"exports\.json was changed.*delete it, and set export\.options\.overwrite"):
        exported(source, tmp_path / "export")
