"""Records that show an image of a test split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import SHARED, SMALL, Samples

from firempo_plugin.errors import UserError
from firempo_plugin.records import Record
from firempo_plugin.sources.leaks import TestImages
from firempo_plugin.sources.reading import read_source
from firempo_plugin.sources.registry import SOURCES
from firempo_plugin.sources.settings import SourceConfig


def leaks(records: list[Record], test_images: Any) -> dict[str, str]:
    return TestImages(test_images).shown(records)


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    return path


def shown(identity: str, *images: Path) -> Record:
    return Record(identity, tuple(str(image) for image in images), "Q?", "x")


def test_leaks_by_bytes_and_by_pixels(tmp_path: Path) -> None:
    test = picture(tmp_path / "test" / "sub" / "a.png", seed=1)
    same = tmp_path / "copy.png"
    same.write_bytes(test.read_bytes())
    again = tmp_path / "again.bmp"
    Image.open(test).save(again)
    other = picture(tmp_path / "other.png", seed=2)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    records = [
        shown("same", same),
        shown("again", other, again),
        shown("other", other),
        shown("broken", broken),
        shown("gone", tmp_path / "gone.png"),
    ]
    expected = {"same": str(test), "again": str(test)}
    assert leaks(records, tmp_path / "test") == expected
    assert leaks(records, [test]) == expected
    assert leaks(records, [str(test)]) == expected
    assert leaks(records, [other]) == {"again": str(other), "other": str(other)}


def test_grey_images_leak_as_colour_copies(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "colour.tif")
    assert leaks([shown("a", tmp_path / "colour.tif")], [tmp_path / "grey.png"]) == {"a": str(tmp_path / "grey.png")}


def test_test_files_that_are_no_images_are_compared_by_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"neither is an image")
    assert leaks([shown("r", tmp_path / "a")], [tmp_path / "b"]) == {"r": str(tmp_path / "b")}


def test_test_images_must_be_there(tmp_path: Path) -> None:
    for test_images in (tmp_path / "none", [tmp_path / "none.png"], tmp_path, []):
        with pytest.raises(ValueError, match=r"is no folder|does not exist|holds no test image"):
            leaks([], test_images)


def test_a_list_of_test_images_is_a_text(tmp_path: Path) -> None:
    """An image itself, say, is none."""
    (tmp_path / "test.png").write_bytes(b"\x89PNG")
    (tmp_path / "rows.jsonl").write_text('{"i": "a.png", "q": "Which side?", "t": "Left"}\n')
    options = {"file": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path)}
    options["columns"] = {"image": "i", "question": "q", "truth": "t"}
    with pytest.raises(UserError, match=r"test\.png is not UTF-8: byte 0"):
        read_source(SourceConfig("table", options, test_images=str(tmp_path / "test.png")))


def test_leaks_in_the_real_samples(real: Samples, tmp_path: Path) -> None:
    name, questions = {SMALL: ("xmlab1", 47), SHARED: ("xmlab149", 68)}[real.name]
    folder = str(real.folder / "slake")
    records = [item for item in SOURCES.load("slake").read({"folder": folder}) if isinstance(item, Record)]
    source = real.folder / "slake" / "imgs" / name / "source.jpg"
    Image.open(source).save(tmp_path / "again.png")
    found = leaks(records, [tmp_path / "again.png"])
    assert set(found) == {record.id for record in records if record.images == (str(source.resolve()),)} != set()
    folder = str(real.folder / "vqa-rad")
    others = [item for item in SOURCES.load("vqa_rad").read({"folder": folder}) if isinstance(item, Record)]
    assert len(others) == questions
    assert not leaks(others, [source])
