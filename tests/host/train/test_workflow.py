"""What the stage refuses before anything is loaded."""

import json
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from datasets import Dataset
from llamafactory.data.template import TEMPLATES
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image

from firempo_plugin.errors import UserError
from firempo_plugin.host.arguments import settings_of
from firempo_plugin.host.train.workflow import (
    _train,
    refuse_blind_cells,
    refuse_mixed_images,
    refuse_unsupported,
    starts_apart,
)


def refuse(model_keys=None, **training):
    args = {
        "do_train": True,
        "neftune_noise_alpha": None,
        "train_sampling_strategy": "random",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "report_to": [],
        "device": torch.device("cpu"),
        "world_size": 1,
        "deepspeed": None,
        "fsdp": "",
        "torch_compile": False,
        "fp8": False,
        "fp8_enable_fsdp_float8_all_gather": False,
        **training,
    }
    model_args = ModelArguments(model_name_or_path="model", **model_keys or {})
    finetuning_args = FinetuningArguments(stage="fire_mpo")
    refuse_unsupported(model_args, DataArguments(), SimpleNamespace(**args), finetuning_args)


def zero(stage):
    config = {"zero_optimization": {"stage": stage}}
    return {"deepspeed": config, "hf_deepspeed_config": HfDeepSpeedConfig(config)}


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_with_several_processes_on_a_cpu(stage):
    with pytest.raises(ValueError, match=r"does not support deepspeed with several processes on a CPU\. .* no numbers"):
        refuse(**zero(stage), world_size=2)


def test_deepspeed_elsewhere():
    refuse(**zero(3), world_size=1)
    refuse(**zero(3), world_size=2, device=torch.device("cuda"))
    refuse(**zero(1), world_size=2)


def test_pan_and_scan():
    with pytest.raises(ValueError, match=r"does not support image_do_pan_and_scan\. Remove it"):
        refuse({"image_do_pan_and_scan": True})


def test_compiled_models():
    with pytest.raises(ValueError, match="does not support torch_compile"):
        refuse(torch_compile=True)


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "gradient_accumulation_steps"])
def test_steps_without_rows(key):
    with pytest.raises(UserError, match=rf"does not support {key}: 0\. Write a whole number of at least 1"):
        refuse(**{key: 0})


@pytest.mark.parametrize("key", ["fp8", "fp8_enable_fsdp_float8_all_gather"])
def test_fp8_that_the_host_sets_up_elsewhere(key):
    with pytest.raises(UserError, match=r"does not support fp8\. Remove it"):
        refuse(**{key: True})


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ({}, True),
        ({"create_new_adapter": True}, False),
        ({"ref_model": "model"}, False),
        ({"finetuning_type": "freeze"}, False),
        ({"adapter_name_or_path": None}, False),
    ],
)
def test_an_adapter_that_goes_on_starts_apart_from_its_reference(keys, warned):
    keys = {"adapter_name_or_path": "saves/one", **keys}
    model_args = ModelArguments(model_name_or_path="model", adapter_name_or_path=keys.pop("adapter_name_or_path"))
    told = starts_apart(model_args, FinetuningArguments(stage="fire_mpo", **keys))
    assert bool(told) == warned
    assert not warned or "saves/one goes on training" in told


@pytest.mark.parametrize("size", [(64, 64), (700, 300)])
def test_pan_and_scan_fails_in_the_host_with_any_image(size, checkpoint):
    """As long as it does, there is nothing to support."""
    model_args = ModelArguments(model_name_or_path=str(checkpoint("gemma3")), image_do_pan_and_scan=True)
    processor = load_tokenizer(model_args)["processor"]
    plugin = TEMPLATES["gemma3"].mm_plugin
    with pytest.raises(IndexError, match="invalid index of a 0-dim tensor"):
        plugin.process_messages([{"role": "user", "content": "<image>?"}], [Image.new("RGB", size)], [], [], processor)


def test_cells_without_an_image_are_refused_where_rows_run_by_their_images(checkpoint):
    model_args = ModelArguments(model_name_or_path=str(checkpoint("mllama")))
    with pytest.raises(
        UserError, match="fire_objective: s_vco compares with the prompt without an image, which mllama"
    ):
        refuse_blind_cells(model_args, settings_of(FinetuningArguments(stage="fire_mpo", fire_objective="s_vco")))
    refuse_blind_cells(model_args, settings_of(FinetuningArguments(stage="fire_mpo", fire_objective="symmpo")))
    other = ModelArguments(model_name_or_path=str(checkpoint("qwen3_vl")))
    refuse_blind_cells(other, settings_of(FinetuningArguments(stage="fire_mpo", fire_objective="s_vco")))


def test_rows_with_other_numbers_of_images_where_a_batch_is_one_pass():
    def rows(*images):
        return Dataset.from_dict({"images": list(images)})

    mixed = {"train_dataset": rows(["a"], ["b"]), "eval_dataset": {"one": rows(["a", "b"])}}
    with pytest.raises(ValueError, match=r"mllama runs rows .* apart, and the data has rows with 1, 2"):
        refuse_mixed_images("mllama", mixed)
    refuse_mixed_images("mllama", {"train_dataset": rows(["a"], ["b"])})
    refuse_mixed_images("llava", mixed)


@pytest.mark.parametrize(
    ("log", "said"), [([], "lower logging_steps"), ([{"loss": 1.0, "step": 1}], "Figure saved at: ")]
)
def test_it_says_where_the_curves_are_or_why_there_are_none(tmp_path, capsys, log, said):
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    trainer = MagicMock(is_fsdp_enabled=False)
    trainer.args.output_dir = str(tmp_path)
    _train(trainer, SimpleNamespace(plot_loss=True))
    assert said in capsys.readouterr().out.splitlines()[-1]
