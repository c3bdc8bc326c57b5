"""What a method is said to need is what its formula, which test_relatives.py holds to its terms, shows."""

import re
from dataclasses import replace

import pytest

from firempo_plugin.objectives.guide import grouped, needs_of
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import GROUPS, KLTerm


@pytest.mark.parametrize("row", OBJECTIVES.values(), ids=OBJECTIVES)
def test_it_needs_what_its_formula_names(row):
    needs = needs_of(row)
    assert (needs.noised != "unused") == bool(re.search(r"\b[nb][cr]\b", row.formula))
    assert needs.phrases == bool(re.search(r"_[Pk]\(|\bKL\b", row.formula))
    assert needs.reference == bool(re.search(r"\bm?r(_\w)?\(", row.formula))


def test_the_words_of_the_needs():
    words = {name: needs_of(OBJECTIVES[name]).of_a_row for name in ("fire_mpo", "rrpo", "copo", "mmedpo", "orpo")}
    assert words == {
        "fire_mpo": ("phrases", "noised images, where rows have them"),
        "rrpo": ("phrases",),
        "copo": ("a noised image in every row",),
        "mmedpo": ("noised images, where rows have them",),
        "orpo": ("chosen and rejected alone",),
    }


def test_a_kl_sums_over_phrases_and_has_a_reference_whatever_else_is_scored():
    orpo = OBJECTIVES["orpo"]
    with_kl = replace(orpo, terms=(*orpo.terms, KLTerm()))
    for row, needed in ((orpo, False), (with_kl, True)):
        assert needs_of(row).phrases == needed
        assert needs_of(row).reference == needed


def test_every_objective_is_listed_once_in_the_order_of_the_groups():
    listed = [row for rows in grouped().values() for row in rows]
    assert sorted(row.name for row in listed) == sorted(OBJECTIVES)
    assert [GROUPS.index(row.group) for row in listed] == sorted(GROUPS.index(row.group) for row in listed)
    assert listed[0].name == "fire_mpo"
