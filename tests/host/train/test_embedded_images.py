"""Images that lie inside the data: used bit for bit, one image wherever the bytes are equal, in every mode."""

import json
from io import BytesIO

import pytest
from PIL import Image, ImageCms
from places import TEMPLATES_DIR
from test_caches import losses
from test_orders import trees  # noqa: F401
from torch.testing import assert_close

from firempo_plugin.host.data.row_images import as_stored, open_images


def encoded(image, **options):
    file = BytesIO()
    image.save(file, **options)
    return file.getvalue()


def noise(spread, mode="RGB"):
    image = Image.effect_noise((96, 64), spread).convert("RGB")
    if mode == "LAB":
        return ImageCms.profileToProfile(image, *map(ImageCms.createProfile, ("sRGB", "LAB")), outputMode="LAB")
    return image.convert("L").convert(mode) if mode == "LA" else image.convert(mode)


@pytest.fixture
def embed(write_dataset):
    """Returns a function that writes rows with images inside a Parquet file, and returns the keys to train on them."""
    from datasets import Dataset, Features, Sequence, Value
    from datasets import Image as ImageFeature

    def write(rows):
        folder = write_dataset(rows, text="[]")
        message = {"from": Value("string"), "value": Value("string")}
        kinds = dict.fromkeys(("images", "rejected_images"), Sequence(ImageFeature()))
        features = Features(conversations=[message], chosen=message, rejected=message, **kinds)
        Dataset.from_list(rows, features=features).to_parquet(folder / "pairs.parquet")
        info = json.loads((folder / "dataset_info.json").read_text())
        info["pairs"]["file_name"] = "pairs.parquet"
        (folder / "dataset_info.json").write_text(json.dumps(info))
        return {"dataset": "pairs", "dataset_dir": str(folder)}

    return write


def row(number, image, noised):
    return {
        "conversations": [{"from": "human", "value": f"<image>Question {number}?"}],
        "chosen": {"from": "gpt", "value": f"It is the left one of {number}."},
        "rejected": {"from": "gpt", "value": f"It is the right one of {number}."},
        "images": [image],
        "rejected_images": [noised],
    }


def inside(data):
    return {"bytes": data, "path": None}


@pytest.fixture
def batches(monkeypatch):
    """A list that gets the encoded rows of every batch."""
    from firempo_plugin.host.data.collator import FireCollator

    seen = []
    collate = FireCollator.__call__

    def remember(self, features):
        seen.append(features)
        return collate(self, features)

    monkeypatch.setattr(FireCollator, "__call__", remember)
    return seen


def test_bytes_reach_the_model_as_they_came(train, embed, batches):
    """A JPEG that is decoded and encoded again has other pixels."""
    clean, noised = (encoded(noise(spread), format="JPEG", quality=60) for spread in (40, 90))
    train(**embed([row(0, inside(clean), inside(noised))]), per_device_train_batch_size=1)
    ((features,),) = batches
    assert [features["images"][0]["bytes"], features["rejected_images"][0]["bytes"]] == [clean, noised]


def test_a_file_named_in_the_data_is_read_from_its_place(train, embed, batches):
    place = TEMPLATES_DIR / "images" / "frontal.png"
    named = {"bytes": None, "path": str(place)}
    noised = {"bytes": None, "path": str(place.with_name("frontal_noised.png"))}
    train(**embed([row(0, named, noised)]), per_device_train_batch_size=1)
    ((features,),) = batches
    assert features["images"] == [named]


def test_odd_modes_train_with_the_caches_as_without(train, embed, adapter, tmp_path):
    """A row of each, a step each."""
    rows = []
    for mode, kind in (
        ("CMYK", "JPEG"), ("L", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("P", "GIF"), ("LA", "PNG"), ("1", "PNG"),
    ):  # fmt: skip
        images = (inside(encoded(noise(spread, mode), format=kind)) for spread in (40, 90))
        rows.append(row(len(rows), *images))
    keys = {**embed(rows), "per_device_train_batch_size": 1, "max_steps": len(rows), "disable_shuffling": True}
    keys["adapter_name_or_path"] = str(adapter("qwen3_vl"))
    without = losses(train(**keys))
    kept = {"fire_reference_cache": str(tmp_path / "a"), "fire_vision_cache": str(tmp_path / "b")}
    for _ in range(2):
        assert_close(losses(train(**keys, **kept)), without, rtol=1e-5, atol=0)


def test_rows_on_equal_bytes_come_together_and_share_their_trees(train, embed, trees):  # noqa: F811
    images = [tuple(inside(encoded(noise(s), format="PNG")) for s in (spread, spread + 1)) for spread in (40, 60, 80)]
    rows = [row(number, *images[number % 3]) for number in range(12)]
    train(**embed(rows), per_device_train_batch_size=4, fire_group_by_image=4, max_steps=3)
    assert trees == [2, 2, 2], "each batch has one clean and one noised image"


def turned(kind, mode="RGB"):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(40, mode), format=kind, exif=exif)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "L")])
def test_an_image_that_exif_turns_is_kept_upright(kind, mode):
    data = turned(kind, mode)
    stored = Image.open(BytesIO(as_stored(inside(data))["bytes"]))
    assert stored.size == (64, 96)
    quarter = Image.open(BytesIO(data)).transpose(Image.Transpose.ROTATE_270)
    assert stored.tobytes() == quarter.tobytes(), "without loss"
    assert as_stored(data) == as_stored(inside(data))


@pytest.mark.parametrize("image", ["a.png", inside(b"no image"), {"bytes": None, "path": "a.png"}])
def test_what_is_not_decoded_is_kept_as_it_is(image):
    assert as_stored(image) == image


def test_a_pipe_in_the_data_is_no_image(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    aligned = {"_images": [{"bytes": None, "path": str(tmp_path / "pipe.png")}], "_rejected_images": []}
    with pytest.raises(ValueError, match="does not exist"):
        open_images(aligned, "media")
