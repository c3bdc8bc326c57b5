"""Every way of laying out a batch gives the loss and the gradients of eight plain forwards (tests/plain.py)."""

import copy
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from plain import Plain, plain_of
from relatives import DEFAULTS, PUBLISHED
from test_numbers import as_rows, pair
from tiny import TEMPLATES, WITH_TREES
from torch.testing import assert_close
from trainers import load, step

from firempo_plugin.objectives.table import OBJECTIVES

NUMBERS = {"fire_alpha": 0.2, "fire_gamma": 0.7, "fire_lambda": 0.3}


@pytest.fixture(scope="module")
def odd_pairs(demo_data, tmp_path_factory):
    """Rows of odd shapes over images of several sizes; some share an image, a prompt or leading words."""
    folder = tmp_path_factory.mktemp("odd")
    scans = sorted(path for path in (demo_data / "images").glob("*.png") if "noised" not in path.name)
    images = {}
    for name, source, size in (("a", 0, (64, 64)), ("b", 1, (112, 56)), ("c", 0, (40, 200))):
        images[name] = folder / f"{name}.png"
        Image.open(scans[source]).convert("RGB").resize(size).save(images[name])
        images[f"{name}-"] = folder / f"{name}_noised.png"
        Image.open(images[name]).point(lambda value: (value * 7 + 90) % 256).save(images[f"{name}-"])
    images["wide"] = folder / "wide_noised.png"
    Image.open(images["a-"]).resize((96, 120)).save(images["wide"])

    def on(*names):
        return [images[name] for name in names]

    long = "There is a mass in the left lower lobe, and nothing else is seen."
    turned = long.replace("left", "right")
    return [
        pair("<image>Which side?", "Left.", "Right.", (("Left",), ("Right",)), on("a"), on("a-")),
        pair("<image>Which side?", long, turned, (("left",), ("right",)), on("a"), on("a-"), weight=2.0),
        pair("<image>What is it?", "A CT.", "An MR.", (("A CT.",), ("An MR.",)), on("b"), on("b-")),
        pair("<image>What is it?", "A CT of one.", "A CT.", ((" of one",), ()), on("b")),
        pair("Look: <image>How many?", "Two, I think.", "Ten, I think.", (("Two",), ("Ten",)), on("c"), on("c-")),
        pair(
            "<image>Then <image>what changed?",
            "It grew by half.",
            "It shrank by half.",
            (("grew",), ("shrank",)),
            on("a", "c"),
            on("a-", "c"),
        ),
        pair("<image>Where?", "On top.", "Below.", (("On top",), ("Below",)), on("a"), on("wide")),
        pair("Is iodine a contrast agent?", "Yes, it is.", "Yes, it is not.", ((), ("not",))),
    ]


def rows_for(objective, pairs):
    """Those that the objective can be trained on."""
    return [each for each in pairs if OBJECTIVES[objective].applies(bool(each.rejected_images))]


@pytest.fixture(scope="module")
def plain(odd_pairs, checkpoint, adapter):
    """Returns a function from family, objective and NLL weight to the odd rows' plain loss, gradients and terms."""
    known, models = {}, {}

    def compute(family, objective="fire_mpo", nll=0.0):
        if (family, objective, nll) not in known:
            if family not in models:
                models.clear()  # with what its forwards hold
                models[family] = Plain(family, checkpoint(family), adapter(family))
            model = models[family]
            published = {**DEFAULTS.get(objective, {}), "nll": nll}
            ours = {"alpha": 0.2, "gamma": 0.7, "lam": 0.3, "ftx": nll}
            numbers = published if objective in PUBLISHED else ours
            loss, terms = model.batch(rows_for(objective, odd_pairs), objective, **numbers)
            known[family, objective, nll] = (loss.detach(), model.gradients(loss), terms)
        return known[family, objective, nll]

    return compute


@pytest.fixture(scope="module")
def odd_rows(odd_pairs, write_dataset_to, checkpoint, adapter, tmp_path_factory):
    """Returns a function from a family and the host's `flash_attn` to its model with the odd rows, loaded once.

    Without gradient checkpointing, under which test_every_template.py sees every family.
    """
    folder = write_dataset_to(tmp_path_factory.mktemp("odd_rows"), as_rows(odd_pairs))

    @lru_cache(maxsize=2)  # both kinds of attention of a family
    def get(family, flash_attn="auto"):
        model = {"flash_attn": flash_attn, "disable_gradient_checkpointing": True}
        return load(
            checkpoint(family), TEMPLATES[family], "pairs", folder, folder, adapter=adapter(family), model=model
        )

    return get


LAYOUTS = {
    "one pass": ("auto", None),
    "a pass for every component": ("auto", 1),
    "passes of a few trees, eager attention": ("disabled", 300),
}
"""Kind of attention, and most tokens of a pass."""


NOISE = dict.fromkeys(("gemma4", "gemma4_small", "gemma4n"), 5e-5)
"""Of a gradient's largest entry, where it is more than 1e-5: two plain forwards, sdpa and eager, differ by 2.6e-5."""


def check(found, expected, noise=1e-5):
    (loss, gradients), (plain_loss, plain_gradients, *_) = found, expected
    assert_close(loss, plain_loss, rtol=1e-5, atol=0)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        scale = gradient.abs().max().item()
        assert_close(gradients[name], gradient, rtol=1e-4, atol=noise * scale, msg=lambda m, n=name: f"{n}: {m}")


def trainer_on(loaded, rows=None, **keys):
    """A trainer, and one batch of all rows or of some."""
    trainer = loaded.trainer(**keys)
    return trainer, trainer.data_collator(list(loaded.rows) if rows is None else rows)["batch"]


@pytest.mark.parametrize(("flash_attn", "pass_tokens"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("family", WITH_TREES)
def test_odd_rows(family, flash_attn, pass_tokens, odd_rows, plain):
    trainer, batch = trainer_on(odd_rows(family, flash_attn), pass_tokens=pass_tokens, **NUMBERS)
    trees = [each for each in batch.passes if each.end is not None]
    assert trees, "trees with branches are run"
    assert (len(batch.passes) > 1) == (pass_tokens is not None)
    check(step(trainer, batch), plain(family), NOISE.get(family, 1e-5))


@pytest.mark.parametrize("pass_tokens", [None, 300])
@pytest.mark.parametrize("family", ["qwen3_5", "qwen3_5_moe"])
def test_odd_rows_of_a_model_whose_layers_carry_a_state(family, pass_tokens, odd_rows, plain):
    """A state knows no branches: there are no trees, but every image is seen once."""
    trainer, batch = trainer_on(odd_rows(family), pass_tokens=pass_tokens, **NUMBERS)
    assert all(each.end is None for each in batch.passes)
    assert len(batch.images.inputs["image_grid_thw"]) == 7
    check(step(trainer, batch), plain(family))


@pytest.mark.parametrize("pass_tokens", [None, 300])
def test_odd_rows_of_a_model_that_attends_to_the_states_of_images(pass_tokens, odd_rows, plain):
    """What fills a batch up to the most images of a row would be seen by the tokens before the first image."""
    trainer, batch = trainer_on(odd_rows("mllama"), pass_tokens=pass_tokens, **NUMBERS)
    assert pass_tokens is not None or len(batch.passes) == 3, "rows with one image, with two and with none"
    check(step(trainer, batch), plain("mllama"))


def test_text_alone_of_a_model_that_attends_to_the_states_of_images(odd_pairs, odd_rows, checkpoint, adapter):
    loaded = odd_rows("mllama")
    trainer, batch = trainer_on(loaded, list(loaded.rows)[-1:], **NUMBERS)
    model = plain_of("mllama", checkpoint("mllama"), adapter("mllama"))
    expected, _ = model.batch(odd_pairs[-1:], "fire_mpo", alpha=0.2, gamma=0.7, lam=0.3)
    loss, gradients = step(trainer, batch)
    assert_close(loss, expected.detach(), rtol=1e-5, atol=0)
    assert all(gradient is not None for gradient in gradients.values()), "several processes wait for every one"


@pytest.mark.parametrize("flash_attn", ["sdpa", "disabled"])
@pytest.mark.parametrize("family", ["llava_mistral", "llava_phi3", "llava_gemma3", "qwen2_5_vl_windows"])
def test_odd_rows_that_are_longer_than_the_window(family, flash_attn, odd_rows, plain):
    trainer, batch = trainer_on(odd_rows(family, flash_attn), pass_tokens=300, **NUMBERS)
    assert any(each.end is not None for each in batch.passes), "trees with branches are run"
    check(step(trainer, batch), plain(family))


@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - {"fire_mpo"}))
def test_odd_rows_under_the_relatives(objective, odd_pairs, odd_rows, plain):
    """Loss, gradients and terms. These join other cells, so that the passes are cut elsewhere."""
    own = {"fire_mpo_v1": NUMBERS, "fire_mpo_v2": NUMBERS, "rrpo": {"fire_alpha": 0.2}}
    loaded, trainable = odd_rows("qwen3_vl"), rows_for(objective, odd_pairs)
    rows = [row for row, each in zip(loaded.rows, odd_pairs, strict=True) if each in trainable]
    keys = {"fire_objective": objective, "pref_ftx": 0.2, **own.get(objective, {})}
    trainer, batch = trainer_on(loaded, rows, pass_tokens=1, **keys)
    expected = plain("qwen3_vl", objective, nll=0.2)
    check(step(trainer, batch), expected)
    found = trainer._train_means.take()
    for name, value in expected[-1].items():
        assert_close(found[f"terms/{name}"], value, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_a_tower_in_training_gets_the_gradients_of_the_plain_path(
    odd_pairs, trainer_and_batch, write_dataset, monkeypatch
):
    from firempo_plugin.forward.families import FAMILIES as KNOWN

    def gradients():
        torch.manual_seed(5)
        trainer, batch = trainer_and_batch(
            "qwen3_vl",
            "pairs",
            dataset_dir=write_dataset(as_rows(odd_pairs)),
            freeze_vision_tower=False,
            pass_tokens=1,
        )
        assert len(batch.passes) == 1, "features in training are computed once, for one backward"
        return step(trainer, batch)

    packed = gradients()
    monkeypatch.delitem(KNOWN, "qwen3_vl")
    plain_path = gradients()
    assert any("visual" in name and gradient.abs().max() > 0 for name, gradient in plain_path[1].items())
    check(packed, plain_path)


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(odd_pairs, trainer_and_batch, write_dataset):
    from firempo_plugin.host.data.collator import FireCollator

    trainer, batch = trainer_and_batch("qwen3_vl", "pairs", dataset_dir=write_dataset(as_rows(odd_pairs)))
    collator = trainer.data_collator
    tokens = {"tokenizer": copy.copy(collator.tokenizer), "processor": collator.processor}
    tokens["tokenizer"].padding_side = "left"
    left = FireCollator.of(
        trainer.model,
        replace(collator.template, mm_plugin=collator.template.mm_plugin.plugin),
        trainer.settings,
        tokens,
        None,
    )
    rows = list(trainer.train_dataset)
    for ours, theirs in zip(left(rows)["batch"].passes, batch.passes, strict=True):
        assert_close(ours.inputs, theirs.inputs)
        assert_close(vars(ours.scoring), vars(theirs.scoring))
    assert tokens["tokenizer"].padding_side == "left", "the tokenizer itself is left alone"


def test_a_model_class_that_is_not_known_runs_no_trees():
    from firempo_plugin.host.data.collator import obstacle_to_trees

    assert "idefics3 is not among" in obstacle_to_trees(SimpleNamespace(config=SimpleNamespace(model_type="idefics3")))
