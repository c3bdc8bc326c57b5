"""Curves over decoder layers in the table, from what the grounding measure stores of each item."""

import json

from firempo_plugin.evaluate.store import Measured
from firempo_plugin.evaluate.tables import by_layer


def item(name, ratios):
    values = {"attention_ratio": sum(ratios) / len(ratios)}
    return Measured(name, "", values, detail=json.dumps({"layers": [3, 0], "attention_ratio": ratios}))


def test_a_curve_is_the_mean_over_items_of_each_layer():
    skipped = Measured("c", "", {}, skipped="no boxes")
    found = by_layer([item("a", [4.0, 1.0]), item("b", [6.0, 3.0]), skipped])
    assert found == {"attention_ratio": {0: 2.0, 3: 5.0}}
    assert list(found["attention_ratio"]) == [0, 3]


def test_without_values_there_is_no_curve():
    assert by_layer([Measured("c", "", {}, skipped="no boxes")]) == {}
