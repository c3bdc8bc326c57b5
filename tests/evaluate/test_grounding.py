"""The VGMED measures against maps worked out by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from firempo_plugin.evaluate import grounding
from firempo_plugin.settings import checked

EPSILON = 1e-12


def region(height, width, *boxes):
    made = torch.zeros(height, width, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        made[y0:y1, x0:x1] = True
    return made


def show(mask, columns):
    rows = mask.view(-1, columns).int().tolist()
    return ["".join("#" if cell else "." for cell in row) for row in rows]


def test_the_ratio_is_element_by_element_with_epsilon_in_the_denominator():
    question, generic = torch.tensor([0.2, 0.1, 0.3]), torch.tensor([0.1, 0.2, 0.0])
    assert_close(grounding.ratio_map(question, generic, 0.1), torch.tensor([1.0, 1 / 3, 3.0]))


def test_the_attention_ratio_is_the_regions_mean_over_the_mean():
    ratio = torch.tensor([[4.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 1.0, 0.0]])
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert grounding.attention_ratio(ratio, mask).tolist() == [2.0, 1.0, 1.5]


def test_divergences_of_a_uniform_map():
    """P is 1/2 on two of four tokens, Q 1/4 everywhere: KL = log 2; the middle is 3/8 and 1/8."""
    ratio, mask = torch.ones(1, 4, dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    assert_close(grounding.attention_kl(ratio, mask, EPSILON).item(), math.log(2))
    expected = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert_close(grounding.attention_js(ratio, mask, EPSILON).item(), expected)


def test_a_map_that_is_the_region_has_no_divergence_and_the_opposite_map_the_largest():
    mask = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    maps = torch.stack([mask * 7, 1 - mask])
    js = grounding.attention_js(maps, mask, EPSILON)
    kl = grounding.attention_kl(maps, mask, EPSILON)
    assert_close(js, torch.tensor([0.0, math.log(2)], dtype=torch.float64))
    assert kl[0].abs() < 1e-9
    assert_close(kl[1].item(), math.log(0.5 / EPSILON), rtol=1e-6, atol=0)
    assert grounding.attention_ratio(maps, mask).tolist() == [2.0, 0.0]


def test_kl_looks_from_the_region_to_the_map_not_the_other_way():
    """P = (1, 0), Q = (3/4, 1/4): KL(P || Q) = log 4/3; KL(Q || P) would be huge."""
    ratio, mask = torch.tensor([[3.0, 1.0]]), torch.tensor([1.0, 0.0])
    assert_close(grounding.attention_kl(ratio, mask, 1e-8).item(), math.log(4 / 3))


def test_scale_of_the_map_does_not_matter():
    ratio = torch.rand(3, 20, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(20) % 3 == 0
    once, twice = (grounding.all_measures(ratio * factor, mask, 1e-8) for factor in (1, 1000))
    assert set(once) == {"attention_ratio", "attention_kl", "attention_js"}
    for metric, values in once.items():
        assert values.shape == (3,)
        assert_close(values, twice[metric])


def test_tokens_that_a_box_touches():
    mask = grounding.token_mask(region(40, 60, (10, 0, 21, 20)), (4, 6))
    assert show(mask, 6) == [".##...", ".##...", "......", "......"]


def test_coverage_leaves_out_tokens_that_a_box_merely_touches():
    box = region(40, 60, (10, 0, 21, 20))
    assert show(grounding.token_mask(box, (4, 6), coverage=0.05), 6)[0] == ".##..."
    assert show(grounding.token_mask(box, (4, 6), coverage=0.1), 6)[0] == ".#...."


def test_a_grid_that_does_not_divide_the_image():
    """Three tokens over 10 pixels end at 3.33 and 6.67: pixel 3 lies in the first two, pixel 6 in the last two."""
    for pixel, expected in ((2, "#.."), (3, "##."), (4, ".#."), (6, ".##"), (7, "..#")):
        mask = grounding.token_mask(region(10, 10, (pixel, 0, pixel + 1, 10)), (1, 3))
        assert show(mask, 3) == [expected], pixel


def test_an_image_smaller_than_its_grid():
    assert show(grounding.token_mask(region(2, 2, (0, 0, 1, 1)), (4, 4)), 4) == ["##..", "##..", "....", "...."]


def test_several_boxes_are_one_region():
    mask = grounding.token_mask(region(40, 40, (0, 0, 10, 10), (30, 30, 40, 40)), (4, 4))
    assert show(mask, 4) == ["#...", "....", "....", "...#"]


def test_a_window_shows_the_middle_of_a_wide_image():
    """Of 80 x 40 pixels the grid shows 20 to 60."""
    window = (0.25, 0.0, 0.75, 1.0)
    assert show(grounding.token_mask(region(40, 80, (20, 0, 30, 10)), (4, 4), window), 4)[0] == "#..."
    assert not grounding.token_mask(region(40, 80, (0, 0, 20, 40)), (4, 4), window).any()


def test_a_window_beyond_the_image_is_empty_there():
    window = (-0.5, 0.0, 1.5, 1.0)
    assert show(grounding.token_mask(region(10, 10, (0, 0, 10, 10)), (1, 4), window), 4) == [".##."]


def test_box_forms():
    assert grounding.corners([10, 20, 30, 50], "xyxy") == (10, 20, 30, 50)
    assert grounding.corners([10, 20, 30, 50], "xywh") == (10, 20, 40, 70)
    with pytest.raises(ValueError, match="four numbers"):
        grounding.corners([10, 20, 30], "xyxy")
    with pytest.raises(ValueError, match="four numbers"):
        grounding.corners([10, 20, 30, "40"], "xyxy")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("box_form", "yxyx", "box_form must be one of xyxy, xywh or null, found 'yxyx'"),
        ("epsilon", 0, r"epsilon must be a number \(above 0\), found 0"),
        ("coverage", 1, r"coverage must be a number \(at least 0, below 1\), found 1"),
        ("layers", [0, -1], r"layers must be a list, each a whole number \(at least 0\) or null, found \[0, -1\]"),
        ("layers", [], "layers is empty"),
        ("generic_prompt", " ", "generic_prompt is empty"),
    ],
)
def test_options_are_checked(key, value, words):
    with pytest.raises(ValueError, match=words):
        checked(grounding.Options, {"records": "x.jsonl", key: value})
