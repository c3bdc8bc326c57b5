"""What a run keeps on disk never changes its numbers, and is never used where it does not belong."""

import os
import shutil
from itertools import cycle

import pytest
import torch
from PIL import Image
from places import TEMPLATES_DIR
from safetensors.torch import load_file, save_file
from test_layouts import check
from test_numbers import as_rows, pair
from tiny import SHARING, TEMPLATES
from torch.testing import assert_close
from trainers import load, step

from firempo_plugin.forward.disk import write_whole
from firempo_plugin.host.train.trainer import FireMPOTrainer

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


@pytest.mark.parametrize(("objective", "term"), [("fire_mpo", "kl_forward"), ("tdpo2", "rank")])
def test_later_runs_take_the_reference_from_the_cache_with_the_same_numbers(
    objective, term, train, adapter, tmp_path, count
):
    keys = {**KEYS, "adapter_name_or_path": str(adapter("qwen3_vl")), "fire_reference_cache": str(tmp_path / "cache")}
    keys["fire_objective"] = objective
    without = train(**{**keys, "fire_reference_cache": None})
    first = train(**keys)
    assert count["passes"]["run"] > 0
    second = train(**keys)
    assert count["passes"]["run"] == 0
    assert count["passes"]["known"] > 0
    for log in (first, second):
        assert_close(losses(log), losses(without), rtol=1e-5, atol=0)
        assert_close(log[-2][f"terms/{term}"], without[-2][f"terms/{term}"], rtol=1e-4, atol=0)


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


@pytest.fixture
def other_weights(checkpoint, tmp_path):
    """Returns a function that copies the checkpoint with one weight changed."""

    def make(part):
        other = tmp_path / "other"
        shutil.copytree(checkpoint("qwen3_vl"), other)
        weights = load_file(other / "model.safetensors")
        name = next(name for name in weights if part in name and name.endswith("weight"))
        weights[name] = weights[name] * 1.5
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
        return str(other)

    return make


@pytest.mark.parametrize(
    ("part", "known"),
    [
        ("layers.0.mlp.up_proj", {"passes": False, "images": True}),
        ("visual.blocks.0.attn.proj", {"passes": False, "images": False}),
    ],
)
def test_another_base_model_is_run_again(part, known, train, other_weights, tmp_path, count):
    folders = {"fire_reference_cache": str(tmp_path / "a"), "fire_vision_cache": str(tmp_path / "b")}
    keys = {**KEYS, **folders, "max_steps": 1}
    train(**keys)
    train(**keys, model_name_or_path=other_weights(part))
    assert {kind: counts["known"] > 0 for kind, counts in count.items()} == known


def test_rows_that_differ_in_their_phrases_alone_do_not_share_an_entry(
    train, adapter, write_dataset, scans, tmp_path, count
):
    """Both are scored over the whole response, and have the same number of phrase tokens."""
    images = sorted(path for path in (scans / "images").glob("*.png") if "noised" not in path.name)[:1]
    chosen, rejected = "The left lung shows a large mass.", "The right lung shows a small mass."
    rows = [
        pair("<image>What is seen?", chosen, rejected, phrases, images)
        for phrases in ((("left",), ("right",)), (("large",), ("small",)))
    ]
    keys = {"dataset": "pairs", "dataset_dir": str(write_dataset(as_rows(rows))), "pref_ftx": 0.1, "fire_alpha": 1.0}
    keys |= {"adapter_name_or_path": str(adapter("qwen3_vl")), "per_device_train_batch_size": 1, "max_steps": 2}
    keys |= {"disable_shuffling": True}
    without = train(**keys)
    for _ in range(2):
        log = train(**keys, fire_reference_cache=str(tmp_path / "cache"))
        for name in ("terms/kl_forward", "terms/kl_reverse", "loss"):
            assert_close([e[name] for e in log[:2]], [e[name] for e in without[:2]], rtol=1e-4, atol=1e-7)
    assert count["passes"]["run"] == 0


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


@pytest.mark.parametrize(("objective", "tuning"), [("fire_mpo", "full"), ("tdpo1", "full"), ("fire_mpo", "oft")])
def test_a_separate_reference_with_a_kl_has_no_output_layer_for_the_cache(
    objective, tuning, train, tmp_path, monkeypatch
):
    monkeypatch.setattr("llamafactory.model.load_model", None)
    keys = {**KEYS, "fire_objective": objective, "finetuning_type": tuning}
    with pytest.raises(ValueError, match="cannot be used with a reference of its own"):
        train(**keys, fire_reference_cache=str(tmp_path / "cache"))


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


@pytest.mark.parametrize("family", SHARING)
def test_later_runs_need_neither_pixels_nor_the_vision_tower(family, checkpoint, adapter, tmp_path):
    """Steps of two trainers whose models were loaded apart; some passes know all their images, others do not."""
    first, later = (
        load(
            checkpoint(family), TEMPLATES[family], "fire_mpo_mixed", TEMPLATES_DIR, tmp_path,
            adapter=adapter(family), fire_vision_cache=str(tmp_path / "cache"),
        )
        for _ in range(2)
    )  # fmt: skip
    rows = list(first.rows)

    def run(loaded, rows, **keys):
        trainer = loaded.trainer(pass_tokens=1, **keys)
        return step(trainer, trainer.data_collator(rows)["batch"]), trainer._caches.counts["images"]

    without, _ = run(first, rows, fire_vision_cache=None)
    _, images = run(first, rows[:2])
    assert images["run"] > 0
    partly, images = run(later, rows)
    assert images["run"] > 0
    assert images["known"] > 0
    second, images = run(later, rows)
    assert images["run"] == 0
    assert images["known"] > 0
    for found in (partly, second):
        check(found, without)


def test_both_caches_together(train, adapter, tmp_path, count, caplog):
    keys = {**KEYS, "fire_vision_cache": str(tmp_path / "a"), "fire_reference_cache": str(tmp_path / "b")}
    without = train(**KEYS)
    train(**keys)
    assert_close(losses(train(**keys)), losses(without), rtol=1e-5, atol=0)
    assert count["images"]["run"] == count["passes"]["run"] == 0
    said = "\n".join(caplog.messages)
    assert "fire_reference_cache: 4 of 4 passes skipped the reference" in said
    assert "images skipped the vision tower; it holds 0.00 GB" in said


def rot(file):
    content = file.read_bytes()
    file.write_bytes(content[:-100] + bytes(byte ^ 0x55 for byte in content[-100:]))


def not_a_number(file):
    content = {name: tensor for name, tensor in load_file(file).items() if name != "checksum"}
    write_whole(file, {name: x * torch.nan if x.is_floating_point() else x for name, x in content.items()})


def no_data(file):
    save_file({name: tensor[:0].clone() for name, tensor in load_file(file).items()}, file)


def replaced(make):
    def damage(file):
        file.unlink()
        make(file)

    return damage


DAMAGE = (
    rot,
    not_a_number,
    no_data,
    replaced(os.mkfifo),
    replaced(lambda file: file.symlink_to("/dev/zero")),
    replaced(os.mkdir),
)


def test_damaged_entries_are_run_again_and_counted(train, adapter, write_dataset, tmp_path, count, caplog):
    """A row for each kind of damage, with entries of its own."""
    rows = []
    for number in range(len(DAMAGE)):
        image = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 64), (40 * number, 9, 9)).save(image)
        rows.append(pair("<image>Which side?", f"Left {number}.", f"Right {number}.", (("Left",), ("Right",)), [image]))
    keys = {"dataset": "pairs", "dataset_dir": str(write_dataset(as_rows(rows))), "disable_shuffling": True}
    keys |= {"adapter_name_or_path": str(adapter("qwen3_vl")), "per_device_train_batch_size": 1, "max_steps": len(rows)}
    folders = {"fire_vision_cache": str(tmp_path / "a"), "fire_reference_cache": str(tmp_path / "b")}
    without = train(**keys)
    train(**keys, **folders)
    files = {key: sorted((tmp_path / folder).glob("*/*.safetensors")) for key, folder in folders.items()}
    for those in files.values():
        assert len(those) >= len(DAMAGE)
        for file, damage in zip(those, cycle(DAMAGE), strict=False):
            damage(file)
    caplog.clear()
    assert_close(losses(train(**keys, **folders)), losses(without), rtol=1e-5, atol=0)
    assert count["passes"]["known"] == count["images"]["known"] == 0
    said = "\n".join(caplog.messages)
    for key, those in files.items():
        assert f"{key}: {len(those)} times what lay at an entry's place was damaged" in said
    train(**keys, **folders)
    folders_left = {key: sum(file.is_dir() for file in those) for key, those in files.items()}
    assert 0 < count["images"]["run"] <= folders_left["fire_vision_cache"], "all else was written anew"
    assert 0 < count["passes"]["run"] <= folders_left["fire_reference_cache"]
    assert count["passes"]["known"] > 0


def test_a_full_cache_stops_growing(train, tmp_path, count):
    keys = {**KEYS, "fire_vision_cache": str(tmp_path / "cache"), "max_steps": 2}
    train(**keys, fire_vision_cache_gb=1e-9)
    assert len([*(tmp_path / "cache").rglob("*.safetensors")]) == 1
    assert count["images"]["run"] > 1


def test_a_tower_in_training_cannot_be_cached(train, tmp_path):
    with pytest.raises(ValueError, match=r"needs a frozen vision tower of a known family .* is in training"):
        train(**KEYS, freeze_vision_tower=False, fire_vision_cache=str(tmp_path / "cache"))
