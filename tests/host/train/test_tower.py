"""A vision tower that trains although it is to be frozen."""

import pytest
from llamafactory.hparams import FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer

from firempo_plugin.host.train.tower import in_training


@pytest.fixture
def said(checkpoint):
    """Returns a function from a family and keys to what is said of its loaded model."""

    def load(family, **keys):
        model_args = ModelArguments(model_name_or_path=str(checkpoint(family)))
        model_args.compute_dtype = None
        model_args.device_map = None
        finetuning_args = FinetuningArguments(stage="fire_mpo", **{"lora_target": "all", **keys})
        model = load_model(load_tokenizer(model_args)["tokenizer"], model_args, finetuning_args, is_trainable=True)
        return in_training(model, finetuning_args)

    return load


def test_a_tower_that_the_host_does_not_know_is_named_with_what_leaves_it_alone(said):
    found = said("llava_onevision")
    assert "24 weights of the vision tower train all the same" in found
    assert "(the first is base_model.model.model.vision_tower." in found
    assert "write `lora_target: down_proj,gate_proj,o_proj,up_proj`" in found
    assert said("llava_onevision", lora_target="down_proj,gate_proj,o_proj,up_proj") == ""
    assert said("llava_onevision", freeze_vision_tower=False) == ""


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava", "gemma3", "mllama"])
def test_a_tower_that_is_frozen_is_not(said, family):
    assert said(family) == ""


def test_neither_is_a_projector_in_training_that_lies_in_the_tower(said):
    keys = {"finetuning_type": "full", "freeze_multi_modal_projector": False}
    assert said("qwen3_vl", **keys, freeze_language_model=True) == ""


def test_a_run_says_so_and_has_no_cache_of_its_features(train, caplog, tmp_path):
    with pytest.raises(ValueError, match="fire_vision_cache needs a frozen vision tower of a known family"):
        train("llava_onevision", fire_vision_cache=str(tmp_path / "cache"))
    assert "LLaMA-Factory does not know which parts of llava_onevision are its tower" in caplog.text
