"""The most similar picture: by plain correlation, the same on every machine, and none that a mark forbids."""

import cv2
import numpy as np
import pytest

from firempo_plugin.images.similar import SIDE, Gallery, thumbnail

RNG = np.random.default_rng(0)
NAMES = [f"{number:02}" for number in range(40)]
BASE = RNG.integers(0, 256, SIDE * SIDE)
MADE = {
    name: np.clip(np.rint(BASE * RNG.uniform(0.2, 1) + RNG.normal(0, 60, BASE.size)), 0, 255).astype(np.float32)
    for name in NAMES
}
APART = {name: {name} for name in NAMES}


def best(name, made, forbidden=()):
    """Plainly: numpy's correlation with every other one."""
    found = {other: np.corrcoef(made[name], made[other])[0, 1] for other in made if other not in (name, *forbidden)}
    return max(found, key=found.get)


def test_the_most_correlated_thumbnail_is_found():
    gallery = Gallery(MADE, APART)
    assert [gallery.like(name) for name in NAMES] == [best(name, MADE) for name in NAMES]
    plain = np.corrcoef(np.array([MADE[name] for name in NAMES], dtype=np.float64))
    assert np.abs(np.array([gallery.likeness(place) for place in range(len(NAMES))]) - plain).max() < 1e-12


def test_the_order_in_which_products_are_added_does_not_matter():
    white = {
        name: np.full(SIDE * SIDE, 255, dtype=np.float32) - np.eye(SIDE * SIDE, dtype=np.float32)[place]
        for place, name in enumerate(NAMES)
    }
    for made in (MADE, white):
        order = RNG.permutation(SIDE * SIDE)
        one, other = (Gallery(each, APART) for each in (made, {name: made[name][order] for name in NAMES}))
        for place in range(len(NAMES)):
            assert np.array_equal(one.likeness(place), other.likeness(place))


def test_pictures_with_a_mark_in_common_are_passed_over():
    first = best("00", MADE)
    second = best("00", MADE, [first])
    marks = APART | {"00": {"record a", "study 1"}, first: {"record b", "study 1"}, second: {"record a", "record c"}}
    assert Gallery(MADE, APART | {"00": marks["00"], first: marks[first]}).like("00") == second
    assert Gallery(MADE, marks).like("00") == best("00", MADE, [first, second])


def test_of_equals_the_first_by_id_whatever_the_order_given():
    made = {"z": MADE["00"], "b": MADE["01"], "a": MADE["01"]}
    assert Gallery(made, {name: {name} for name in made}).like("z") == "a"


def test_a_copy_is_no_look_alike_whatever_its_size_and_compression():
    image = cv2.GaussianBlur(RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8), (0, 0), 12)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    small = cv2.resize(image, (130, 90), interpolation=cv2.INTER_CUBIC)
    packed = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    other = cv2.addWeighted(image, 0.5, np.roll(image, 90, axis=1), 0.5, 0)
    made = {"image": image, "small": small, "packed": packed, "other": other}
    gallery = Gallery({name: thumbnail(each) for name, each in made.items()}, {name: {name} for name in made})
    assert gallery.like("image") == "other"


@pytest.mark.parametrize("others", [{}, {"flat": np.full(SIDE * SIDE, 9)}, {"negative": 255 - MADE["00"]}], ids=str)
def test_where_nothing_is_alike_there_is_none(others):
    made = {"00": MADE["00"], **{name: levels.astype(np.float32) for name, levels in others.items()}}
    assert Gallery(made, {name: {name} for name in made}).like("00") is None


def test_a_flat_picture_is_like_none():
    made = {"00": MADE["00"], "01": MADE["01"], "flat": np.full(SIDE * SIDE, 9, dtype=np.float32)}
    gallery = Gallery(made, {name: {name} for name in made})
    assert [gallery.like(name) for name in made] == ["01", "00", None]


@pytest.mark.parametrize("shape", [(64, 48), (200, 100, 3), (5, 3), (1, 1, 3)])
def test_a_thumbnail_has_whole_grey_levels_whatever_the_shape(shape):
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    found = thumbnail(image)
    assert found.shape == (SIDE * SIDE,)
    assert np.array_equal(found, np.rint(found))
    assert found.mean() == pytest.approx(image.mean(), abs=1 if min(shape[:2]) >= SIDE else 128)


def test_a_thumbnail_is_the_mean_of_its_part():
    image = RNG.integers(0, 256, (8 * SIDE, 4 * SIDE, 3), dtype=np.uint8)
    parts = image.reshape(SIDE, 8, SIDE, 4, 3).mean(axis=(1, 3, 4))
    assert np.abs(thumbnail(image).reshape(SIDE, SIDE) - parts).max() <= 1
