"""How a round is trained: whatever becomes of adapters, the rewards are relative to the model that was asked for."""

from pathlib import Path

import pytest

from firempo_plugin.align.policy import Policy, is_its_own_reference, training_keys

BASE, TUNED = Policy("base"), Policy("base", "first")
LATER = Policy("base", "later")
OUTPUT = Path("out")
TRAIN = {"template": "qwen3_vl_nothink", "adapter_name_or_path": "first", "output_dir": "elsewhere"}

CASES = {
    # mode, start, reference: what the host is told beside the checkpoint
    ("stack", BASE, BASE): {},
    ("stack", LATER, LATER): {"adapter_name_or_path": "later", "create_new_adapter": True},
    ("stack", LATER, BASE): {"adapter_name_or_path": "later", "create_new_adapter": True, "ref_model": "base"},
    ("stack", LATER, TUNED): {
        "adapter_name_or_path": "later",
        "create_new_adapter": True,
        "ref_model": "base",
        "ref_model_adapters": "first",
    },
    ("continue", BASE, BASE): {},
    ("continue", LATER, BASE): {"adapter_name_or_path": "later"},
    ("continue", LATER, LATER): {
        "adapter_name_or_path": "later",
        "ref_model": "base",
        "ref_model_adapters": "later",
    },
    ("merge", BASE, BASE): {},
    ("merge", TUNED, TUNED): {"adapter_name_or_path": "first", "create_new_adapter": True},
    ("merge", Policy("merged"), Policy("merged")): {},
    ("merge", Policy("merged"), BASE): {"ref_model": "base"},
    ("merge", Policy("merged"), TUNED): {"ref_model": "base", "ref_model_adapters": "first"},
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_the_host_is_told(case):
    mode, start, reference = case
    keys = training_keys(TRAIN, mode, start, reference, OUTPUT)
    own = {"stage": "fire_mpo", "do_train": True, "output_dir": "out", "overwrite_output_dir": False}
    own |= {"logging_steps": 1}
    expected = {"template": "qwen3_vl_nothink", "model_name_or_path": start.checkpoint, **own}
    assert keys == expected | CASES[case]
    alone = mode == "continue" and start != BASE
    assert is_its_own_reference(keys) == (start == reference and not alone)
