"""Orders of the rows: grouped by image, and by length."""

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from firempo_plugin.host.data.collator import FireCollator


@pytest.fixture
def many_on_few_images(write_dataset, tmp_path):
    """Twelve rows on three images, in an order that never has one image twice in a row."""
    for name in ("a", "b", "c"):
        image = Image.effect_noise((64, 64), 40 + ord(name)).convert("RGB")
        image.save(tmp_path / f"{name}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / f"{name}-.png")
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>Question {number}?"}],
            "chosen": {"from": "gpt", "value": f"It is the left one of {number}."},
            "rejected": {"from": "gpt", "value": f"It is the right one of {number}."},
            "images": [str(tmp_path / f"{name}.png")],
            "rejected_images": [str(tmp_path / f"{name}-.png")],
        }
        for number, name in enumerate("abc" * 4)
    ]
    return {"dataset": "pairs", "dataset_dir": str(write_dataset(rows)), "per_device_train_batch_size": 4}


@pytest.fixture
def trees(monkeypatch):
    """A list that gets the number of trees of every batch."""
    counts = []
    collate = FireCollator.__call__

    def remember(self, features):
        batch = collate(self, features)
        counts.append(sum(len(each.inputs["input_ids"]) for each in batch["batch"].passes))
        return batch

    monkeypatch.setattr(FireCollator, "__call__", remember)
    return counts


def losses(log):
    return [entry["loss"] for entry in log if "loss" in entry]


def test_rows_on_one_image_come_together_and_share_its_trees(train, many_on_few_images, trees):
    train(**many_on_few_images, fire_group_by_image=4, max_steps=3)
    assert trees == [2, 2, 2], "each batch has one clean and one noised image"


def test_two_together_leave_two_images_in_a_batch(train, many_on_few_images, trees):
    train(**many_on_few_images, fire_group_by_image=2, max_steps=3)
    assert trees[0] == 4


def test_a_resumed_run_goes_on_in_the_same_order(train, many_on_few_images, tmp_path):
    keys = {**many_on_few_images, "fire_group_by_image": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    whole = losses(train(**keys))
    resumed = losses(train(**keys, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4")))
    assert_close(torch.tensor(resumed), torch.tensor(whole), rtol=1e-5, atol=0)


def test_rows_of_like_length_come_together(train, many_on_few_images, trees):
    assert len(losses(train(**many_on_few_images, train_sampling_strategy="group_by_length", max_steps=3))) == 3


@pytest.mark.parametrize(
    "keys",
    [
        {"disable_shuffling": True},
        {"train_sampling_strategy": "group_by_length"},
        {"per_device_train_batch_size": 1},
    ],
)
def test_orders_that_exclude_each_other_are_refused(train, many_on_few_images, keys):
    with pytest.raises(ValueError, match="does not support fire_group_by_image with"):
        train(**{**many_on_few_images, "fire_group_by_image": 2, **keys})
