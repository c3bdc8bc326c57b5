"""What a run logs, and its gradients, against eight plain forwards in float32 (tests/plain.py)."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from plain import Pair, plain_of
from relatives import DEFAULTS, PUBLISHED
from torch.testing import assert_close

from firempo_plugin.objectives.table import OBJECTIVES

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava", "gemma3", "huatuo_vision", "llava_med")


def spans(text, *phrases):
    return [[text.index(phrase), text.index(phrase) + len(phrase)] for phrase in phrases]


def pair(question, chosen, rejected, phrases, images=(), noised=(), weight=1.0):
    return Pair(
        question=question,
        chosen=chosen,
        rejected=rejected,
        chosen_spans=spans(chosen, *phrases[0]),
        rejected_spans=spans(rejected, *phrases[1]),
        images=[str(path) for path in images],
        rejected_images=[str(path) for path in noised],
        weight=weight,
    )


@pytest.fixture(scope="module")
def pairs(demo_data, tmp_path_factory):
    """Real scans: with and without a noised image, text only, several phrases, a noised image of another size."""
    clean = sorted(path for path in (demo_data / "images").glob("*.png") if "noised" not in path.name)[:2]
    noised = []
    for number, path in enumerate(clean):
        twin = Image.open(path).convert("RGB")
        twin = twin.resize((96, 120)) if number else twin.point(lambda value: (value * 7 + 90) % 256)
        noised.append(tmp_path_factory.mktemp("twin") / "noised.png")
        twin.save(noised[-1])
    return [
        pair(
            "<image>Which side is affected?",
            "The left lung shows a large mass.",
            "The right lung shows a small mass, with an effusion.",
            (("left", "large"), ("right", "small", ", with an effusion")),
            clean[:1],
            noised[:1],
        ),
        pair("<image>Is it normal?", "No.", "Yes.", (("No",), ("Yes",)), clean[1:], noised[1:], weight=2.5),
        pair("<image>What is shown?", "A CT scan.", "An MR scan.", (("A CT",), ("An MR",)), clean[1:]),
        pair("Is iodine a contrast agent?", "It is one.", "It is not one.", ((), ("not",))),
    ]


def as_rows(pairs):
    return [
        {
            "conversations": [{"from": "human", "value": p.question}],
            "chosen": {"from": "gpt", "value": p.chosen},
            "rejected": {"from": "gpt", "value": p.rejected},
            "images": p.images,
            "rejected_images": p.rejected_images,
            "chosen_spans": p.chosen_spans,
            "rejected_spans": p.rejected_spans,
            "chosen_weights": p.chosen_weights,
            "rejected_weights": p.rejected_weights,
            "weight": p.weight,
        }
        for p in pairs
    ]


def first_log(train, write_dataset, pairs, family, adapter, **keys):
    return train(
        family,
        dataset="pairs",
        dataset_dir=str(write_dataset(as_rows(pairs))),
        adapter_name_or_path=str(adapter(family)),
        per_device_train_batch_size=len(pairs),
        **keys,
    )[0]


@pytest.fixture
def gradients(monkeypatch):
    """A dict that gets the gradients of a step."""
    from firempo_plugin.host.train.trainer import FireMPOTrainer

    found = {}
    training_step = FireMPOTrainer.training_step

    def remember_gradients(self, model, *args, **kwargs):
        loss = training_step(self, model, *args, **kwargs)
        found.update({n: w.grad.clone() for n, w in model.named_parameters() if w.requires_grad})
        return loss

    monkeypatch.setattr(FireMPOTrainer, "training_step", remember_gradients)
    return found


def assert_gradients(found, plain, loss):
    expected = plain.gradients(loss)
    assert set(found) == set(expected)
    assert len(found) == 14 * plain.model.config.get_text_config().num_hidden_layers
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        assert scale > 0, name
        assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kl_scope", "reentrant"), [("phrase", True), ("response", False)])
def test_fire_mpo_is_what_eight_plain_forwards_give(
    family, kl_scope, reentrant, train, write_dataset, pairs, checkpoint, adapter, gradients
):
    """Under both kinds of gradient checkpointing; test_layouts.py is without."""
    keys = {"fire_kl_scope": kl_scope, "fire_lambda": 0.3, "fire_gamma": 0.7, "fire_alpha": 0.2, "pref_ftx": 0.1}
    log = first_log(train, write_dataset, pairs, family, adapter, use_reentrant_gc=reentrant, **keys)
    plain = plain_of(family, checkpoint(family), adapter(family))
    loss, parts = plain.batch(pairs, "fire_mpo", kl_scope=kl_scope, lam=0.3, gamma=0.7, alpha=0.2, ftx=0.1)
    assert_close(log["loss"], loss.item(), rtol=1e-4, atol=0)
    assert set(parts) == {"rank", "visual", "kl_forward", "kl_reverse", "nll"}
    for name, value in parts.items():
        assert_close(log[f"terms/{name}"], value, rtol=1e-4, atol=0)
    assert parts["kl_forward"] > 1e-3, "the adapter makes policy and reference differ"
    assert log["noised_share"] == 0.5
    assert_gradients(gradients, plain, loss)


@pytest.mark.parametrize("objective", ["copo", "fire_mpo_difference", "orpo", "rrpo", "s_vco", "tdpo2"])
def test_a_run_logs_what_plain_forwards_give(objective, train, write_dataset, pairs, checkpoint, adapter):
    """Each with terms of its own; every relative's are compared in test_layouts.py."""
    if not OBJECTIVES[objective].applies(has_noised=False):
        pairs = pairs[:2]
    log = first_log(train, write_dataset, pairs, "qwen3_vl", adapter, fire_objective=objective, pref_ftx=0.2)
    numbers = {**DEFAULTS.get(objective, {}), "nll": 0.2} if objective in PUBLISHED else {"ftx": 0.2}
    loss, parts = plain_of("qwen3_vl", checkpoint("qwen3_vl"), adapter("qwen3_vl")).batch(pairs, objective, **numbers)
    assert_close(log["loss"], loss.item(), rtol=1e-4, atol=0)
    for name, value in parts.items():
        assert_close(log[f"terms/{name}"], value, rtol=1e-4, atol=0)


def test_tokens_count_what_their_row_says(train, write_dataset, pairs, checkpoint, adapter):
    first = replace(pairs[0], chosen_weights=[[4, 8, 2.5], [17, 22, 0.0]])
    pairs = [first, replace(pairs[1], rejected_weights=[[0, 4, 0.3]]), *pairs[2:]]
    log = first_log(train, write_dataset, pairs, "qwen3_vl", adapter, fire_objective="tgdpo")
    plain = plain_of("qwen3_vl", checkpoint("qwen3_vl"), adapter("qwen3_vl"))
    loss, _ = plain.batch(pairs, "tgdpo")
    unweighted, _ = plain.batch([replace(p, chosen_weights=None, rejected_weights=None) for p in pairs], "tgdpo")
    assert abs(loss - unweighted) > 1e-3
    assert_close(log["loss"], loss.item(), rtol=1e-4, atol=0)


def test_the_findings_of_a_report_share_its_trees_and_keep_their_phrases(
    train, write_dataset, pairs, checkpoint, adapter, gradients
):
    """One prompt, one chosen text, two views; another statement each, noised on one view, on both, or the same one."""
    views = [*pairs[1].images, *pairs[0].images]
    twins = [*pairs[1].rejected_images, *pairs[0].rejected_images]
    report = "Small left effusion. No mass. Normal heart."
    turned = (
        (("left",), report.replace("left", "right"), ("right",), [views[0], twins[1]]),
        (("No",), report.replace("No", "A"), ("A",), twins),
        (("Normal",), report.replace("Normal", "Large"), ("Large",), [views[0], twins[1]]),
    )
    rows = [
        pair("<image><image>Describe it.", report, wrong, (right, words), views, noised)
        for right, wrong, words, noised in turned
    ]
    keys = {"fire_alpha": 0.2, "fire_gamma": 0.7, "fire_group_by_image": 3}
    log = first_log(train, write_dataset, rows, "qwen3_vl", adapter, **keys)
    plain = plain_of("qwen3_vl", checkpoint("qwen3_vl"), adapter("qwen3_vl"))
    loss, _ = plain.batch(rows, "fire_mpo", alpha=0.2, gamma=0.7)
    assert_close(log["loss"], loss.item(), rtol=1e-4, atol=0)
    assert_gradients(gradients, plain, loss)


def test_several_images_a_row(train, write_dataset, pairs, checkpoint, adapter):
    both = pair(
        "<image><image>Are they alike?",
        "They show one patient.",
        "They show two patients.",
        (("one patient",), ("two patients",)),
        [*pairs[0].images, *pairs[1].images],
        [*pairs[0].rejected_images, *pairs[1].images],
    )
    rows = [both, pairs[0]]
    log = first_log(train, write_dataset, rows, "qwen3_vl", adapter)
    loss, parts = plain_of("qwen3_vl", checkpoint("qwen3_vl"), adapter("qwen3_vl")).batch(rows, "fire_mpo")
    assert_close(log["loss"], loss.item(), rtol=1e-4, atol=0)
    assert_close(log["terms/visual"], parts["visual"], rtol=1e-4, atol=0)


def test_an_unlisted_architecture_takes_the_plain_path_with_the_same_numbers(
    train, write_dataset, pairs, checkpoint, adapter, monkeypatch
):
    from firempo_plugin.forward.families import FAMILIES as KNOWN

    shared = first_log(train, write_dataset, pairs, "qwen3_vl", adapter)
    monkeypatch.delitem(KNOWN, "qwen3_vl")
    plain = first_log(train, write_dataset, pairs, "qwen3_vl", adapter)
    assert_close(plain["loss"], shared["loss"], rtol=1e-6, atol=0)
    assert_close(plain["terms/visual"], shared["terms/visual"], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("kind", "rtol"), [("bf16", 2e-2), ("fp32", 1e-4)])
def test_full_tuning_has_a_separate_frozen_reference(kind, rtol, train, write_dataset, pairs, checkpoint):
    """At the first step policy and reference are the same model: rank = visual = log 2, KL = 0."""
    log = train(
        "qwen3_vl",
        finetuning_type="full",
        dataset="pairs",
        dataset_dir=str(write_dataset(as_rows(pairs))),
        per_device_train_batch_size=4,
        max_steps=2,
        bf16=kind == "bf16",
    )
    assert_close(log[0]["terms/rank"], torch.tensor(2.0).log().item(), rtol=rtol, atol=0)
    assert_close(log[0]["terms/visual"], torch.tensor(2.0).log().item(), rtol=rtol, atol=0)
    assert abs(log[0]["terms/kl_forward"]) < rtol
    assert log[1]["terms/kl_forward"] > log[0]["terms/kl_forward"], "the reference stays, the policy moves"
