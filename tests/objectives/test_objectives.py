from dataclasses import replace

import pytest

from firempo_plugin.objectives.settings import Metric, Settings, metrics_of
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import GROUPS, Cell, Side


def settings(name: str, **changes) -> Settings:
    values = {"beta": 0.1, "alpha": 0.01, "gamma": 0.1, "kl_lambda": 0.5, "kl_scope": "phrase", "nll_weight": 0.0}
    return Settings(objective=OBJECTIVES[name], **(values | changes))


def cells(name: str, has_noised: bool, **changes) -> dict[str, str]:
    return {str(cell): scope for cell, scope in settings(name, **changes).cells(has_noised).items()}


def test_cells_name_image_and_response():
    images, responses = ("clean", "noised", "blind"), ("chosen", "rejected")
    assert [str(cell) for cell in Cell] == [f"{image}/{response}" for image in images for response in responses]


@pytest.mark.parametrize(
    ("name", "with_noised", "without_noised"),
    [
        ("fire_mpo", "clean/chosen clean/rejected noised/chosen noised/rejected", "clean/chosen clean/rejected"),
        ("fire_mpo_v1", "clean/chosen clean/rejected noised/chosen", "clean/chosen clean/rejected"),
        ("fire_mpo_v2", "clean/chosen clean/rejected noised/rejected", "clean/chosen clean/rejected"),
        ("rrpo", "clean/chosen clean/rejected", "clean/chosen clean/rejected"),
        ("mask_dpo", "clean/chosen clean/rejected", "clean/chosen clean/rejected"),
        ("dpo", "clean/chosen clean/rejected", "clean/chosen clean/rejected"),
        ("copo", "clean/chosen noised/chosen", ""),
        ("mdpo", "clean/chosen clean/rejected noised/chosen", "clean/chosen clean/rejected"),
        ("mmedpo", "clean/chosen noised/rejected", "clean/chosen clean/rejected"),
    ],
)
def test_only_the_cells_that_an_objective_uses_are_run(name, with_noised, without_noised):
    assert " ".join(cells(name, True, alpha=0.0)) == with_noised
    assert " ".join(cells(name, False, alpha=0.0)) == without_noised


def test_switched_off_parts_need_no_cells():
    assert " ".join(cells("fire_mpo", True, gamma=0.0)) == "clean/chosen clean/rejected"
    assert settings("fire_mpo", alpha=0.0).kl is None
    assert settings("dpo").kl is None, "DPO has no KL whatever alpha is"


def test_a_cell_is_scored_as_widely_as_its_widest_use():
    assert cells("fire_mpo", True)["clean/chosen"] == "phrase"
    assert cells("fire_mpo", True, kl_scope="response") == {
        "clean/chosen": "response",
        "clean/rejected": "phrase",
        "noised/chosen": "phrase",
        "noised/rejected": "phrase",
    }
    assert cells("mask_dpo", True, nll_weight=0.5)["clean/chosen"] == "response"


def test_kls_are_of_the_cells_that_need_them():
    assert settings("fire_mpo").kl_scopes(has_noised=True) == {Cell.CLEAN_CHOSEN: "phrase"}
    assert settings("tdpo2", sequence_kl_weight=0.5).kl_scopes(has_noised=True) == {
        Cell.CLEAN_CHOSEN: "response",
        Cell.CLEAN_REJECTED: "response",
    }
    assert settings("chip", sequence_kl_weight=0.1).kl_scopes(has_noised=False) == {}, "the term does not apply"
    for off in (settings("tdpo2"), settings("fire_mpo", alpha=0.0)):
        assert not off.needs_kl
        assert off.kl_scopes(has_noised=True) == {}
    assert settings("tdpo2", sequence_kl_weight=0.5).needs_kl


def test_a_consistency_joins_the_cells_of_its_terms():
    *_, consistency = settings("symmpo", consistency_weight=1.0).terms
    assert set(consistency.cells(has_noised=True)) == set(list(Cell)[:4])
    assert consistency.cells(has_noised=False) == ()
    assert len(settings("symmpo").terms) == 4, "without a weight it is no term"


def test_a_softmax_takes_the_cells_that_a_row_has():
    assert " ".join(cells("s_dpo", True)) == "clean/chosen clean/rejected noised/chosen noised/rejected"
    assert " ".join(cells("s_dpo", False)) == "clean/chosen clean/rejected"
    (rank,) = OBJECTIVES["s_dpo"].terms
    assert not replace(rank, sides=(rank.sides[0], rank.sides[2])).cells(has_noised=False), "nothing to compare with"
    assert not replace(rank, sides=(Side(1.0, (Cell.NOISED_CHOSEN,)), *rank.sides[1:])).cells(has_noised=False)


def test_objective_that_needs_a_noised_image_does_not_apply_without():
    without = {name for name, objective in OBJECTIVES.items() if not objective.applies(has_noised=False)}
    assert without == {"copo", "chip_no_kl", "chip", "s_vco"}
    assert all(objective.applies(has_noised=True) for objective in OBJECTIVES.values())


def test_every_group_has_objectives_and_every_objective_a_line_of_its_own_that_says_when_to_take_it():
    rows = OBJECTIVES.values()
    assert {row.group for row in rows} == set(GROUPS)
    assert len({row.use for row in rows}) == len(OBJECTIVES)
    assert all(row.use[0].isupper() or row.use.split()[0] in OBJECTIVES for row in rows)
    assert all(row.use.endswith(".") and "\n" not in row.use and "|" not in row.use for row in rows)


IN_MARGIN = ("target_margin", "length_weight", "sequence_kl_weight", "floor_weight", "consistency_weight")


@pytest.mark.parametrize(
    "change",
    [
        *({name: -0.1} for name in ("beta", "alpha", "gamma", "kl_lambda", "nll_weight")),
        *({name: float("nan")} for name in ("beta", "alpha", "gamma", "kl_lambda", "nll_weight")),
        {"beta": 0.0},
        {"beta": float("inf")},
        {"kl_lambda": 1.1},
        {"kl_scope": "word"},
        *({"phrase_weight": value} for value in (0.0, -1.0, float("inf"), float("nan"))),
        *({name: value} for name in IN_MARGIN for value in (-0.1, float("nan"))),
        *({"label_smoothing": value} for value in (-0.1, 0.5, float("nan"))),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="out of range"):
        settings("fire_mpo", **change)


@pytest.mark.parametrize("edge", [{"alpha": 0.0}, {"gamma": 0.0}, {"kl_lambda": 0.0}, {"kl_lambda": 1.0}], ids=str)
def test_the_edges_of_the_ranges_are_in_them(edge):
    assert vars(settings("fire_mpo", **edge)).items() >= edge.items()


def test_every_metric_is_named_by_its_term():
    names = list(metrics_of(settings("fire_mpo", nll_weight=0.5)))
    assert names == [
        "terms/rank",
        "terms/visual",
        "terms/kl_forward",
        "terms/kl_reverse",
        "terms/nll",
        "rewards/accuracies",
        "rewards/margins",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies_visual",
        "rewards/margins_visual",
    ]
    assert metrics_of(settings("fire_mpo", nll_weight=0.5))["rewards/margins_visual"] == Metric(1, "margin")


def test_an_objective_without_a_comparison_of_responses_has_no_rewards_of_them():
    assert list(metrics_of(settings("copo"))) == ["terms/image", "rewards/accuracies", "rewards/margins"]
