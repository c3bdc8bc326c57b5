"""The vision tower runs once per distinct image; the head sees scored positions only."""

from types import SimpleNamespace

import pytest
import torch

from firempo_plugin.forward.families import FAMILIES, ImageFeatures, SharedImageFeatures, is_frozen
from firempo_plugin.forward.score import Runner, head_at


def count_images(core, family):
    """Counts the images that the vision tower sees, by hooking its first module."""
    seen = []
    tower = core.get_submodule(FAMILIES[family].vision[0])

    def hook(module, args, kwargs):
        grid = kwargs.get("grid_thw", args[1] if len(args) > 1 else None)
        seen.append(len(grid) if grid is not None else len(args[0]))

    tower.register_forward_pre_hook(hook, with_kwargs=True)
    return seen


@pytest.mark.parametrize("part", ["vision_tower", "multi_modal_projector", "image_newline"])
def test_features_are_no_constants_while_any_part_of_them_is_in_training(part):
    core = torch.nn.Module()
    core.vision_tower, core.multi_modal_projector = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    core.image_newline = torch.nn.Parameter(torch.zeros(2))
    core.requires_grad_(False)
    core.language_model = torch.nn.Linear(2, 2)
    assert is_frozen(FAMILIES["llava_next"], core)
    getattr(core, part).requires_grad_()
    assert not is_frozen(FAMILIES["llava_next"], core)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava"])
def test_a_frozen_tower_runs_once_per_distinct_image_for_policy_and_reference(family, trainer_and_batch):
    """Five rows over two images: one clean, one noised; eight plain forwards would see 2 x 4 x 5 images."""
    trainer, batch = trainer_and_batch(family, "fire_mpo_sharegpt,fire_mpo_sharegpt_spans,fire_mpo_alpaca")
    seen = count_images(trainer.model.get_base_model().base_model, family)
    losses, _ = trainer.row_losses(trainer.model, batch)
    assert len(losses) == 5
    assert seen == [2]
    assert losses.requires_grad


def test_a_tower_in_training_runs_with_gradients_and_again_for_the_reference(trainer_and_batch):
    trainer, batch = trainer_and_batch("qwen3_vl", "fire_mpo_sharegpt", freeze_vision_tower=False)
    seen = count_images(trainer.model.get_base_model().base_model, "qwen3_vl")
    losses, _ = trainer.row_losses(trainer.model, batch)
    losses.mean().backward()
    assert seen == [2, 2]
    assert any("visual" in n and w.grad is not None for n, w in trainer.model.named_parameters())


def test_a_batch_without_images_runs(trainer_and_batch):
    trainer, _ = trainer_and_batch("qwen3_vl", "fire_mpo_mixed")
    batch = trainer.data_collator([row for row in trainer.train_dataset if not row["images"]])["batch"]
    losses, report = trainer.row_losses(trainer.model, batch)
    assert torch.isfinite(losses).all()
    assert not report["terms/visual"].applies.any()


def test_no_logits_but_at_scored_positions(trainer_and_batch, monkeypatch):
    trainer, batch = trainer_and_batch("qwen3_vl", "fire_mpo_sharegpt")
    shapes = []
    head = trainer.model.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    trainer.row_losses(trainer.model, batch)
    (only,) = batch.passes
    scored = len(only.scoring.token)
    assert shapes == [(scored, head.out_features)] * 2
    assert scored < only.inputs["input_ids"].numel() / 4


def test_the_methods_and_hooks_are_gone_afterwards(trainer_and_batch):
    trainer, batch = trainer_and_batch("qwen3_vl", "fire_mpo_sharegpt")
    base = trainer.model.get_base_model()
    trainer.row_losses(trainer.model, batch)
    assert "get_image_features" not in vars(base.base_model)
    assert not base.get_output_embeddings()._forward_pre_hooks


def test_they_are_gone_after_an_error_too(trainer_and_batch):
    trainer, batch = trainer_and_batch("qwen3_vl", "fire_mpo_sharegpt")
    base = trainer.model.get_base_model()
    pixels = batch.images.inputs
    pixels["pixel_values"] = pixels["pixel_values"][:-4]
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the model says to missing pixels
        trainer.row_losses(trainer.model, batch)
    assert "get_image_features" not in vars(base.base_model)
    assert not base.get_output_embeddings()._forward_pre_hooks


def test_a_model_that_never_calls_its_head_is_refused():
    head = torch.nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match="computes its logits in another way"), head_at(head, torch.tensor([0]), 0):
        pass


def test_a_model_without_output_embeddings_is_refused():
    class Headless:
        def get_output_embeddings(self):
            return None

    with pytest.raises(ValueError, match="no output embeddings"):
        Runner.of(torch.nn.Identity(), Headless())


def features_of(*images):
    """What a model's own method returns of images given as (tokens, value)."""
    pooled = [torch.full((tokens, 1), float(value)) for tokens, value in images]
    return SimpleNamespace(pooler_output=tuple(pooled), deepstack_features=[torch.cat(pooled) * 10])


def test_features_are_spread_over_places_with_their_deepstack_layers():
    core = SimpleNamespace(get_image_features=None)
    core.get_image_features = lambda: features_of((2, 1), (3, 2))
    with SharedImageFeatures(FAMILIES["qwen3_vl"], frozen=True).on(core, [1, 0, 1]):
        places = core.get_image_features()
    assert [len(image) for image in places.pooler_output] == [3, 2, 3]
    assert places.deepstack_features[0].flatten().tolist() == [20.0] * 3 + [10.0] * 2 + [20.0] * 3


def test_known_features_take_the_places_of_their_images():
    known = {1: ImageFeatures(torch.full((1, 1), 7.0), [torch.full((1, 1), 70.0)])}
    shared = SharedImageFeatures(FAMILIES["qwen3_vl"], frozen=True, known=known)
    core = SimpleNamespace(get_image_features=lambda: features_of((2, 1), (3, 2)))
    with shared.on(core, [0, 1, 2]):
        places = core.get_image_features()
    assert [image.flatten().tolist() for image in places.pooler_output] == [[1.0, 1.0], [7.0], [2.0, 2.0, 2.0]]
    assert sorted(shared.computed(core)) == [0, 2]


def test_the_tower_rests_where_all_is_known():
    known = {0: ImageFeatures(torch.ones(1, 1), [torch.ones(1, 1)])}
    core = SimpleNamespace(get_image_features=None)
    shared = SharedImageFeatures(FAMILIES["qwen3_vl"], frozen=True, known=known)
    with shared.on(core, [0]):
        assert core.get_image_features().pooler_output[0].item() == 1.0
    assert shared.computed(core) == {}


def test_a_pass_whose_images_are_all_known_leaves_the_others_to_the_next():
    known = {0: ImageFeatures(torch.full((1, 1), 7.0), [torch.full((1, 1), 70.0)])}
    calls = []
    core = SimpleNamespace(get_image_features=lambda: calls.append(1) or features_of((2, 1)))
    compute = core.get_image_features
    shared = SharedImageFeatures(FAMILIES["qwen3_vl"], frozen=True, known=known)
    for index, expected in (([0], [7.0]), ([1], [1.0]), ([1, 0], [1.0, 7.0])):
        core.get_image_features = compute
        with shared.on(core, index):
            places = core.get_image_features()
        assert [image[0].item() for image in places.pooler_output] == expected
    assert calls == [1], "the tower runs once, and not before it is needed"


def test_the_tiles_of_an_image_stay_together():
    """Of three images, the second is known; the last has two tiles."""
    known = {1: ImageFeatures(torch.full((2, 1), 7.0), [])}
    tiles = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 2, 1)
    core = SimpleNamespace(get_image_features=lambda: SimpleNamespace(pooler_output=tiles))
    shared = SharedImageFeatures(FAMILIES["internvl"], frozen=True, known=known, pieces=[1, 2])
    with shared.on(core, [2, 1, 0]):
        places = core.get_image_features()
    assert places.pooler_output.flatten().tolist() == [2.0, 2.0, 3.0, 3.0, 7.0, 7.0, 1.0, 1.0]
    assert [len(image.pooled) for image in shared.computed(core).values()] == [2, 4]
