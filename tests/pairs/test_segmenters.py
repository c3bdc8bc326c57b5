"""Segmenters: names matched, files and boxes found, options checked, and masks cached."""

import json
import math
import shutil
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from samples import SHARED, SMALL

from firempo_plugin.images.masks import Found, MaskCache, box_mask, read_mask, union
from firempo_plugin.images.pixels import decode
from firempo_plugin.pairs.segmenters.regions import matching
from firempo_plugin.pairs.segmenters.segmenter import Request, Segmenter, find, make
from firempo_plugin.records import Region, RejectedError, Segmentation

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
BOX = (10.0, 5.0, 30.0, 25.0)
MASK = box_mask([BOX], (40, 60))


def png(array: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def names_of(phrase: str, names: list[str]) -> list[str]:
    return [names[index] for index in matching(phrase, names)]


# --- names


CHEST = ["Left Lung", "lung_right", "Heart", "Pleural Effusion", "lung opacity"]
LEFT_LOBES = ["lung_upper_lobe_left", "lung_lower_lobe_left"]
HEART = ["heart_ventricle_left", "heart_myocardium"]
TUBERCULOSIS = ["ActiveTuberculosis", "ObsoletePulmonaryTuberculosis"]


@pytest.mark.parametrize(
    ("phrase", "names", "found"),
    [
        ("left lung", CHEST, ["Left Lung"]),
        ("the LEFT lungs", CHEST, ["Left Lung"]),
        ("lung left", CHEST, ["Left Lung"]),
        ("right lung", CHEST, ["lung_right"]),
        ("lung", CHEST, ["Left Lung", "lung_right"]),
        ("both lungs", CHEST, ["Left Lung", "lung_right"]),
        ("bilateral lungs", CHEST, ["Left Lung", "lung_right"]),
        ("left and right lung", CHEST, ["Left Lung", "lung_right"]),
        ("heart", CHEST, ["Heart"]),
        ("pleural effusions", CHEST, ["Pleural Effusion"]),
        ("effusion", CHEST, ["Pleural Effusion"]),
        ("opacity of the lung", CHEST, ["lung opacity"]),
        ("left pleural effusion", CHEST, ["Pleural Effusion"]),
        ("pneumothorax", CHEST, []),
        ("lung nodule", CHEST, []),
        ("liver", CHEST, []),
        ("", CHEST, []),
        ("left", CHEST, []),
        ("lung", ["lung opacity"], []),
        ("left lung", ["lung"], ["lung"]),
        ("left lung", ["lung", "right lung"], ["lung"]),
        ("left lung", ["right lung"], []),
        ("left lung", ["lung_upper_lobe_left", "lung_lower_lobe_left", "lung_middle_lobe_right"], LEFT_LOBES),
        ("heart", ["heart_ventricle_left", "heart_myocardium", "rib_left_9"], HEART),
        ("left ventricle", ["left heart ventricle", "right heart ventricle"], ["left heart ventricle"]),
        ("left rib", ["rib_left_9", "rib_right_9"], ["rib_left_9"]),
        ("9th rib", ["rib_left_9", "rib_left_8"], ["rib_left_9"]),
        ("vertebra", ["vertebrae_T9"], ["vertebrae_T9"]),
        ("tumour", ["kidney", "kidney cyst", "tumor"], ["tumor"]),
        ("kidney", ["kidney", "kidney cyst", "tumor"], ["kidney"]),
        ("liver tumor", ["tumor", "vessel"], ["tumor"]),
        ("liver tumor", ["kidney tumor"], []),
        ("tumor", ["enhancing tumor", "non-enhancing tumor"], ["enhancing tumor", "non-enhancing tumor"]),
        ("enhancing tumor", ["non-enhancing tumor"], []),
        ("tuberculosis", TUBERCULOSIS, TUBERCULOSIS),
        ("active tuberculosis", TUBERCULOSIS, ["ActiveTuberculosis"]),
        ("COVID-19 infection", ["COVID-19+infection", "lung"], ["COVID-19+infection"]),
        ("肺", ["肺", "心脏"], ["肺"]),
    ],
)
def test_which_names_a_phrase_means(phrase, names, found):
    assert names_of(phrase, names) == found


# --- file


def test_file_finds_every_mask_of_the_biomedparse_layout(real):
    count, kidneys = {SMALL: (14, "03_MRI_abdomen"), SHARED: (62, "06_CT_abdomen")}[real.name]
    images, masks = (real.folder / "biomedparse-demo" / name for name in ("demo", "demo_mask"))
    segmenter = make("file", {"folder": str(masks)})
    seen = 0
    for image_path in sorted(images.glob("*.png")):
        image = decode(image_path)
        for mask_path in sorted(masks.glob(f"{image_path.stem}_*.png")):
            phrase = mask_path.stem.removeprefix(f"{image_path.stem}_").replace("+", " ")
            found = segmenter.segment(str(image_path), image, phrase)
            assert not (read_mask(mask_path, image.shape[:2]) & ~found.mask).any()
            seen += 1
    assert seen == count
    path = images / f"{kidneys}.png"
    image = decode(path)
    found = segmenter.segment(str(path), image, "left kidney")
    left = masks / f"{kidneys}_left+kidney.png"
    assert np.array_equal(found.mask, read_mask(left, image.shape[:2]))
    assert found.scores == (1.0,)
    assert segmenter.segment(str(path), image, "lung nodule").mask is None


INDEXED = {
    (SMALL, "image2label_train.json"): ("ct_head", "cerebellum", ["cerebellum"]),
    (SMALL, "label2image_test.json"): ("mr_abdomen", "kidney", ["kidney_left", "kidney_right"]),
    (SHARED, "image2label_train.json"): ("s0114_111", "left lung", ["lung_upper_lobe_left", "lung_lower_lobe_left"]),
    (SHARED, "label2image_test.json"): ("s0619_32", "hip", ["hip_left", "hip_right"]),
}
"""By data set and index: an image, a phrase, and the targets that it means."""


@pytest.mark.parametrize("index", ["image2label_train.json", "label2image_test.json"])
def test_file_reads_the_sam_med2d_index_either_way_round(index, real):
    folder = real.folder / "sam-med2d-demo"
    options = {
        "folder": str(folder),
        "index": str(folder / "data_demo" / index),
        "pattern": "{stem}_{target}_{part}.png",
    }
    segmenter = make("file", options)
    stem, phrase, parts = INDEXED[real.name, index]
    path = folder / "data_demo" / "images" / f"{stem}.png"
    image = decode(path)
    masks = [p for part in parts for p in (folder / "data_demo" / "masks").glob(f"{stem}_{part}_0*.png")]
    assert len(masks) >= 2
    found = segmenter.segment(str(path), image, phrase)
    assert np.array_equal(found.mask, union([read_mask(mask, image.shape[:2]) for mask in masks]))
    assert len(found.boxes) == len(masks)


def test_file_finds_masks_through_a_linked_folder(tmp_path):
    """A data folder is often a link to a larger disk; the image then has two paths."""
    disk = tmp_path / "disk"
    (disk / "images").mkdir(parents=True)
    (disk / "masks").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(disk / "images" / "a.png")
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(disk / "masks" / "a_lung.png")
    link = tmp_path / "data"
    link.symlink_to(disk)
    image = link / "images" / "a.png"
    for folder in (link / "masks", disk / "masks"):
        found = make("file", {"folder": str(folder)}).segment(str(image), decode(image), "lung")
        assert found.mask.all()
    (link / "both").mkdir()
    for source in ("images/a.png", "masks/a_lung.png"):
        shutil.copy(link / source, link / "both")
    found = make("file", {"folder": str(link / "both")}).segment(str(link / "both" / "a.png"), decode(image), "lung")
    assert found.mask.all()


def test_file_reads_a_folder_of_masks_of_one_thing(real):
    folder = real.folder / "covid-chestxray"
    options = {
        "folder": str(folder / "semantic_masks_v7labs_lungs"),
        "pattern": "{stem}.jpg",
        "target": "lungs",
    }
    path = folder / "images" / {SMALL: "ct_chest.jpg", SHARED: "16747_3_1.jpg"}[real.name]
    segmenter, image = make("file", options), decode(path)
    assert 0.05 < segmenter.segment(str(path), image, "left lung").mask.mean() < 0.5
    assert segmenter.segment(str(path), image, "heart").mask is None


def test_file_takes_the_record_s_own_masks_with_colours(tmp_path):
    colours = np.zeros((40, 60, 3), dtype=np.uint8)
    colours[MASK] = (12, 200, 7)
    colours[30:, 40:] = (12, 200, 8)
    (tmp_path / "mask.png").write_bytes(png(colours))
    regions = (
        Region("Left Lung", mask=str(tmp_path / "mask.png"), values=((12, 200, 7),)),
        Region("Right Lung", mask=str(tmp_path / "mask.png"), values=((12, 200, 8),)),
        Region("Right Lung", box=BOX),
    )
    segmenter = make("file", {})
    left = segmenter.segment("scan.png", IMAGE, "left lung", regions)
    assert np.array_equal(left.mask, MASK)
    assert left.boxes == (BOX,)
    assert segmenter.segment("scan.png", IMAGE, "lungs", regions).mask.sum() == MASK.sum() + 200
    assert segmenter.segment("scan.png", IMAGE, "spleen", regions).mask is None
    with pytest.raises(RejectedError, match="another size"):
        segmenter.segment("scan.png", IMAGE[:-1], "left lung", regions)


def test_file_reads_one_folder_per_target(tmp_path):
    for target in ("left lung", "heart"):
        (tmp_path / target).mkdir()
        (tmp_path / target / "scan.png").write_bytes(png(MASK.astype(np.uint8)))
        (tmp_path / target / "scan2.png").write_bytes(png(MASK.astype(np.uint8) * 0))
    segmenter = make("file", {"folder": str(tmp_path), "pattern": "{target}/{stem}.png"})
    before = segmenter.settings()
    assert np.array_equal(segmenter.segment("images/scan.jpg", IMAGE, "heart").mask, MASK)
    assert segmenter.segment("images/scan2.jpg", IMAGE, "heart").mask is None
    assert segmenter.segment("images/scan3.jpg", IMAGE, "heart").mask is None
    (tmp_path / "heart" / "scan3.png").write_bytes(png(MASK.astype(np.uint8)))
    assert make("file", {"folder": str(tmp_path), "pattern": "{target}/{stem}.png"}).settings() != before


def test_a_mask_belongs_to_the_image_of_the_longest_name(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for stem in ("scan", "scan_left"):
        (tmp_path / "images" / f"{stem}.png").touch()
    (tmp_path / "masks" / "scan_left_lung.png").write_bytes(png(MASK.astype(np.uint8)))
    (tmp_path / "masks" / "scan_heart.png").write_bytes(png(MASK.astype(np.uint8)))
    segmenter = make("file", {"folder": str(tmp_path / "masks")})
    short, long = (str(tmp_path / "images" / f"{stem}.png") for stem in ("scan", "scan_left"))
    assert segmenter.segment(long, IMAGE, "lung").mask.any()
    assert segmenter.segment(short, IMAGE, "left lung").mask is None
    assert segmenter.segment(short, IMAGE, "heart").mask.any()


def test_images_of_one_name_have_the_masks_of_their_own_folder(tmp_path):
    for patient, mask in (("p1", MASK), ("p2", ~MASK), ("p3", None)):
        for kind in ("images", "masks"):
            (tmp_path / kind / patient).mkdir(parents=True)
        (tmp_path / "images" / patient / "scan.png").touch()
        if mask is not None:
            (tmp_path / "masks" / patient / "scan_heart.png").write_bytes(png(mask.astype(np.uint8)))
    segmenter = make("file", {"folder": str(tmp_path / "masks")})
    found = [segmenter.segment(str(tmp_path / "images" / p / "scan.png"), IMAGE, "heart").mask for p in ("p1", "p2")]
    assert np.array_equal(found, [MASK, ~MASK])
    assert segmenter.segment(str(tmp_path / "images" / "p3" / "scan.png"), IMAGE, "heart").mask is None
    with pytest.raises(RejectedError, match=r"several folders fit the image's name: .*p1 and p2"):
        segmenter.segment(str(tmp_path / "other" / "scan.png"), IMAGE, "heart")


def test_masks_may_lie_beside_their_images(tmp_path):
    (tmp_path / "scan.png").touch()
    for target in ("lung", "lung_left"):
        (tmp_path / f"scan_{target}.png").write_bytes(png(MASK.astype(np.uint8)))
    segmenter = make("file", {"folder": str(tmp_path)})
    assert segmenter.segment(str(tmp_path / "scan.png"), IMAGE, "left lung").mask.any()
    assert segmenter.segment(str(tmp_path / "scan.png"), IMAGE, "lung").mask.any()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[1]", "found a list"),
        ("{", "cannot read"),
        ('{"scan.png": ["../scan_lung.png"]}', "leaves its folder"),
        ('{"scan.png": ["other_lung.png"]}', "does not fit"),
        ('{"scan.png": 5}', "scan.png"),
        ('{"none.png": ["none_lung.png"]}', "none of the images"),
    ],
)
def test_file_names_what_is_wrong_with_an_index(tmp_path, index, message):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(ValueError, match=message):
        make("file", {"folder": str(tmp_path), "index": str(tmp_path / "index.json")})


# --- box


COCO = {
    SMALL: {
        "one": ("eye/fundus.png", "optic disc", (28.16, 98.56, 56.32, 134.4)),
        "two": ("abdomen/mr_abdomen.png", "kidney"),
        "none": "colon/histology.png",
    },
    SHARED: {
        "one": ("tb/tb0005.png", "active tuberculosis", (381.834, 126.873, 422.071, 171.439)),
        "two": ("tb/tb0007.png", "tuberculosis"),
        "none": "health/h0001.png",
    },
}
"""Images with one box (left, top, right, bottom), with two and with none, and phrases that mean them."""


def test_box_reads_coco_annotations(real):
    folder = real.folder / "tbx11k" / "imgs"
    options = {"coco": str(folder.parent / "annotations/json/TBX11K_train.json"), "folder": str(folder)}
    segmenter = make("box", options)
    name, phrase, box = COCO[real.name]["one"]
    path = folder / name
    image = decode(path)
    found = segmenter.segment(str(path), image, phrase)
    ys, xs = np.nonzero(found.mask)
    left, top, right, bottom = box
    expected = (math.floor(left), math.ceil(right), math.floor(top), math.ceil(bottom))
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == expected
    assert found.boxes[0] == pytest.approx(box, abs=1e-3)
    name, both = COCO[real.name]["two"]
    two = folder / name
    assert len(segmenter.segment(str(two), decode(two), both).boxes) == 2
    assert segmenter.segment(str(two), decode(two), "nodule").mask is None
    healthy = folder / COCO[real.name]["none"]
    assert segmenter.segment(str(healthy), decode(healthy), phrase).mask is None
    with pytest.raises(RejectedError, match="another size"):
        segmenter.segment(str(path), image[:100], "tuberculosis")
    assert segmenter.settings() == make("box", options).settings()


def test_box_takes_the_record_s_own_boxes():
    regions = (Region("Brain Edema", box=BOX), Region("Brain", mask="none.png"), Region("Heart", box=(0, 0, 0, 9)))
    found = make("box", {}).segment("scan.png", IMAGE, "edema", regions)
    assert np.array_equal(found.mask, MASK)
    assert make("box", {}).segment("scan.png", IMAGE, "brain", regions).mask is None
    with pytest.raises(RejectedError, match="covers nothing"):
        make("box", {}).segment("scan.png", IMAGE, "heart", regions)


def test_box_names_what_is_wrong_with_a_coco_file(tmp_path):
    file = tmp_path / "coco.json"
    with pytest.raises(ValueError, match="does not exist"):
        make("box", {"coco": str(file), "folder": str(tmp_path)})
    for content, message in (("{", "not in COCO's format"), ('{"images": []}', "'categories' is missing")):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            make("box", {"coco": str(file), "folder": str(tmp_path)})
    image = {"id": 1, "file_name": "a.png", "width": 4, "height": 4}
    file.write_text(json.dumps({"categories": [], "images": [image], "annotations": []}))
    with pytest.raises(ValueError, match="has none of the images"):
        make("box", {"coco": str(file), "folder": str(tmp_path)})
    (tmp_path / "a.png").touch()
    whole = {"image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 2]}
    for change, message in (
        ({"image_id": 7}, "annotation 1: no image has the id 7"),
        ({"category_id": 7}, "annotation 1: no category has the id 7"),
        ({"bbox": ["0", "0", "2", "2"]}, r"annotation 1: bbox must be \[x, y, width, height\], found \['0'"),
        ({"bbox": [0, 0, 2]}, "annotation 1: bbox must be"),
        ({"bbox": [0, 0, float("nan"), 2]}, "annotation 1: bbox must be"),
        ({"bbox": [0, 0, 10**400, 2]}, "annotation 1: bbox must be"),
    ):
        content = {"categories": [{"id": 3, "name": "x"}], "images": [image], "annotations": [whole, whole | change]}
        file.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            make("box", {"coco": str(file), "folder": str(tmp_path)})


# --- making one, and the cache


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("file", {"foldr": "x"}, "unknown key segment.options.foldr; did you mean segment.options.folder"),
        ("file", {"folder": "/nowhere"}, "is no folder"),
        ("file", {"index": "x.json"}, "segment.options.index needs folder"),
        (
            "file",
            {"pattern": "{stem}.png"},
            "pattern must have {target}, or target what all masks show",
        ),
        ("file", {"target": "lung"}, "pattern must have {target}, or target what all masks show"),
        ("file", {"pattern": "{image}_{target}.png"}, "{image} is unknown"),
        ("box", {"coco": "x.json"}, "belong together"),
        ("sam3", {}, "checkpoint"),
        ("sam3", {"checkpoint": "/nowhere"}, "is no folder"),
        ("sam3", {"checkpoint": ".", "dtype": "int8"}, "float32, bfloat16, float16"),
        (
            "sam3",
            {"checkpoint": ".", "threshold": 2},
            r"threshold must be a number \(at least 0, at most 1\), found 2",
        ),
        ("sam3", {"checkpoint": ".", "batch": 0}, "at least 1"),
        ("http", {}, "url"),
        ("http", {"url": "server:80"}, "write http://host:port/path"),
        ("http", {"url": "http://me:secret@server/"}, "key_env"),
        ("http", {"url": "http://server/", "key_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
        ("http", {"url": "http://server/", "concurrency": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_refused_with_what_to_write(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, options)


class Counting(Segmenter):
    """Finds a box for every phrase but those it rejects."""

    name = "counting"
    cached = True

    def __init__(self):
        self.asked = []

    def settings(self):
        return {"version": 1}

    def segment(self, image_path, image, phrase, regions=()):
        self.asked.append((image_path, phrase))
        if phrase == "bad":
            raise RejectedError("no such thing")
        return Found(box_mask([BOX], image.shape[:2]), (BOX,), (0.5,))


def test_a_mask_is_looked_for_once_per_image_and_phrase(tmp_path):
    segmenter, cache = Counting(), MaskCache(tmp_path)
    requests = [
        Request("a.png", IMAGE, "lung"),
        Request("copy of a.png", IMAGE.copy(), "lung"),
        Request("a.png", IMAGE, "heart"),
        Request("a.png", IMAGE, "bad"),
        Request("b.png", IMAGE[::-1], "lung"),
    ]
    first = find(segmenter, cache, requests)
    assert [phrase for _, phrase in segmenter.asked] == ["lung", "heart", "bad", "lung"]
    assert [type(answer) for answer in first] == [Segmentation, Segmentation, Segmentation, RejectedError, Segmentation]
    assert first[0] == first[1]
    assert np.array_equal(read_mask(first[0].mask, (40, 60)), MASK)
    again = find(segmenter, MaskCache(tmp_path), requests)
    assert [a for a in again if isinstance(a, Segmentation)] == [a for a in first if isinstance(a, Segmentation)]
    assert [phrase for _, phrase in segmenter.asked[4:]] == ["bad"]


def test_masks_from_files_are_read_anew(tmp_path):
    mask = tmp_path / "scan_lung.png"
    mask.write_bytes(png(MASK.astype(np.uint8)))
    segmenter, cache = make("file", {"folder": str(tmp_path)}), MaskCache(tmp_path / "cache")
    (before,) = find(segmenter, cache, [Request("scan.png", IMAGE, "lung")])
    mask.write_bytes(png((~MASK).astype(np.uint8)))
    (after,) = find(segmenter, cache, [Request("scan.png", IMAGE, "lung")])
    assert np.array_equal(read_mask(before.mask, (40, 60)), MASK)
    assert np.array_equal(read_mask(after.mask, (40, 60)), ~MASK)
