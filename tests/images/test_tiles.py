"""Images in pieces: the same pixels as at once, and memory within bounds."""

import json
import os
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pairs_memory
import pytest
from PIL import Image

from firempo_plugin.images import noise, tiles
from firempo_plugin.images.corruptions import Corruption
from firempo_plugin.images.masks import read_mask
from firempo_plugin.images.noise import corrupt
from firempo_plugin.images.pixels import decode
from firempo_plugin.records import Record, RejectedError
from firempo_plugin.respond.read import ReadStep
from firempo_plugin.sources.settings import SourceConfig
from firempo_plugin.store.engine import Item
from firempo_plugin.store.workspace import Workspace

SIZE = (23, 17)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 23), (3, 100), (100, 3), (1, 70)])
def test_pieces_cover_an_image_once_in_the_order_of_its_rows(monkeypatch, height, width):
    monkeypatch.setattr(tiles, "TILE", 64)
    numbered = np.arange(height * width).reshape(height, width)
    pieces = [numbered[place] for place in tiles.tiles(height, width)]
    assert np.concatenate([piece.ravel() for piece in pieces]).tolist() == list(range(height * width))
    assert max(piece.size for piece in pieces) <= 64


def odd_file(folder: Path, mode: str) -> Path:
    values = np.random.default_rng(3).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    deep = values[..., 0].astype(np.uint16) * 200
    image = {"I;16": Image.fromarray(deep), "F": Image.fromarray(deep / np.float32(7))}.get(mode)
    image = image or Image.fromarray(values).convert(mode)
    path = folder / ("a.tif" if mode in ("F", "CMYK", "LAB") else "a.png")
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_pixels_and_masks_do_not_depend_on_the_pieces(tmp_path, monkeypatch, mode):
    path = odd_file(tmp_path, mode)
    values = [(3,), (1, 2, 3), (255,), (0, 0, 0)]
    whole = decode(path), read_mask(path, SIZE[::-1]), read_mask(path, SIZE[::-1], values)
    monkeypatch.setattr(tiles, "TILE", 5)
    pieces = decode(path), read_mask(path, SIZE[::-1]), read_mask(path, SIZE[::-1], values)
    for one, other in zip(whole, pieces, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_does_not_depend_on_the_pieces(monkeypatch, channels):
    image = np.random.default_rng(1).integers(0, 256, (17, 23, channels), dtype=np.uint8)
    image = image[..., 0] if channels == 1 else image
    whole = corrupt(image, None, Corruption("noise", 45.0), 7)
    monkeypatch.setattr(noise, "TILE", 5)
    assert np.array_equal(corrupt(image, None, Corruption("noise", 45.0), 7), whole)


def test_a_dicom_file_does_not_depend_on_the_pieces(tmp_path, monkeypatch):
    values = np.random.default_rng(2).integers(0, 4000, (17, 23), dtype=np.uint16)
    table = {"RescaleSlope": 3, "RescaleIntercept": -7}
    grey = pairs_memory.dicom(tmp_path / "a.dcm", values, **table)
    colour = pairs_memory.dicom(
        tmp_path / "b.dcm", (values[..., None] % [251, 13, 99]).astype(np.uint8), PhotometricInterpretation="YBR_FULL"
    )
    whole = decode(grey), decode(colour), decode(grey, (100, 900))
    monkeypatch.setattr(tiles, "TILE", 5)
    for one, other in zip(whole, (decode(grey), decode(colour), decode(grey, (100, 900))), strict=True):
        assert np.array_equal(one, other)


def test_a_limit_names_what_to_raise():
    with pytest.raises(RejectedError, match=r"10 x 10 pixels, limit 99; raise source.max_pixels, to 178956970 at most"):
        tiles.refuse_large(Path("a.png"), (10, 10), 99)
    with pytest.raises(RejectedError, match=r"10 x 10 pixels, limit 99 for WEBP; raise"):
        tiles.refuse_large(Path("a.webp"), (10, 10), 199, 24, "WEBP")
    tiles.refuse_large(Path("a.png"), (10, 10), 100)
    tiles.refuse_large(Path("a.webp"), (10, 10), 200, 24, "WEBP")


@pytest.mark.parametrize(("suffix", "mode", "share"), [("webp", "RGB", 2), ("jp2", "RGB", 2), ("jp2", "L", 1)])
def test_what_takes_more_memory_may_have_fewer_pixels(tmp_path, suffix, mode, share):
    Image.new(mode, SIZE).save(tmp_path / f"a.{suffix}")
    decode(tmp_path / f"a.{suffix}", max_pixels=share * 23 * 17)
    with pytest.raises(RejectedError, match="too large"):
        decode(tmp_path / f"a.{suffix}", max_pixels=share * 23 * 17 - 1)


@pytest.mark.parametrize("size", [(tiles.MAX_SIDE + 1, 1), (1, tiles.MAX_SIDE + 1)])
@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
def test_an_image_of_one_vast_row_or_column_is_refused(tmp_path, size, deep):
    Image.new("I;16" if deep else "L", size).save(tmp_path / "a.png")
    with pytest.raises(RejectedError, match=rf"too large: .*a side has {tiles.MAX_SIDE} at most"):
        decode(tmp_path / "a.png")


def test_a_tiff_of_one_vast_tile_is_refused_as_image_and_as_mask(tmp_path):
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: 8, 325: 1}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    start = b"II*\0" + struct.pack("<IH", 8, len(tags))
    (tmp_path / "a.tif").write_bytes(start + table + bytes(4))
    with pytest.raises(RejectedError, match=r"too large: .*30000 x 30000 pixels"):
        decode(tmp_path / "a.tif")
    with pytest.raises(RejectedError, match=r"too large: the reply's mask: 30000 x 30000 pixels"):
        read_mask(tmp_path / "a.tif", (1, 1), name="the reply's mask")


def test_the_first_step_reads_within_the_setting(tmp_path):
    Image.new("L", SIZE).save(tmp_path / "a.png")
    config = SourceConfig(max_pixels=23 * 17 - 1)
    item = Item(Record("1", (str(tmp_path / "a.png"),), "Which?", "left"))
    raised = SourceConfig(max_pixels=23 * 17)
    with closing(Workspace(tmp_path / "work")) as workspace:
        with pytest.raises(RejectedError, match=r"limit 390; raise source.max_pixels"):
            ReadStep(config, workspace).run(item)
        assert ReadStep(raised, workspace).run(item)["images"]
        keys = [ReadStep(chosen, workspace).depends_on(item) for chosen in (config, raised)]
    assert keys[0] != keys[1], "what was refused is read again under a higher limit"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_of_an_image_is_bounded_by_its_pixels(tmp_path):
    run = [sys.executable, pairs_memory.__file__, str(tmp_path)]
    given_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "100000"}  # else freed memory would be counted as there before
    grown = json.loads(subprocess.run(run, capture_output=True, text=True, check=True, env=given_back).stdout)
    bomb = grown.pop("bomb") * pairs_memory.SIDE**2
    assert bomb < pairs_memory.BOMB / 3, f"a bomb took {bomb / 1e6:.0f} MB"
    assert {name: taken for name, taken in grown.items() if taken > tiles.BYTES_A_PIXEL} == {}
