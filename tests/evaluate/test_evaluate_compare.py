"""The statistics against hand-computed cases, against scipy, and against what they promise."""

import itertools
from math import comb, isnan

import numpy as np
import pytest
from scipy import stats

from firempo_plugin.evaluate.compare import Cell, McNemar, column, holm, mcnemar

SETTINGS = {"draws": 4000, "confidence": 0.95, "seed": 0}


def one(values, baseline=None, **changes) -> dict[str, Cell]:
    arrays = {row: np.atleast_2d(np.array(lines, dtype=float)) for row, lines in values.items()}
    return column(arrays, baseline, **{**SETTINGS, **changes})


def test_mcnemar_by_hand():
    # 10 discordant items, 8 won: twice the tail P(X >= 8) of ten fair coins, (45 + 10 + 1) / 1024
    assert mcnemar(8, 2) == pytest.approx(2 * 56 / 1024)
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 0) == 1, "nothing is discordant"
    for won, lost in itertools.product(range(8), repeat=2):
        tail = sum(comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost)
        assert mcnemar(won, lost) == pytest.approx(min(1.0, 2 * tail))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_single_seeds_of_zeros_and_ones_are_compared_by_mcnemar():
    cells = one({"base": [1, 1, 0, 0, 0, 0, 0], "new": [0, 1, 1, 1, 1, 1, 1]}, "base")
    found = cells["new"].difference
    assert (found.test, found.seeds) == ("McNemar", (McNemar(5, 1, mcnemar(5, 1)),))
    assert found.p == pytest.approx(mcnemar(5, 1))
    assert found.interval.value == pytest.approx(4 / 7)
    assert cells["base"].difference is None
    assert cells["new"].mean.value == pytest.approx(6 / 7)


def test_an_interval_over_items_is_scipys():
    rng = np.random.default_rng(5)
    values = rng.normal(size=60)
    ours = one({"a": values}, draws=20_000)["a"].mean
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.015)
    assert ours.value == pytest.approx(values.mean())
    assert ours.n == 60


def test_a_paired_difference_is_narrower_than_an_unpaired_one():
    rng = np.random.default_rng(6)
    hard = rng.normal(size=200)
    cells = one({"base": hard, "new": hard + 0.1 + 0.05 * rng.normal(size=200)}, "base")
    found = cells["new"].difference
    assert found.test == "bootstrap"
    assert found.interval.high - found.interval.low < 0.03
    assert found.p == pytest.approx(2 / 4001), "no draw reaches zero"
    theirs = stats.bootstrap(
        (hard, hard + found.interval.value),
        lambda a, b, axis=-1: (b - a).mean(axis=axis),
        paired=True,
        method="percentile",
    )
    assert theirs.confidence_interval.low == pytest.approx(found.interval.value)


def test_the_spread_of_seeds_counts():
    """Two seeds that are always right and always wrong: a further seed may be either."""
    alike = one({"a": [[1, 0] * 50, [1, 0] * 50]})["a"].mean
    apart = one({"a": [[1] * 100, [0] * 100]})["a"].mean
    assert alike.value == apart.value == 0.5
    assert alike.high - alike.low < 0.3
    assert (apart.low, apart.high) == (0, 1)


def test_the_spread_over_seeds_and_items_is_that_of_theory():
    """Variance of the pooled mean: of items / n and of seeds / S * (S - 1) / S, independent of each other here."""
    rng = np.random.default_rng(7)
    items, seeds = rng.normal(size=400), rng.normal(scale=0.2, size=(10, 1))
    found = one({"a": items + seeds}, draws=20_000)["a"].mean
    expected = np.sqrt(items.var() / 400 + seeds.var() / 10)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(expected, rel=0.05)


def test_items_without_a_value_are_left_out_of_means_and_of_differences():
    nan = np.nan
    cells = one({"base": [1, 0, nan, 1], "new": [1, 1, 1, nan]}, "base")
    assert cells["base"].mean.value == pytest.approx(2 / 3)
    assert cells["new"].mean.value == 1
    assert cells["new"].mean.n == 3
    assert cells["new"].difference.interval.n == 2
    assert cells["new"].difference.interval.value == pytest.approx(0.5)
    assert (cells["new"].difference.seeds[0].won, cells["new"].difference.seeds[0].lost) == (1, 0)


def test_a_seed_without_values_leaves_the_cell_empty():
    nan = np.nan
    cells = one({"base": [1.0, 0.0], "new": [[1.0, 1.0], [nan, nan]]}, "base")
    assert cells["new"] == Cell(None)
    apart = one({"base": [1.0, nan], "new": [nan, 1.0]}, "base")
    assert apart["new"].difference is None, "no item is common"
    assert not isnan(apart["new"].mean.value)


def test_the_p_of_the_bootstrap_keeps_its_level():
    """Of groups that do not differ, about one in twenty may seem to."""
    rng = np.random.default_rng(8)
    found = [
        one({"a": rng.normal(size=(1, 80)), "b": rng.normal(size=(1, 80))}, "a", draws=400)["b"].difference.p
        for _ in range(300)
    ]
    assert 0.02 < np.mean([p < 0.05 for p in found]) < 0.09


def test_the_same_seed_draws_the_same_and_rows_are_corrected_together():
    rng = np.random.default_rng(9)
    values = {name: rng.integers(0, 2, (3, 50)).astype(float) for name in "abcd"}
    assert column(values, "a", **SETTINGS) == column(values, "a", **SETTINGS)
    cells = column(values, "a", **SETTINGS)
    raw = [cells[name].difference.p for name in "bcd"]
    assert [cells[name].difference.p_holm for name in "bcd"] == pytest.approx(holm(raw))


def test_a_few_items_that_agree_prove_little():
    found = one({"base": [[0.0] * 4, [0.0] * 4], "new": [[1.0] * 4, [1.0] * 4]}, "base")["new"].difference
    assert (found.interval.low, found.interval.high) == (1, 1)
    assert found.p == pytest.approx(stats.binomtest(4, 4).pvalue)


def test_several_seeds_are_tested_by_the_bootstrap_and_shown_one_by_one():
    base = [[1, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    new = [[1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1]]
    found = one({"base": base, "new": new}, "base")["new"].difference
    assert found.test == "bootstrap"
    assert [(seed.won, seed.lost) for seed in found.seeds] == [(2, 1), (3, 0)]
    against_one = one({"base": base[:1], "new": new}, "base")["new"].difference
    assert [(seed.won, seed.lost) for seed in against_one.seeds] == [(2, 1), (3, 0)]
    assert one({"base": base, "new": [*new, new[0]]}, "base")["new"].difference.seeds == (), "seeds do not match"
    assert one({"base": base, "new": np.array(new) / 2}, "base")["new"].difference.seeds == ()


def test_a_mean_is_of_the_seeds_means_also_where_one_has_fewer_values():
    """0.5 of two items and 1.0 of three: 0.75, and not the 0.8 of all five values."""
    values = {"a": np.array([[1.0, 0.0, np.nan], [1.0, 1.0, 1.0]])}
    cell = column(values, None, draws=200, confidence=0.95, seed=0)["a"]
    assert cell.mean.value == 0.75


def test_both_ends_of_an_interval_leave_out_the_same_share():
    """Of the mean of 400 draws of N(0, 1): -+ z / 20, with z of the confidence."""
    values = {"a": np.random.default_rng(0).standard_normal((1, 400))}
    values["a"] -= values["a"].mean()
    values["a"] /= values["a"].std()
    for confidence in (0.5, 0.9):
        mean = column(values, None, draws=20_000, confidence=confidence, seed=1)["a"].mean
        reach = stats.norm.ppf((1 + confidence) / 2) / 20
        assert mean.low == pytest.approx(-reach, abs=2e-3)
        assert mean.high == pytest.approx(reach, abs=2e-3)


def test_rows_that_never_differ_have_a_p_of_one():
    same = np.tile([0.0, 0.5, 1.0], (2, 10))
    cells = column({"a": same, "b": same.copy(), "c": same.copy()}, "b", draws=200, confidence=0.95, seed=0)
    assert [(cells[row].difference.p, cells[row].difference.p_holm) for row in "ac"] == [(1.0, 1.0)] * 2
    assert holm([0.6, 0.9, 1.0]) == [1.0, 1.0, 1.0]


def test_items_of_a_cluster_are_drawn_together():
    """Ten questions on each of thirty images that are answered alike say what thirty questions say, and no more."""
    rng = np.random.default_rng(8)
    base, new = rng.integers(0, 2, size=(2, 30)).astype(float)
    clusters = [f"{image:02}" for image in range(30) for _ in range(10)]
    alone = one({"base": base, "new": new}, "base")
    together = one({"base": np.repeat(base, 10), "new": np.repeat(new, 10)}, "base", clusters=clusters)
    for found, expected in (
        (together["new"].mean, alone["new"].mean),
        (together["new"].difference.interval, alone["new"].difference.interval),
    ):
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.n == 300
    apart = one({"base": np.repeat(base, 10), "new": np.repeat(new, 10)}, "base")["new"].difference.interval
    wide = alone["new"].difference.interval
    assert (apart.high - apart.low) < 0.4 * (wide.high - wide.low), "as if each told something new"


def test_clusters_of_several_sizes_count_by_their_items():
    values, clusters = [1.0] * 9 + [0.0], ["a"] * 9 + ["b"]
    found = one({"x": values}, clusters=clusters)["x"].mean
    assert found.value == pytest.approx(0.9)
    assert (found.low, found.high) == (0.0, 1.0), "a quarter of draws has one image alone, twice"


def test_of_several_questions_on_an_image_no_p_is_mcnemars():
    """Six images with ten questions each, won or lost as a whole: six coins, not sixty."""
    base, new = [0.0] * 60, [1.0] * 50 + [0.0] * 10
    apart = one({"base": base, "new": new}, "base")["new"].difference
    together = one({"base": base, "new": new}, "base", clusters=[str(place // 10) for place in range(60)])
    found = together["new"].difference
    assert (apart.test, found.test) == ("McNemar", "bootstrap")
    assert apart.p < 1e-10
    assert found.p >= 2.0**-5, "no fewer than six coins can tell"
    assert found.interval.low < apart.interval.low
