"""The order in which rows are encoded, so that an image that they share is decoded once."""

import random

from datasets import Dataset, Features, Image, Sequence, Value
from PIL import Image as Pictures

from firempo_plugin.host.data import row_images
from firempo_plugin.host.data.media import by_image

CLEAN = [["a"], ["b"], ["a"], [], ["b"], ["a"], None, ["b", "a"]]
NOISED = [["x"], [], ["y"], [], ["z"], ["x"], [], []]


def test_rows_follow_the_first_that_shows_the_same():
    paths = Sequence(Value("string"))
    rows = Dataset.from_dict(
        {"_images": CLEAN, "_rejected_images": NOISED}, Features(_images=paths, _rejected_images=paths)
    )
    assert by_image(rows) == [0, 5, 2, 1, 4, 3, 6, 7]
    assert by_image(rows.select([7, 0, 3, 5])) == [0, 1, 3, 2]
    assert by_image(rows.select([])) == []


def test_images_that_lie_in_the_data_go_by_their_names():
    inside = [[{"path": name, "bytes": b"0"} for name in names] for names in (["a"], ["b"], ["a"])]
    features = Features(_images=Sequence(Image(decode=False)), _rejected_images=Sequence(Image(decode=False)))
    rows = Dataset.from_dict({"_images": inside, "_rejected_images": [[]] * 3}, features)
    assert by_image(rows) == [0, 2, 1]


def test_in_that_order_each_is_decoded_once(tmp_path, monkeypatch):
    shown = [([str(tmp_path / f"{c}.png")], [str(tmp_path / f"{c}{n}.png")]) for c in "abcd" for n in "xyz"] * 2
    for (clean,), (noised,) in shown:
        for file in (clean, noised):
            Pictures.effect_noise((32, 24), 40).save(file)
    random.Random(0).shuffle(shown)
    columns = dict(zip(("_images", "_rejected_images"), map(list, zip(*shown, strict=True)), strict=True))
    rows = Dataset.from_dict(columns)
    opened, before = [], Pictures.open
    monkeypatch.setattr(Pictures, "open", lambda file: opened.append(file) or before(file))
    monkeypatch.setattr(row_images, "KEPT", 2)
    row_images._recent.clear()
    for number in by_image(rows):
        row_images.open_images(rows[number], "")
    assert len(opened) == len(set(opened)) == 4 + 12
