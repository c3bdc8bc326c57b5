"""What a run keeps on disk never changes its numbers, and is never used where it does not belong."""

import pytest
from PIL import Image
from torch.testing import assert_close

from firempo_plugin.host.trainer import FireMPOTrainer

KEYS = {"dataset": "fire_mpo_mixed", "max_steps": 4, "per_device_train_batch_size": 2}


@pytest.fixture
def count(monkeypatch):
    """Returns a dict that holds the counts of the last trainer's passes."""
    counts = {}
    init = FireMPOTrainer.__init__

    def remember(self, *args, **kwargs):
        init(self, *args, **kwargs)
        counts.update(self._caches.counts)

    monkeypatch.setattr(FireMPOTrainer, "__init__", remember)
    return counts


def losses(log):
    return [entry["loss"] for entry in log if "loss" in entry]


def test_later_runs_take_the_reference_from_the_cache_with_the_same_numbers(train, adapter, tmp_path, count):
    keys = {**KEYS, "adapter_name_or_path": str(adapter("qwen3_vl")), "fire_reference_cache": str(tmp_path / "cache")}
    without = train(**{**keys, "fire_reference_cache": None})
    first = train(**keys)
    assert count["passes"]["run"] > 0
    second = train(**keys)
    assert count["passes"]["run"] == 0
    assert count["passes"]["known"] > 0
    for log in (first, second):
        assert_close(losses(log), losses(without), rtol=1e-5, atol=0)
        assert_close(log[-2]["terms/kl_forward"], without[-2]["terms/kl_forward"], rtol=1e-4, atol=0)


def test_later_epochs_and_a_sweep_skip_the_reference(train, tmp_path, count):
    keys = {**KEYS, "fire_reference_cache": str(tmp_path / "cache"), "max_steps": -1}
    train(**keys, num_train_epochs=1)
    run = count["passes"]["run"]
    train(**keys, num_train_epochs=2, fire_alpha=0.5, fire_gamma=0.9, fire_lambda=0.1, pref_beta=0.2)
    assert count["passes"] == {"known": 2 * run}
    train(**keys, num_train_epochs=1, fire_gamma=0.0)
    assert count["passes"]["run"] == 0


def test_a_wider_kl_is_run_again(train, tmp_path, count):
    keys = {**KEYS, "fire_reference_cache": str(tmp_path / "cache"), "max_steps": 1}
    train(**keys)
    train(**keys, fire_kl_scope="response")
    assert count["passes"]["run"] > 0


def test_another_base_model_is_run_again(train, checkpoint, tmp_path, count):
    import shutil

    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(checkpoint("qwen3_vl"), other)
    weights = load_file(other / "model.safetensors")
    name = next(name for name in weights if "layers.0.mlp.up_proj" in name)
    weights[name] = weights[name] * 1.5
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    keys = {**KEYS, "fire_reference_cache": str(tmp_path / "cache"), "max_steps": 1}
    train(**keys)
    train(**keys, model_name_or_path=str(other))
    assert count["passes"]["known"] == 0


def test_another_image_at_the_same_path_is_run_again(train, write_dataset, scans, tmp_path, count):
    image = tmp_path / "scan.png"
    Image.new("RGB", (64, 64), (9, 9, 9)).save(image)
    row = {
        "conversations": [{"from": "human", "value": "<image>Which side?"}],
        "chosen": {"from": "gpt", "value": "Left."},
        "rejected": {"from": "gpt", "value": "Right."},
        "images": [str(image)],
        "rejected_images": [],
    }
    folder = str(write_dataset([row]))
    keys = {"dataset": "pairs", "dataset_dir": folder, "fire_reference_cache": str(tmp_path / "cache"), "max_steps": 1}
    train(**keys, per_device_train_batch_size=1)
    Image.new("RGB", (64, 64), (200, 9, 9)).save(image)
    train(**keys, per_device_train_batch_size=1)
    assert count["passes"]["known"] == 0


def test_a_folder_that_cannot_be_made_is_named_before_the_model_is_loaded(train, tmp_path, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="fire_reference_cache: nothing can be written to"):
        train(**KEYS, fire_reference_cache=str(tmp_path / "file" / "cache"))


def test_full_tuning_with_a_kl_has_no_output_layer_for_the_cache(train, tmp_path, monkeypatch):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    with pytest.raises(ValueError, match="cannot be used with a reference of its own"):
        train(**KEYS, finetuning_type="full", fire_reference_cache=str(tmp_path / "cache"))


def test_full_tuning_without_a_kl_may_keep_its_reference(train, tmp_path, count):
    keys = {**KEYS, "fire_reference_cache": str(tmp_path / "cache"), "finetuning_type": "full", "max_steps": 2}
    first = train(**keys, fire_objective="dpo")
    second = train(**keys, fire_objective="dpo")
    assert count["passes"]["run"] == 0
    assert_close(losses(first), losses(second), rtol=1e-5, atol=0)


def test_an_output_layer_in_training_is_refused(train, tmp_path):
    with pytest.raises(ValueError, match="while the output layer is in training"):
        train(**KEYS, additional_target="lm_head", fire_reference_cache=str(tmp_path / "cache"))


def test_a_disk_that_fills_up_does_not_end_the_run(train, tmp_path, monkeypatch, count):
    import errno

    from firempo_plugin.forward import reference_cache, vision_cache

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (reference_cache, vision_cache):
        monkeypatch.setattr(module, "write_whole", full)
    folders = {"fire_reference_cache": str(tmp_path / "a"), "fire_vision_cache": str(tmp_path / "b")}
    assert len(losses(train(**KEYS, **folders))) == 4
    assert count["passes"]["known"] == count["images"]["known"] == 0


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava"])
def test_later_runs_need_neither_pixels_nor_the_vision_tower(family, train, adapter, tmp_path, count):
    keys = {**KEYS, "adapter_name_or_path": str(adapter(family)), "fire_vision_cache": str(tmp_path / "cache")}
    keys |= {"fire_pass_tokens": 1}  # so that some passes know all their images and others do not
    without = train(family, **{**keys, "fire_vision_cache": None})
    first = train(family, **{**keys, "max_steps": 1})
    assert count["images"]["run"] > 0
    partly = train(family, **keys)
    second = train(family, **keys)
    assert count["images"]["run"] == 0
    assert count["images"]["known"] > 0
    assert_close(losses(first), losses(without)[:1], rtol=1e-5, atol=0)
    for log in (partly, second):
        assert_close(losses(log), losses(without), rtol=1e-5, atol=0)


def test_both_caches_together(train, adapter, tmp_path, count, caplog):
    keys = {**KEYS, "fire_vision_cache": str(tmp_path / "a"), "fire_reference_cache": str(tmp_path / "b")}
    without = train(**KEYS)
    train(**keys)
    assert_close(losses(train(**keys)), losses(without), rtol=1e-5, atol=0)
    assert count["images"]["run"] == count["passes"]["run"] == 0
    said = "\n".join(caplog.messages)
    assert "fire_reference_cache: 4 of 4 passes skipped the reference" in said
    assert "images skipped the vision tower; it holds 0.00 GB" in said


def test_a_full_cache_stops_growing(train, tmp_path, count):
    keys = {**KEYS, "fire_vision_cache": str(tmp_path / "cache"), "max_steps": 2}
    train(**keys, fire_vision_cache_gb=1e-9)
    assert len([*(tmp_path / "cache").rglob("*.safetensors")]) == 1
    assert count["images"]["run"] > 1


def test_a_tower_in_training_cannot_be_cached(train, tmp_path):
    with pytest.raises(ValueError, match=r"needs a frozen vision tower of a known family .* is in training"):
        train(**KEYS, freeze_vision_tower=False, fire_vision_cache=str(tmp_path / "cache"))
