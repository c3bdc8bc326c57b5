"""Gradient checkpointing of models whose layers share states: those of an image, or keys and values."""

import pytest


@pytest.mark.parametrize("family", ["mllama", "gemma4_small"])
def test_it_changes_neither_loss_nor_gradient(family, train, tmp_path):
    keys = {"dataset": "fire_mpo_sharegpt", "max_steps": 2, "disable_shuffling": True}
    kept, plain = (
        train(family, **keys, disable_gradient_checkpointing=off, output_dir=str(tmp_path / str(off)))
        for off in (False, True)
    )
    for name in ("loss", "grad_norm", "terms/visual", "terms/kl_forward"):
        values = [[step[name] for step in run if name in step] for run in (kept, plain)]
        assert len(values[0]) == 2
        assert values[0] == pytest.approx(values[1], rel=1e-5), name
    assert kept[1]["grad_norm"] > 0
