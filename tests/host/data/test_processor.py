"""What is said of a processor before rows are encoded with it."""

import json
import logging
from types import SimpleNamespace

import pytest
import yaml
from llamafactory.hparams import ModelArguments
from places import TEMPLATES_DIR
from transformers import (
    AutoProcessor,
    CLIPImageProcessor,
    Gemma4ImageProcessor,
    Qwen2VLImageProcessor,
    SiglipImageProcessor,
)

from firempo_plugin import cli
from firempo_plugin.host import doctor
from firempo_plugin.host.data.processor import IMAGE_MAX_PIXELS, shrunk_first, shrunk_first_in

GEMMA_3 = {"height": 896, "width": 896}


def said(image_processor, image_max_pixels):
    return shrunk_first(SimpleNamespace(image_processor=image_processor, image_max_pixels=image_max_pixels))


def test_images_that_are_scaled_down_below_what_the_model_takes():
    assert "896 x 896 = 802816 pixels" in said(SiglipImageProcessor(size=GEMMA_3), 768 * 768)
    assert said(SiglipImageProcessor(size=GEMMA_3), 896 * 896) is None


@pytest.mark.parametrize("kind", [CLIPImageProcessor, Qwen2VLImageProcessor, Gemma4ImageProcessor])
def test_processors_without_a_fixed_size_take_what_they_get(kind):
    assert said(kind(), 768 * 768) is None
    assert shrunk_first(None) is None


@pytest.mark.parametrize("key", ["model_name_or_path", "processor_name_or_path"])
@pytest.mark.parametrize("in_processor", [False, True])
def test_doctor_reads_the_size_from_a_local_folder(key, in_processor, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "misfits", list)  # which takes seconds
    SiglipImageProcessor(size=GEMMA_3).save_pretrained(tmp_path)
    held = json.loads((tmp_path / "preprocessor_config.json").read_text())
    if in_processor:
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": held}))
        (tmp_path / "preprocessor_config.json").unlink()
    file = tmp_path / "train.yaml"
    for limit, said_so in (({}, True), ({"image_max_pixels": 896 * 896}, False)):
        file.write_text(yaml.safe_dump({"model_name_or_path": "a/b", key: str(tmp_path), **limit}))
        cli.main(["doctor", str(file)])
        found = capsys.readouterr().out
        assert ("ok    The model takes images of 896 x 896" in found) is said_so


def test_a_folder_that_does_not_say(tmp_path):
    config = {"model_name_or_path": str(tmp_path)}
    assert shrunk_first_in({"model_name_or_path": "Qwen/Qwen3-VL-4B-Instruct"}) is None
    for kind in (CLIPImageProcessor, Qwen2VLImageProcessor):
        kind().save_pretrained(tmp_path)
        assert shrunk_first_in(config) is None
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"processor_config\.json is not readable JSON"):
        shrunk_first_in(config)


def test_the_hosts_own_limit_is_known():
    assert ModelArguments(model_name_or_path="x").image_max_pixels == IMAGE_MAX_PIXELS


def test_validate_and_the_log_of_a_run_say_so(checkpoint, train, tmp_path, capsys, caplog):
    processor = AutoProcessor.from_pretrained(checkpoint("llava"))
    processor.image_processor = CLIPImageProcessor(size=GEMMA_3, crop_size={"height": 56, "width": 56})
    processor.save_pretrained(tmp_path / "large")
    keys = {"processor_name_or_path": str(tmp_path / "large"), "dataset": "fire_mpo_mixed"}
    config = {
        "model_name_or_path": str(checkpoint("llava")), "template": "llava", "stage": "fire_mpo", "do_train": True,
        "finetuning_type": "lora", "dataset_dir": str(TEMPLATES_DIR), "output_dir": str(tmp_path / "out"), **keys,
    }  # fmt: skip
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["validate", str(tmp_path / "train.yaml")]) == 0
    assert "image_max_pixels: 589824 before: detail is lost" in capsys.readouterr().out
    logging.getLogger("llamafactory").addHandler(caplog.handler)
    try:
        train("llava", **keys)
    finally:
        logging.getLogger("llamafactory").removeHandler(caplog.handler)
    assert "image_max_pixels: 589824 before: detail is lost" in caplog.text
