"""The corruptions of other recipes, against slow and plain ones that follow the published code."""

import hashlib
import math

import cv2
import numpy as np
import pytest

from firempo_plugin.errors import UserError
from firempo_plugin.images import recipes
from firempo_plugin.images.corruptions import Corruption, corruption
from firempo_plugin.images.noise import corrupt

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)
GREY = COLOUR[..., 0].copy()
DISC = np.hypot(*(np.mgrid[:90, :120] - np.array([[[40]], [[60]]]))) < 30


def made(image, name, mask=None, seed=1, **options):
    return corrupt(image, mask, corruption(name, 45.0, options), seed)


def plane(height, width):
    """Two channels that tell where a pixel was: its row and its column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def box(image):
    """The rows and columns that a blown-up crop of `plane` shows."""
    return np.ptp(image[..., 0].astype(int)) + 1, np.ptp(image[..., 1].astype(int)) + 1


def test_a_resized_crop_shows_a_part_of_the_image_evenly_and_whole():
    image = made(plane(200, 250), "resized_crop", seed=4).astype(float)
    rows, columns = box(image)
    for channel, length, shown in ((image[:, 0, 0], 200, rows), (image[0, :, 1], 250, columns)):
        # Pixel centres of the crop at those of the whole, held at the crop's edges; levels are rounded.
        places = np.clip((np.arange(length) + 0.5) * shown / length - 0.5, 0, shown - 1)
        assert np.abs(channel - channel[0] - places).max() <= 0.51
    assert (image[..., 0] == image[:, :1, 0]).all()
    assert (image[..., 1] == image[:1, :, 1]).all()


def test_the_area_ratio_and_place_of_a_crop_are_drawn_as_told():
    height, width = 240, 160
    images = [made(plane(height, width), "resized_crop", seed=seed) for seed in range(2000, 3500)]
    rows, columns = np.array([box(image) for image in images]).T
    areas, ratios = rows * columns / (height * width), columns / rows
    assert 0.009 < areas.min() < 0.012
    assert 0.195 < areas.max() < 0.203
    assert np.abs(np.quantile(areas, [0.25, 0.5, 0.75]) - [0.0575, 0.105, 0.1525]).max() < 0.01
    assert 0.71 < ratios.min() < 0.77
    assert 1.29 < ratios.max() < 1.4
    assert np.median(ratios) == pytest.approx(1, abs=0.03)
    tops = np.array([image[..., 0].min() for image in images]) / (height - rows)
    lefts = np.array([image[..., 1].min() for image in images]) / (width - columns)
    for drawn in (tops, lefts):
        assert (drawn.min(), drawn.max()) == pytest.approx((0, 1), abs=0.01)
        assert np.abs(np.quantile(drawn, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.04
    for one, other in ((areas, ratios), (areas, tops), (tops, lefts)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


def test_a_crop_is_held_inside_an_image_that_is_too_narrow_for_it():
    rows, columns = box(made(plane(3, 250), "resized_crop", least=1, most=1))
    assert rows == 3
    assert 23 <= columns <= 32


def plain_diffusion(level, step, std, normal):
    """The published steps, on the normalised value, in double precision."""
    betas = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000))) * (0.5e-2 - 1e-5) + 1e-5
    kept = np.cumprod(1 - betas)[step]
    x = (level / 255 - 0.5) / std
    return ((np.sqrt(kept) * x + np.sqrt(1 - kept) * normal) * std + 0.5) * 255


def test_the_schedule_is_the_published_one():
    betas = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000))) * (0.5e-2 - 1e-5) + 1e-5
    shares = np.cumprod(1 - betas)
    for step in (0, 1, 250, 500, 999):
        assert recipes.signal_share(step) == pytest.approx(shares[step], rel=1e-9)
    assert math.sqrt(recipes.signal_share(500)) == pytest.approx(0.863, abs=5e-4)
    assert math.sqrt(1 - recipes.signal_share(500)) == pytest.approx(0.505, abs=5e-4)


@pytest.mark.parametrize(("step", "std"), [(500, 0.5), (500, 0.27), (100, 0.5), (999, 0.5)])
def test_a_step_of_diffusion_is_the_plain_one(step, std):
    """The same normal deviates, read off a flat grey image, in the plain formula: equal to a level."""
    strength = std * 255 * math.sqrt(1 - recipes.signal_share(step))
    flat = np.full(GREY.shape, 128, dtype=np.uint8)
    noise = corrupt(flat, None, Corruption("noise", strength), 3).astype(float) - 128
    inner = np.abs(noise) < 126
    expected = np.clip(plain_diffusion(GREY.astype(float), step, std, noise / strength), 0, 255)
    found = made(GREY, "diffusion", seed=3, step=step, std=std)
    assert np.abs(found - expected)[inner].max() <= 1.01
    assert inner.mean() > 0.6


def test_diffusion_has_the_mean_and_width_of_its_step():
    for level in (90, 128, 160):
        noised = made(np.full((600, 600), level, dtype=np.uint8), "diffusion", std=0.2).astype(float)
        assert noised.mean() == pytest.approx(127.5 + 0.86302 * (level - 127.5), abs=0.6)
        assert noised.std() == pytest.approx(0.50517 * 0.2 * 255, rel=0.01)


def test_channels_of_colour_get_noise_of_their_own():
    flat = np.full((300, 300, 3), 128, dtype=np.uint8)
    flat[0, 0, 0] += 1
    for name in ("diffusion", "replace"):
        channels = made(flat, name).reshape(-1, 3).astype(float)
        assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("mask", [None, DISC], ids=["whole", "disc"])
@pytest.mark.parametrize(("name", "side"), [("pixels", 1), ("blocks", 14), ("blocks", 7)])
@pytest.mark.parametrize("share", [0.3, 0.05, 1.0])
def test_the_share_of_pixels_or_blocks_is_set_to_the_mean(image, mask, name, side, share):
    options = {"share": share, **({"side": side} if name == "blocks" else {})}
    found = made(image, name, mask, **options)
    inside = np.ones(image.shape[:2], dtype=bool) if mask is None else mask
    mean = np.array([round(float(channel.mean())) for channel in np.atleast_3d(image).transpose(2, 0, 1)])
    places = {(row // side, column // side) for row, column in np.argwhere(inside)}
    hit = 0
    for row, column in places:
        place = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        here = inside[place]
        before, after = (np.atleast_3d(each)[place][here] for each in (image, found))
        is_mean, is_same = (after == mean).all(), (after == before).all()
        assert is_mean or is_same
        hit += is_mean and not is_same
    alike = (np.atleast_3d(image) == mean).all(axis=-1).sum() if side == 1 else 0
    assert round(share * len(places)) - alike <= hit <= round(share * len(places)) + (side == 1)


@pytest.mark.parametrize("name", ["pixels", "blocks"])
def test_a_mask_of_one_pixel_is_changed(name):
    dot = np.zeros(GREY.shape, dtype=bool)
    dot[37, 55] = True
    assert made(GREY, name, dot, share=0.01)[37, 55] == round(float(GREY.mean()))


def test_pixels_are_drawn_evenly_over_the_image():
    image = np.zeros((300, 400), dtype=np.uint8)
    image[::2] = 200
    hit = (made(image, "pixels") == 100).astype(float)
    assert hit.mean() == pytest.approx(0.3, abs=1e-4)
    assert np.corrcoef(hit[:, 1:].ravel(), hit[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    tiles = cv2.resize(hit, (8, 6), interpolation=cv2.INTER_AREA)
    assert np.abs(tiles - 0.3).max() < 0.04


def test_replaced_pixels_say_nothing_of_what_was_there():
    found = made(GREY, "replace")
    assert np.array_equal(found, made(np.zeros_like(GREY), "replace"))
    large = made(np.zeros((700, 700), dtype=np.uint8), "replace", sigma=20).astype(float)
    normal = np.clip(np.rint(np.random.default_rng(5).normal(0, 20, (700, 700))), 0, 255)
    assert large.mean() == pytest.approx(normal.mean(), rel=0.01)
    assert large.std() == pytest.approx(normal.std(), rel=0.01)
    assert (large == 0).mean() == pytest.approx((normal == 0).mean(), abs=0.004)


@pytest.mark.parametrize("name", ["resized_crop", "diffusion", "pixels", "blocks", "replace"])
def test_a_seed_decides(name):
    images = [made(COLOUR, name, DISC, seed).tobytes() for seed in (5, 5, 6)]
    assert images[0] == images[1] != images[2]


KNOWN = {
    "resized_crop": "586ee6d94b467c75",
    "diffusion": "c197d5e3c76cda44",
    "pixels": "f22728ea867de426",
    "blocks": "d2f5cf8a1aa9494d",
    "replace": "4bea96b708ca34cc",
}
"""Digests; what is stored under a version of the step was made so on every machine."""


@pytest.mark.parametrize("name", KNOWN)
def test_a_seed_gives_the_same_pixels_everywhere(name):
    rows, columns, colour = np.ogrid[:64, :65, :3]
    image = ((rows * 7 + columns * 3 + colour * 50 + rows * columns // 9) % 256).astype(np.uint8)
    assert hashlib.sha256(made(image, name, seed=20240229).tobytes()).hexdigest()[:16] == KNOWN[name]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("diffusion", {"step": 1000}, r"options of diffusion: step must be a whole number \(at least 0, below 1000\)"),
        ("diffusion", {"std": 0}, r"options of diffusion: std must be a number \(above 0\), found 0"),
        ("blocks", {"share": 1.5}, r"share must be a number \(above 0, at most 1\), found 1.5"),
        ("pixels", {"side": 14}, "options of pixels: unknown key side; known: share"),
        ("replace", {"sigmas": 3}, "unknown key sigmas; did you mean sigma?"),
        ("blur", {"sigma": 3}, "options of blur: unknown key sigma; known: none"),
        ("resized_crop", {"least": 0.3}, "options of resized_crop: least must be at most the option most, 0.2, found"),
    ],
)
def test_an_option_that_cannot_be_is_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        corruption(name, 45.0, options)
