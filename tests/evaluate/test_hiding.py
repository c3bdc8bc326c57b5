"""What a summary of noise says, from margins written by hand."""

import re

import numpy as np
import pytest

from firempo_plugin.evaluate.hiding import TRIALS, Hiding, Summary, Trial, advice, grown, told


def row(number, clean, noised, elsewhere=None, trials=(), share=0.1, why_not="", black=-1.0):
    return Hiding(f"row {number}", clean, noised, black, share, elsewhere, why_not, trials)


@pytest.mark.parametrize(
    ("clean", "noised", "verdict"),
    [
        (-0.1, -3.0, "told nothing before"),
        (0.0, 1.0, "told nothing before"),
        (1.0, 0.0, "turned"),
        (1.0, 0.5, "weaker"),
        (1.0, 0.51, "still tells"),
        (1.0, 2.0, "still tells"),
    ],
)
def test_what_becomes_of_a_preference(clean, noised, verdict):
    found = row(0, clean, noised)
    assert found.verdict == verdict
    assert found.as_line()["verdict"] == verdict


def test_what_a_black_image_leaves_the_text_tells():
    text = [row(n, 1.0, 0.9, black=0.8) for n in range(9)]
    assert {one.verdict for one in text} == {"the text tells"}
    assert row(0, -1.0, -1.0, black=0.8).verdict == "told nothing before"
    summary = Summary([*text, *HIDES], 45.0)
    assert (summary.turned.n, summary.turned.value) == (9, pytest.approx(8 / 9))
    assert advice(summary).startswith("The noise hides"), "what the text tells no noise can take"
    assert "     9   the text alone tells" in "\n".join(told(summary))


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 4.0])
def test_a_region_grows_to_so_many_times_its_area_all_round(factor):
    region = np.zeros((80, 90), bool)
    region[30:50, 40:60] = True
    larger = grown(region, factor)
    assert (larger & region).sum() == region.sum()
    assert factor * region.sum() <= larger.sum() <= 1.15 * factor * region.sum()
    rows, columns = np.nonzero(larger)
    assert abs((rows.min() + rows.max()) - 79) <= 1
    assert abs((columns.min() + columns.max()) - 99) <= 1


def test_a_region_grows_to_the_whole_image_at_most():
    region = np.zeros((10, 10), bool)
    region[2:8] = True
    assert grown(region, 3.0).all()


HIDES = [row(n, 1.0, -0.5, 0.9, tuple([-1.0] * 6)) for n in range(8)] + [row(8, 1.0, 0.8, 0.9, tuple([0.5] * 6))]
SHINES = [row(n, 1.0, 0.6 + n / 100, 0.95, (0.7, 0.6, -0.1, 0.5, -0.2, -0.3)) for n in range(9)]


def test_the_share_that_is_turned_is_of_the_rows_that_tell():
    summary = Summary([*HIDES, row(9, -1.0, -2.0), row(10, -1.0, 1.0)], 45.0)
    assert summary.turned.value == pytest.approx(8 / 9)
    assert summary.turned.n == 9
    assert 0.5 < summary.turned.low < summary.turned.value < summary.turned.high <= 1


def test_losses_are_paired_over_the_rows_that_have_both():
    own, more = Summary([*SHINES, row(9, 5.0, -5.0)], 45.0).losses()
    assert own.n == 9
    assert own.value == pytest.approx(np.mean([1 - row.noised for row in SHINES]))
    assert more.value == pytest.approx(np.mean([row.elsewhere - row.noised for row in SHINES]))
    assert Summary([row(0, 1.0, 0.5)], 45.0).losses() is None


def test_the_weakest_noise_that_turns_half_is_advised():
    summary = Summary(SHINES, 45.0)
    assert summary.trials() == dict(zip(TRIALS, (0.0, 0.0, 1.0, 0.0, 1.0, 1.0), strict=True))
    assert advice(summary).endswith("Half of the rows with a region would be turned by noise.sigma: 135.")
    wider = [row(n, 1.0, 0.6, 0.95, (0.7, 0.6, 0.5, -0.5, -0.2, -0.3)) for n in range(9)]
    assert advice(Summary(wider, 45.0)).endswith("turned by regions of 2 times the area (wider masks).")
    assert Trial(2, 2).named(45.0) == "sigma 90, region grown to 2 times"


def test_each_advice_has_its_case():
    assert advice(Summary(HIDES, 45.0)).startswith("The noise hides")
    nothing = [row(n, 1.0, 0.6, 0.95, tuple([0.7] * 6)) for n in range(9)]
    assert "none of the noises tried turns half" in advice(Summary(nothing, 45.0))
    anywhere = [row(n, 1.0, 0.5, 0.5 - 0.01 * (n % 3 - 1), tuple([-1.0] * 6)) for n in range(9)]
    assert advice(Summary(anywhere, 45.0)).startswith("Noise on the regions does not surely cost more")


def test_what_the_builds_own_noise_turns_is_not_advised_as_other_noise():
    """Rows noised all over, or blackened: the same noise on a region would do."""
    everywhere = [row(n, 1.0, 0.9, share=1.0) for n in range(20)]
    said = advice(Summary([*HIDES[:8], *everywhere], 45.0))
    assert "noise of sigma 45 turns half of the rows with a region" in said
    assert "turned by" not in said


def test_few_rows_are_not_judged_by():
    assert "too few to advise" in advice(Summary(HIDES[:4], 45.0))
    compared = [row(0, 1.0, -0.5, -0.6), *(row(n, 1.0, -0.5, share=1.0) for n in range(1, 9))]
    assert advice(Summary(compared, 45.0)).startswith("The noise hides"), "one row beside noise elsewhere says nothing"


def test_an_interval_is_told_of_enough_rows():
    few, enough = ("\n".join(told(Summary(SHINES[:n], 45.0))) for n in (4, 5))
    assert "the noise turns 0.0% of what images tell" in few
    assert re.search(r"loses 0\.\d\d nats by the row's noise, 0\.\d\d more than", few)
    assert "the noise turns 0.0% [0.0%, 0.0%] of what images tell" in enough


def test_the_summary_counts_what_it_saw_and_names_rows():
    summary = Summary([*SHINES, row(9, -1.0, -2.0, why_not="no room"), row(10, 2.0, -1.0, share=1.0)], 45.0)
    summary.skipped["it has no noised image"] += 3
    text = "\n".join(told(summary))
    assert "     3 rows left aside: it has no noised image" in text
    assert "    11 rows looked at, 1 of them noised all over" in text
    assert "    10   the image tells" in text
    assert "     1     turned        10.0%" in text
    assert "     9     still tells   90.0%" in text
    assert "rows that still tell most: row 8; row 7; row 6; row 5; row 4" in text
    assert "9 rows)" in text
    assert "sigma 90, region grown to 2 times" in text


def test_a_summary_of_nothing_says_so():
    assert list(told(Summary([], 45.0))) == ["No row could be looked at."]
    assert (
        "No image tells: the pairs come from wrong answers alone" in list(told(Summary([row(0, -1.0, -1.0)], 45.0)))[-1]
    )
