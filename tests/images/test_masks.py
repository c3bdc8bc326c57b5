"""Reading masks of every make, boxes, joining, and the cache that serves no half-written entry."""

import json
import os
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import SHARED, SMALL

from firempo_plugin.images.masks import (
    NOTHING,
    Found,
    MaskCache,
    box_around,
    box_mask,
    corners,
    joined,
    read_mask,
    union,
)
from firempo_plugin.records import RejectedError

SHAPE = (6, 8)
INSIDE = np.zeros(SHAPE, dtype=np.bool_)
INSIDE[1:4, 2:7] = True
GREY = np.where(INSIDE, 255, 0).astype(np.uint8)

AREAS = {
    SMALL: (21, 0.48, 34),  # an aorta of 3.14 * 0.028 * 0.048 of the image; two nodes of 3.14 * 0.21 * 0.27 and less
    SHARED: (93, 0.02, 38),
}
"""How many masks there are, and the least and greatest share of BiomedParse's, in per cent of the image."""


def save(path: Path, image: Image.Image, **settings: object) -> Path:
    image.save(path, **settings)
    return path


def with_alpha(alpha: int | np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([GREY, GREY, GREY, np.broadcast_to(np.uint8(alpha), SHAPE)]))


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(INSIDE.astype(np.uint8), mode="P")
    image.putpalette([level for colour in colours for level in colour])
    return image


MAKES = {
    "grey": Image.fromarray(GREY),
    "one": Image.fromarray(INSIDE.astype(np.uint8)),
    "bits": Image.fromarray(GREY).convert("1"),
    "rgb": Image.fromarray(GREY).convert("RGB"),
    "red": Image.fromarray(np.dstack([GREY, GREY * 0, GREY * 0])),
    "opaque": with_alpha(255),
    "transparent": with_alpha(0),
    "alpha is the complement": with_alpha(255 - GREY),
    "grey and alpha": Image.fromarray(GREY).convert("LA"),
    "16 bit": Image.fromarray(INSIDE.astype(np.uint16) * 300),
    "palette": palette((0, 0, 0), (200, 10, 10)),
    "palette, swapped": palette((0, 0, 0), (255, 255, 255)),
}


@pytest.mark.parametrize("make", MAKES)
def test_whatever_is_not_black_is_inside(make, tmp_path):
    assert np.array_equal(read_mask(save(tmp_path / "m.png", MAKES[make]), SHAPE), INSIDE)


def test_content_decides_the_format_not_the_name(tmp_path):
    assert np.array_equal(read_mask(save(tmp_path / "m.jpg", MAKES["grey"], format="PNG"), SHAPE), INSIDE)
    content = BytesIO((tmp_path / "m.jpg").read_bytes())
    assert np.array_equal(read_mask(content, SHAPE), INSIDE)


def test_a_mask_that_went_through_jpeg_is_split_at_half(tmp_path):
    big = np.kron(INSIDE, np.ones((13, 13), dtype=np.bool_))
    path = save(tmp_path / "m.jpg", Image.fromarray(big.astype(np.uint8) * 255), quality=60)
    assert (np.asarray(Image.open(path))[~big] > 0).any()
    assert np.array_equal(read_mask(path, big.shape), big)
    with pytest.raises(RejectedError, match="save it as PNG"):
        read_mask(path, big.shape, values=((3,),))


def test_levels_and_colours_of_label_maps(tmp_path):
    levels = np.arange(48, dtype=np.uint8).reshape(SHAPE)
    grey = save(tmp_path / "grey.png", Image.fromarray(levels))
    assert np.array_equal(read_mask(grey, SHAPE, ((3,), (40,))), (levels == 3) | (levels == 40))
    assert np.array_equal(read_mask(grey, SHAPE, ((3, 3, 3),)), levels == 3)
    assert not read_mask(grey, SHAPE, ((3, 3, 4),)).any()
    colour = save(tmp_path / "colour.png", Image.fromarray(np.dstack([levels, levels // 2, 255 - levels, levels])))
    assert np.array_equal(read_mask(colour, SHAPE, ((6, 3, 249), (7, 3, 248))), (levels == 6) | (levels == 7))
    partly = save(tmp_path / "partly.png", Image.fromarray(np.dstack([levels, levels, np.maximum(levels, 9)])))
    assert np.array_equal(read_mask(partly, SHAPE, ((6,), (11,))), levels == 11), "a level is one of every channel"
    deep = save(tmp_path / "deep.png", Image.fromarray(levels.astype(np.uint16) * 1000))
    assert np.array_equal(read_mask(deep, SHAPE, ((7000,),)), levels == 7)
    labels = save(tmp_path / "labels.png", palette((0, 0, 0), (200, 10, 10)))
    assert np.array_equal(read_mask(labels, SHAPE, ((1,),)), INSIDE)
    assert np.array_equal(read_mask(labels, SHAPE, ((200, 10, 10),)), INSIDE)
    with pytest.raises(ValueError, match="one grey level or red, green, blue"):
        read_mask(grey, SHAPE, ((1, 2),))


def test_what_cannot_be_used_is_rejected_with_its_reason(tmp_path):
    whole = save(tmp_path / "m.png", MAKES["rgb"])
    with pytest.raises(RejectedError, match=r"m\.png: 8 x 6, the image 6 x 8"):
        read_mask(whole, (8, 6))
    pages = save(tmp_path / "m.tif", MAKES["rgb"], save_all=True, append_images=[MAKES["rgb"]])
    with pytest.raises(RejectedError, match=r"several frames: .*m\.tif"):
        read_mask(pages, SHAPE)
    with pytest.raises(RejectedError, match=r"cannot be read: .*none\.png"):
        read_mask(tmp_path / "none.png", SHAPE)
    data = whole.read_bytes()
    for name, content in {"cut": data[: len(data) // 2], "text": b"no image", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RejectedError, match=f"cannot be read: .*{name}"):
            read_mask(tmp_path / name, SHAPE)


def test_an_enormous_mask_is_refused_before_it_is_decoded(tmp_path):
    bomb = bytearray(save(tmp_path / "m.png", MAKES["grey"]).read_bytes())
    for size, what in (((60_000).to_bytes(4, "big"), "cannot be read"), ((9_000).to_bytes(4, "big"), "another size")):
        bomb[16:20] = bomb[20:24] = size
        bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
        (tmp_path / "m.png").write_bytes(bomb)
        with pytest.raises(RejectedError, match=what):
            read_mask(tmp_path / "m.png", SHAPE)


def test_real_masks_have_the_areas_that_are_known_of_them(real):
    count, least, greatest = AREAS[real.name]
    assert len(real.masks()) == count
    shares = {}
    for _, path in real.masks():
        with Image.open(path) as file:
            shape = (file.height, file.width)
            red = np.asarray(file.convert("RGB"))[..., 0]
        mask = read_mask(path, shape)
        assert np.array_equal(mask, red == 255)
        assert np.array_equal(read_mask(path, shape, ((255,),)), mask)
        shares[path.parent.name, path.name] = mask.mean()
    biomedparse = [share for (folder, _), share in shares.items() if folder == "demo_mask"]
    assert round(100 * min(biomedparse), 2) == least
    assert round(100 * max(biomedparse)) == greatest
    assert min(shares.values()) > 0
    assert max(shares.values()) < 0.5


def test_boxes_cover_every_pixel_that_they_touch():
    assert np.array_equal(box_mask([(2, 1, 7, 4)], SHAPE), INSIDE)
    assert np.array_equal(box_mask([(2.9, 1.5, 6.1, 3.2)], SHAPE), INSIDE)
    assert box_mask([(-5, -5, 99, 99)], SHAPE).all()
    two = box_mask([(0, 0, 1, 1), (7, 5, 8, 6)], SHAPE)
    assert np.argwhere(two).tolist() == [[0, 0], [5, 7]]
    assert corners([10.5, 20, 5, 2.5]) == (10.5, 20, 15.5, 22.5)
    assert box_around(INSIDE) == (2, 1, 7, 4)


@pytest.mark.parametrize("box", [(3, 3, 3, 5), (5, 2, 4, 3), (8, 0, 9, 1), (-4, 0, 0, 2), (float("nan"), 0, 2, 2)])
def test_a_box_without_area_in_the_image_is_rejected(box):
    with pytest.raises(RejectedError, match="covers nothing"):
        box_mask([box], SHAPE)


def test_detections_join_and_empty_ones_are_none():
    left, empty = INSIDE & (np.arange(8) < 4), np.zeros(SHAPE, dtype=np.bool_)
    found = joined([left, empty, INSIDE & ~left], [0.9, 0.8, 0.7], [(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)])
    assert np.array_equal(found.mask, INSIDE)
    assert (found.scores, found.boxes) == ((0.9, 0.7), ((0, 0, 1, 1), (2, 2, 3, 3)))
    assert joined([empty], [0.9], [(0, 0, 1, 1)]) is NOTHING
    assert joined([], [], []) is NOTHING
    assert np.array_equal(union([left, INSIDE]), INSIDE)


FOUND = Found(INSIDE, ((2.0, 1.0, 7.0, 4.0),), (0.75,))


def test_the_cache_returns_what_was_put(tmp_path):
    cache = MaskCache(tmp_path)
    key = cache.key("pixels", "left lung", "sam3", {"threshold": 0.5})
    assert cache.get(key) is None
    kept = cache.put(key, FOUND, "sam3")
    assert cache.get(key) == kept
    assert np.array_equal(read_mask(kept.mask, SHAPE), INSIDE)
    assert (kept.boxes, kept.scores, kept.segmenter) == (FOUND.boxes, FOUND.scores, "sam3")
    nothing = cache.key("pixels", "nodule", "sam3", {"threshold": 0.5})
    assert cache.put(nothing, NOTHING, "sam3").mask is None
    assert cache.get(nothing) == cache.put(nothing, NOTHING, "sam3")


def test_a_key_is_the_image_the_target_and_the_segmenter():
    keys = [
        MaskCache.key("a", "lung", "sam3", {"x": 1, "y": 2}),
        MaskCache.key("b", "lung", "sam3", {"x": 1, "y": 2}),
        MaskCache.key("a", "heart", "sam3", {"x": 1, "y": 2}),
        MaskCache.key("a", "lung", "http", {"x": 1, "y": 2}),
        MaskCache.key("a", "lung", "sam3", {"x": 1, "y": 3}),
    ]
    assert len(set(keys)) == 5
    assert MaskCache.key("a", "lung", "sam3", {"y": 2, "x": 1}) == keys[0]


def test_equal_masks_share_a_file_and_others_never_do(tmp_path):
    cache = MaskCache(tmp_path)
    first, second = cache.keep(FOUND, "file"), cache.keep(Found(INSIDE.copy(), (), ()), "box")
    turned = cache.keep(Found(INSIDE.reshape(8, 6), (), ()), "file")
    assert first.mask == second.mask != turned.mask
    assert not (tmp_path / "entries").exists()


def test_nothing_half_written_is_served(tmp_path):
    cache = MaskCache(tmp_path)
    kept = cache.put("k", FOUND, "sam3")
    mask, entry = Path(kept.mask), tmp_path / "entries" / "k.json"
    whole = {path: path.read_bytes() for path in (mask, entry)}
    for path, content in whole.items():
        for damaged in (content[: len(content) // 2], b"", None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            assert cache.get("k") is None
            path.write_bytes(content)
    assert cache.get("k") == kept
    changes = ([], {}, {"mask": 5}, {"boxes": [[1, 2]]}, {"boxes": 7}, {"scores": None}, {"mask": "\0"})
    for changed in changes:
        content = {**json.loads(whole[entry]), **changed} if changed else changed
        entry.write_text(json.dumps(content))
        assert cache.get("k") is None, changed
    entry.write_text("[" * 100_000)
    assert cache.get("k") is None
    entry.write_bytes(whole[entry])
    mask.write_bytes(b"")
    assert cache.put("k", FOUND, "sam3") == cache.get("k") == kept


@pytest.mark.parametrize("dies_at", range(2))
def test_a_death_between_the_writes_leaves_no_entry(tmp_path, monkeypatch, dies_at):
    done = []

    def replace(source, target):
        if len(done) == dies_at:
            raise KeyboardInterrupt
        done.append(target)
        os.rename(source, target)

    cache = MaskCache(tmp_path)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        cache.put("k", FOUND, "sam3")
    assert cache.get("k") is None
    monkeypatch.undo()
    cache.put("k", FOUND, "sam3")
    assert json.loads((tmp_path / "entries" / "k.json").read_text())["scores"] == [0.75]
