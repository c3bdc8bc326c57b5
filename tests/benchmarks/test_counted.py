"""What is counted of real sizes is what docs/speed.md shows."""

import sys
from dataclasses import replace

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import counted
from presets import PRESETS

from firempo_plugin.forward.flops import Text


def test_the_readme_shows_what_is_counted():
    assert "\n".join(counted.table(PRESETS["qwen3_vl_4b"])) in (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")


def test_trees_by_hand():
    """Question, the 17 shared words of both responses, and of either phrase all tokens but the last."""
    length = 100 + 30 + 17
    work = counted.ours(100, 1)
    seen = length * (length + 1) // 2 + 2 * sum(range(length + 1, length + 6))
    assert work.policy == work.reference == Text(2 * (length + 10), 2 * seen, 4 * 6)
    assert work.patches == (400, 400)
    assert counted.cached(100, 1).reference == Text(scored=6)
    assert counted.all_cached(100, 1).patches == ()


def test_pairs_on_one_image_share_its_tokens():
    assert counted.ours(100, 4).policy.tokens == 2 * (100 + 4 * (30 + 17 + 10))


@pytest.mark.parametrize("way", counted.WAYS, ids=lambda way: way.title)
def test_checkpointing_costs_a_forward_of_the_policy(way):
    model = counted.model_of(PRESETS["qwen3_vl_4b"])
    found = [counted.operations(model, replace(way, checkpointing=on), 1024) for on in (False, True)]
    assert 1.2 < found[1] / found[0] < 1.5
