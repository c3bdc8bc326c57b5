"""The noise elsewhere: as much of it, of the same kind, and nowhere on the region."""

import numpy as np
import pytest

from firempo_plugin.evaluate.sensitivity import Options, drops, noise_elsewhere, region_of
from firempo_plugin.images.corruptions import CORRUPTIONS, Corruption, corruption
from firempo_plugin.images.noise import corrupt, seed_of
from firempo_plugin.records import RejectedError
from firempo_plugin.settings import checked

NOISE = Corruption("noise", 45.0)
FILLING = [name for name in CORRUPTIONS if CORRUPTIONS.load(name).fills]


def scan(height=80, width=100):
    rows, columns = np.mgrid[:height, :width]
    return (90 + 40 * np.sin(rows / 9) + 30 * np.cos(columns / 13)).astype(np.uint8)


def mask(*boxes, shape=(80, 100)):
    made = np.zeros(shape, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        made[y0:y1, x0:x1] = True
    return made


def noised(clean, where, how=NOISE, item="row 1"):
    return corrupt(clean, where, how, seed_of(item, 0, how))


def test_the_region_is_where_the_images_differ_without_the_holes_of_weak_noise():
    where = mask((20, 10, 45, 40))
    changed = noised(scan(), where)
    assert 0 < (scan() == changed)[where].sum() < 30, "noise rounds to zero here and there"
    assert np.array_equal(region_of(scan(), changed), where)


@pytest.mark.parametrize("how", [corruption(name, 45.0, {}) for name in FILLING], ids=FILLING)
def test_the_moved_region_has_the_same_shape_and_does_not_overlap(how):
    where = mask((20, 10, 40, 30), (40, 25, 50, 30))
    clean = scan() + np.random.default_rng(0).integers(0, 60, (80, 100), dtype=np.uint8)
    found = noise_elsewhere(clean, noised(clean, where, how), how, "row 1")
    right, down = found.moved
    expected = np.roll(where, (down, right), (0, 1))
    changed = clean != found.image
    assert not (changed & where).any()
    assert not (changed & ~expected).any()
    assert changed[expected].mean() > 0.8
    assert found.region == where.sum() == expected.sum()


def test_the_noise_elsewhere_is_as_strong():
    where = mask((20, 10, 60, 40))
    clean, changed = scan(), noised(scan(), where)
    found = noise_elsewhere(clean, changed, NOISE, "row 1").image
    there, here = (np.sqrt(((image.astype(float) - clean)[image != clean] ** 2).mean()) for image in (found, changed))
    assert there == pytest.approx(here, rel=0.1)


def test_the_same_item_gets_the_same_place_and_another_item_another():
    clean, changed = scan(), noised(scan(), mask((20, 10, 30, 20)))
    found = [noise_elsewhere(clean, changed, NOISE, item) for item in ("row 1", "row 1", "row 2", "row 3")]
    assert found[0].moved == found[1].moved
    assert np.array_equal(found[0].image, found[1].image)
    assert len({each.moved for each in found}) == 3


def test_the_place_has_the_regions_level():
    """The left half is dark, the right half bright; a region in the bright half moves within it."""
    clean = np.full((60, 120), 20, dtype=np.uint8)
    clean[:, 60:] = 150
    where = mask((80, 20, 90, 30), shape=(60, 120))
    for number in range(10):
        item = f"row {number}"
        right, _ = noise_elsewhere(clean, noised(clean, where, item=item), NOISE, item).moved
        assert 80 + right >= 60


def test_colour_images():
    clean = np.stack([scan(), scan() // 2, scan()], axis=-1)
    where = mask((20, 10, 40, 30))
    found = noise_elsewhere(clean, noised(clean, where), NOISE, "row 1")
    assert found.image.shape == clean.shape
    assert not (found.image != clean)[where].any()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: noised(scan(), None), "no room: nowhere does the region, 100 % of the image"),
        (lambda: noised(scan(), mask((10, 10, 90, 50))), "no room"),
        (scan, "the noised image is the clean one"),
        (lambda: scan()[:40], "another size"),
        (lambda: noised(scan(), mask((20, 10, 40, 30)), Corruption("noise", 120.0)), "another corruption: .* sigma 45"),
        (lambda: noised(scan(), mask((20, 10, 40, 30)), Corruption("blur")), "set corruption, sigma and options"),
    ],
)
def test_reasons(made, words):
    with pytest.raises(RejectedError, match=words):
        noise_elsewhere(scan(), made(), NOISE, "row 1")


def test_a_handful_of_pixels_is_enough():
    where = mask((50, 50, 53, 52))
    for number in range(20):
        found = noise_elsewhere(scan(), noised(scan(), where), NOISE, f"row {number}")
        assert found.region <= 6
        assert not (found.image != scan())[where].any()


def test_drops():
    assert drops(-1.0, -4.0, -2.0) == {"evidence_drop": 3.0, "elsewhere_drop": 1.0, "evidence_gap": 2.0}


def test_options_are_checked():
    assert Options("pairs").how == NOISE
    assert Options("pairs", corruption="black").how == Corruption("black")
    step = checked(Options, {"dataset": "pairs", "corruption": "diffusion", "options": {"step": 9}}).how
    assert step == corruption("diffusion", 45.0, {"step": 9}) != corruption("diffusion", 45.0, {})
    for given, message in (
        ({"corruption": "fog"}, "corruption must be one of noise, crop, black, blur, .*, found 'fog'"),
        ({"options": {"step": 9}}, "sensitivity.options of noise: unknown key step; known: none"),
        ({"corruption": "blocks"}, "sensitivity.corruption cannot be blocks: it leaves a part of its region"),
    ):
        with pytest.raises(ValueError, match=message):
            checked(Options, {"dataset": "pairs", **given}, "sensitivity.")
