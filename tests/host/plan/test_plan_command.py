"""`firempo plan` counts what training then does: tokens, operations, what caches hold, what weights take."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from bitsandbytes.functional import int8_vectorwise_quant, quantize_4bit
from places import TEMPLATES_DIR
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from firempo_plugin import cli
from firempo_plugin.host.plan import cost as costs
from firempo_plugin.host.plan.command import count
from firempo_plugin.host.plan.cost import cards
from firempo_plugin.host.plan.model import BITS_BYTES

BATCH = 2
ASSUMED = (0.2, 0.45)


@pytest.fixture
def config(checkpoint, tmp_path):
    """Returns a function that gives a training configuration, whose model has no weights."""

    def get(family="qwen3_vl", **keys):
        model = tmp_path / family
        if not model.exists():
            shutil.copytree(checkpoint(family), model, ignore=shutil.ignore_patterns("*.safetensors"))
        base = {
            "model_name_or_path": str(model), "template": tiny.TEMPLATES[family], "stage": "fire_mpo", "do_train": True,
            "finetuning_type": "lora", "lora_rank": 8, "lora_target": "all", "dataset": "fire_mpo_mixed",
            "dataset_dir": str(TEMPLATES_DIR), "cutoff_len": 1024, "output_dir": str(tmp_path / "never"),
            "per_device_train_batch_size": BATCH, "disable_shuffling": True, "num_train_epochs": 1,
            "report_to": "none",
        }  # fmt: skip
        return {**base, **keys}

    return get


@pytest.fixture
def counted(config, tmp_path):
    """Returns a function from keys of a configuration to its cost."""
    return lambda family="qwen3_vl", rows=100, **keys: count(config(family, **keys), str(tmp_path), rows)


@pytest.fixture
def written(config, tmp_path):
    """Returns a function that writes a training YAML."""

    def write(**keys):
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(config(**keys)))
        return str(path)

    return write


FULL = {"finetuning_type": "full", "lora_rank": None, "lora_target": None}
TOWER = {"freeze_vision_tower": False, "dataset": "fire_mpo_sharegpt"}


@pytest.mark.parametrize(
    ("family", "keys", "near"),
    [
        ("qwen3_vl", {}, 0.001),
        ("qwen3_vl", FULL, 0.001),
        ("qwen3_vl", TOWER, 0.03),
        ("qwen3_vl", {**FULL, **TOWER}, 0.03),
        ("qwen3_vl", {"fire_objective": "symmpo_4"}, 0.001),
        ("qwen2_5_vl", {"disable_gradient_checkpointing": True, "fire_objective": "simpo"}, 0.001),
        ("llava", {**FULL, "finetuning_type": "freeze", "freeze_trainable_layers": 1}, 0.001),
    ],
)
def test_tokens_and_operations_are_those_of_training(train, counted, family, keys, near):
    keys = {"use_cpu": True, "flash_attn": "disabled", **keys}
    counter = FlopCounterMode(display=False)
    with counter:
        log = train(
            family, num_train_epochs=1, max_steps=None, disable_shuffling=True, include_num_input_tokens_seen="all",
            fire_pass_tokens=200, **keys,
        )  # fmt: skip
    cost = counted(family, fire_pass_tokens=200, **{key: value for key, value in keys.items() if value is not None})
    assert cost.looked.work.policy.tokens == log[-1]["num_input_tokens_seen"]
    assert cost.steps == max(entry["step"] for entry in log)
    assert (cost.looked.passes > cost.looked.batches) == cost.frozen_tower
    found = cost.operations(cost.written.checkpointed).total
    assert found == pytest.approx(counter.get_total_flops(), rel=near)


def test_the_caches_hold_what_is_counted(train, counted, tmp_path):
    folders = {key: str(tmp_path / key) for key in ("fire_reference_cache", "fire_vision_cache")}
    cost = counted(use_cpu=True, **folders)
    train(num_train_epochs=1, max_steps=None, disable_shuffling=True, **folders)
    for key, expected in cost.cache_bytes().items():
        files = [load_file(file) for file in (tmp_path / key).glob("*/*.safetensors")]
        tensors = [tensor for file in files for name, tensor in file.items() if name not in ("checksum", "grid")]
        assert sum(tensor.nbytes for tensor in tensors) == pytest.approx(expected, rel=0.02), key


def test_quantised_weights_take_what_is_counted(counted, checkpoint, config, tmp_path):
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer

    cost = counted(quantization_bit=4, bf16=True)
    keys = config(quantization_bit=4, use_cpu=True, model_name_or_path=str(checkpoint("qwen3_vl")))
    model_args, *_, finetuning_args, _ = get_train_args(keys)
    model = load_model(load_tokenizer(model_args)["tokenizer"], model_args, finetuning_args, is_trainable=True)
    packed = sum(2 * weight.nbytes for weight in model.parameters() if type(weight).__name__ == "Params4bit")
    whole, quantised = (cost.budget(replace(cost.written, bits=bits)).weights for bits in (None, 4))
    assert cost.written.bits == 4
    assert whole - quantised == pytest.approx(packed * (4 - BITS_BYTES[4]), rel=1e-6)


def test_a_quantised_number_takes_its_bits_and_its_share_of_the_scales():
    numbers = torch.randn(1024, 1024)
    for bits, found in (
        (4, quantize_4bit(numbers, compress_statistics=True, quant_type="nf4")),
        (8, int8_vectorwise_quant(numbers.half())),
    ):
        tensors = [part for part in found if isinstance(part, torch.Tensor)]
        if bits == 4:
            state = found[1]
            tensors += [state.absmax, state.state2.absmax]
        size = sum(tensor.nbytes for tensor in tensors)
        assert size / numbers.numel() == pytest.approx(BITS_BYTES[bits], rel=0.005)


def test_a_later_epoch_costs_less_with_what_was_kept(counted, tmp_path):
    one, plain = counted(fire_reference_cache=str(tmp_path / "kept")), counted()
    two = counted(num_train_epochs=2, fire_reference_cache=str(tmp_path / "kept"))
    first, both = one.operations(False), two.operations(False)
    assert first == plain.operations(False)
    assert both.forward == pytest.approx(2 * first.forward)
    assert first.reference < both.reference < 1.1 * first.reference
    assert two.steps == 2 * one.steps


def test_a_sample_stands_for_all_rows(counted):
    whole, part = counted(), counted(rows=BATCH)
    assert part.looked.rows == BATCH < whole.looked.rows
    assert part.steps == whole.steps
    assert 0.5 < part.operations(True).total / whole.operations(True).total < 2


def test_the_largest_of_a_sample_is_not_called_that_of_all_rows(written, capsys):
    for rows, words in ("1", "the largest pair looked at ("), ("100", "the largest pair ("):
        assert cli.main(["plan", written(), "--rows", rows]) == 0
        assert words in capsys.readouterr().out


def test_a_full_training_has_a_reference_of_its_own(counted):
    full, adapter = counted(finetuning_type="full"), counted()
    lora = sum(weight.nbytes for name, weight in adapter._model.named_parameters() if ".lora_" in name)
    assert full.budget(full.written).weights == 2 * (adapter.budget(adapter.written).weights - lora)
    assert "fire_reference_cache" not in full.cache_bytes()
    assert {fit.choice.bits for fit in full.fits(cards()["L4"], ASSUMED)} == {None}
    assert {fit.choice.bits for fit in adapter.fits(cards()["L4"], ASSUMED)} == {None, 8, 4}


def test_the_first_that_fits_is_advised_and_passes_fill_the_card(counted, monkeypatch):
    from firempo_plugin.host.plan.told import _cheapest

    cost = counted()
    bits, without = cost.written.bits, replace(cost.written, checkpointed=False)
    assert cost.written.checkpointed
    roomy = cost.fits(costs.Card("roomy", 80, 300), ASSUMED)
    assert _cheapest(roomy).choice == without
    least = [cost.budget(choice).least for choice in (cost.written, without)]
    assert least[0] < least[1]
    between = sum(least) / 2 / costs.USABLE / costs.GIGABYTE
    small = cost.fits(costs.Card("small", between, 300), ASSUMED)
    assert (_cheapest(small).choice.bits, _cheapest(small).choice.checkpointed) == (bits, True)
    assert _cheapest(cost.fits(costs.Card("none", 1e-6, 300), ASSUMED)) is None
    fit = roomy[0]
    assert fit.hours[0] == pytest.approx(cost.operations(False).total / 300e12 / 0.45 / 3600)
    assert fit.hours[1] / fit.hours[0] == pytest.approx(0.45 / 0.2)


def test_where_a_batch_is_one_pass_smaller_batches_are_tried(counted):
    cost = counted(deepspeed="zero2.json", per_device_train_batch_size=4)
    budgets = [cost.budget(replace(cost.written, batch=batch)) for batch in (4, 2)]
    assert budgets[0].largest.tokens == pytest.approx(2 * budgets[1].largest.tokens, abs=2)
    between = (budgets[0].least + budgets[1].least) / 2 / costs.USABLE / costs.GIGABYTE
    fits = cost.fits(costs.Card("small", between, 300), ASSUMED)
    assert fits[1].choice == replace(cost.written, batch=2)
    assert fits[1].pass_tokens is None


def test_it_is_told_on_one_screen_and_as_json(written, capsys):
    path = written(bf16=True)
    assert cli.main(["plan", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 130
    assert "no GPU has been measured" in lines[0]
    assert all(any(line.startswith(name) for line in lines) for name in cards())
    assert cli.main(["plan", path, "--card", "rtx-3090", "--utilisation", "0.3"]) == 0
    told = capsys.readouterr().out
    assert "at 30% of peak" in told
    assert told.count("<- the cheapest that fits") == 1
    assert cli.main(["plan", path, "--json", "--card", "H200"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["utilisation"] == [0.2, 0.45]
    assert [card["name"] for card in found["cards"]] == ["H200"]
    assert found["cards"][0]["cheapest"]["fits"] is True
    assert found["memory"]["least"] == sum(
        found["memory"][part] for part in ("weights", "gradients_and_optimiser", "logits", "largest_pass")
    )


def test_what_cannot_be_counted_is_said(written, write_dataset, capsys, monkeypatch):
    row = {
        "conversations": [{"from": "human", "value": "Which side?"}], "chosen": {"from": "gpt", "value": "Left."},
        "rejected": {"from": "gpt", "value": "Right."}, "images": [], "rejected_images": [],
    }  # fmt: skip
    equal = {**row, "rejected": row["chosen"]}
    data = {"dataset": "pairs", "dataset_dir": str(write_dataset([row, equal]))}
    assert cli.main(["plan", written(**data)]) == 1
    assert "1 of them cannot be used, see `firempo validate`" in capsys.readouterr().out
    write_dataset([equal])
    assert cli.main(["plan", written(**data)]) == 1
    assert "no row that was looked at can be used. The first: pairs, row 0: " in capsys.readouterr().err
    assert cli.main(["plan", "pairs", f"dataset_dir={data['dataset_dir']}"]) == 1
    assert "no model is named" in capsys.readouterr().err
    monkeypatch.setattr("firempo_plugin.host.plan.rows.look", None)
    assert cli.main(["plan", written(family="mllama")]) == 1
    assert "firempo: mllama is not counted: " in capsys.readouterr().err
    monkeypatch.setattr("firempo_plugin.host.validate.start", None)
    assert cli.main(["plan", written(), "--card", "V100"]) == 1
    assert "--card: V100 is unknown. Write one of: RTX 3090, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["plan", written(), "--utilisation", "1.5"])
    assert "expected a share" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"val_size": 1000}, "val_size: 1000 leaves no row to train on, of 5 that there are"),
        ({"max_samples": -1}, "max_samples must be at least 1, found -1"),
        ({"num_train_epochs": 0}, "nothing is trained: 5 rows make 3 steps an epoch, and num_train_epochs is 0"),
        ({"enable_liger_kernel": True}, "run `pip install liger-kernel`"),
        ({"deepspeed": "zero.json", "fire_reference_cache": "{}"}, "fire_reference_cache cannot be used with deep"),
        ({"finetuning_type": "full", "fire_vision_cache": "{}"}, "fire_vision_cache cannot be used with a reference"),
    ],
)
def test_what_training_would_refuse_is_one_sentence(written, tmp_path, capsys, keys, sentence):
    kept = tmp_path / "kept"
    keys = {key: str(kept) if value == "{}" else value for key, value in keys.items()}
    assert cli.main(["plan", written(**keys)]) == 1
    assert sentence in capsys.readouterr().err
    assert not kept.exists()


def test_what_is_named_and_not_there_is_said(written, config, tmp_path, capsys):
    """None of it changes what is counted."""
    assert cli.main(["plan", written()]) == 0
    plain = capsys.readouterr().out
    away = str(tmp_path / "away")
    cases = (
        ({"ref_model": away, "fire_objective": "dpo"}, "ref_model: {} is neither a folder with a config.json nor"),
        ({"deepspeed": away}, "deepspeed: {} does not exist (looked in "),
        ({"fire_reference_cache": away}, "fire_reference_cache: {} does not exist: training makes it"),
        ({"fire_vision_cache": away}, "fire_vision_cache: {} does not exist: training makes it"),
    )
    for keys, sentence in cases:
        assert sentence.format(away) not in plain
        assert cli.main(["plan", written(**keys)]) == 0
        assert sentence.format(away) in capsys.readouterr().out
        assert cli.main(["plan", written(**keys), "--json"]) == 0
        assert sentence.format(away) in json.loads(capsys.readouterr().out)["notes"][0]
    file = Path(config()["model_name_or_path"]) / "config.json"
    untyped = {name: value for name, value in json.loads(file.read_text()).items() if name != "dtype"}
    for part in ("text_config", "vision_config"):
        untyped[part].pop("dtype", None)
    file.write_text(json.dumps(untyped))
    assert cli.main(["plan", written(ref_model=str(file.parent), fire_objective="dpo")]) == 0
    told = capsys.readouterr().out
    assert f"config.json of {file.parent} names no dtype: its weights are counted in float32" in told
    assert "ref_model" not in told
    assert "names no dtype" not in plain
    Path(away).mkdir()
    assert cli.main(["plan", written(fire_vision_cache=away)]) == 0
    assert "does not exist" not in capsys.readouterr().out


def test_words_for_shares_are_refused_in_words(capsys):
    with pytest.raises(SystemExit):
        cli.main(["plan", "train.yaml", "--utilisation", "fast"])
    assert "expected a share or a range of shares above 0, at most 1, found 'fast'" in capsys.readouterr().err


def test_rows_that_fill_no_batch_are_left_out_where_that_is_asked_for(counted):
    assert counted(dataloader_drop_last=True).steps == counted().steps - 1


def test_new_tokens_need_no_weights(counted):
    assert counted(resize_vocab=True, add_tokens="lesion,opacity").looked.work == counted().looked.work


def test_shards_have_no_caches(counted):
    assert not counted(deepspeed="zero2.json").cache_bytes()


def test_an_adapter_that_goes_on_is_counted_as_a_new_one(counted, adapter):
    """Its file is read; no weight of the model is there."""
    on, new = counted(adapter_name_or_path=str(adapter("qwen3_vl"))), counted()
    assert on.looked.work == new.looked.work
    assert on.budget(on.written).trained > 0


def test_without_trees_every_cell_is_a_sequence(counted):
    cost = counted(flash_attn="fa2")
    assert cost.looked.trees == cost.looked.cells
    assert cost.looked.shared > 1.3 * counted().looked.shared


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_weights_have_the_type_that_is_named_for_the_language_model_alone(config, tmp_path, finetuning_type):
    """As in the config.json of the released Qwen3-VL."""
    keys = config(bf16=True, finetuning_type=finetuning_type)
    file, found = Path(keys["model_name_or_path"]) / "config.json", []
    facts = {name: value for name, value in json.loads(file.read_text()).items() if name != "dtype"}
    for part in ("text_config", "vision_config"):
        facts[part].pop("dtype", None)
    alone = {**facts, "text_config": {**facts["text_config"], "dtype": "bfloat16"}}
    for written in ({**facts, "dtype": "bfloat16"}, alone):
        file.write_text(json.dumps(written))
        cost = count(keys, str(tmp_path), 2)
        found.append(cost.budget(cost.written))
    assert found[0].weights == found[1].weights
    assert found[0] == found[1]
