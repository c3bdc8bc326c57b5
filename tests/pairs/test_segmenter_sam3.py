"""SAM 3: a tiny random model of the true architecture, run from pixels and a phrase to a mask."""

import numpy as np
import pytest
import tiny_sam3
import torch
from PIL import Image

from firempo_plugin.errors import UserError
from firempo_plugin.images.masks import MaskCache, box_mask, read_mask
from firempo_plugin.pairs.segmenters.segmenter import Request, find, make
from firempo_plugin.records import RejectedError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return tiny_sam3.save(tmp_path_factory.mktemp("sam3"))


def test_sam3_really_runs(sam3, tmp_path):
    segmenter = make("sam3", {"checkpoint": str(sam3), "threshold": 0.0, "device": "cpu", "nms": 1.0})
    found = segmenter.segment("a.png", IMAGE, "left lung")
    assert found.mask.shape == (40, 60)
    assert found.mask.dtype == np.bool_
    assert 1 < len(found.scores) == len(found.boxes) <= 10
    assert all(0 < score < 1 for score in found.scores)
    fewer = make("sam3", {"checkpoint": str(sam3), "threshold": 0.0, "device": "cpu", "nms": 0.2})
    assert len(fewer.segment("a.png", IMAGE, "left lung").scores) < len(found.scores)
    strict = make("sam3", {"checkpoint": str(sam3), "threshold": 1.0, "device": "cpu"})
    assert strict.segment("a.png", IMAGE, "left lung").mask is None
    (kept,) = find(segmenter, MaskCache(tmp_path), [Request("a.png", IMAGE, "left lung")])
    assert np.array_equal(read_mask(kept.mask, (40, 60)), found.mask)


def test_sam3_agrees_with_transformers_own_pipeline(sam3):
    import torch
    from transformers import Sam3Model, Sam3Processor

    model, processor = Sam3Model.from_pretrained(sam3).eval(), Sam3Processor.from_pretrained(sam3)
    inputs = processor(images=Image.fromarray(IMAGE), text="left lung", return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    (expected,) = processor.post_process_instance_segmentation(outputs, 0.1, 0.5, [(40, 60)])
    options = {"checkpoint": str(sam3), "threshold": 0.1, "nms": 1.0, "device": "cpu"}
    found = make("sam3", options).segment("a.png", IMAGE, "left lung")
    masks = expected["masks"].bool().numpy()
    assert np.array_equal(found.mask, masks.any(axis=0))
    full = masks.any(axis=(1, 2))
    best = expected["scores"][full].argsort(descending=True)
    assert found.scores == pytest.approx(expected["scores"][full][best].tolist(), abs=1e-5)
    assert np.allclose(found.boxes, expected["boxes"][full][best], atol=1e-3)


def test_sam3_answers_in_a_batch_as_it_does_alone(sam3):
    options = {"checkpoint": str(sam3), "threshold": 0.0, "device": "cpu", "batch": 4}
    segmenter, grey = make("sam3", options), IMAGE[:30, ..., 0].copy()
    requests = [
        Request("b.png", grey, "heart"),
        Request("a.png", IMAGE, "left lung"),
        Request("b.png", grey, "x" * 40),
        Request("b.png", grey, "right lung"),
        Request("a.png", IMAGE, "heart"),
        Request("a.png", IMAGE, "spleen"),
    ]
    answers = segmenter.segment_many(requests)
    assert isinstance(answers[2], RejectedError)
    assert "42 tokens of 32" in str(answers[2])
    with pytest.raises(RejectedError):
        segmenter.segment("b.png", grey, "x" * 40)
    for index in (0, 1, 3, 4, 5):
        request, answer = requests[index], answers[index]
        fresh = make("sam3", options)  # which keeps nothing of the batch
        alone = fresh.segment(request.image_path, request.image, request.phrase)
        assert answer.scores == pytest.approx(alone.scores, abs=1e-5)
        assert (answer.mask != alone.mask).mean() < 0.01
        assert answer.mask.shape == request.image.shape[:2]
    assert not np.allclose(answers[1].scores[:1], answers[4].scores[:1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sam3_runs_in_half_precision(sam3, dtype):
    options = {"checkpoint": str(sam3), "threshold": 0.0, "device": "cpu"}
    half = make("sam3", {**options, "dtype": dtype})
    assert half.segment("a.png", IMAGE, "heart").mask.shape == (40, 60)
    assert half.settings() != make("sam3", options).settings()


def test_sam3_takes_a_lora_adapter(sam3, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Sam3Model

    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapted = get_peft_model(Sam3Model.from_pretrained(sam3), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        adapted.save_pretrained(tmp_path)
    options = {"checkpoint": str(sam3), "threshold": 0.0, "device": "cpu", "nms": 1.0}
    plain, medical = make("sam3", options), make("sam3", {**options, "adapter": str(tmp_path)})
    scores = [segmenter.segment("a.png", IMAGE, "heart").scores for segmenter in (plain, medical)]
    assert not np.allclose(np.max(scores[0]), np.max(scores[1]), atol=1e-4)
    assert plain.settings() != medical.settings()


@pytest.mark.parametrize("fault", ["a name more", "a name less", "another width", "no such module"])
def test_sam3_refuses_an_adapter_of_another_model(fault, sam3, tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import Sam3Model

    wanted = ["detr_decoder.layers.0.text_cross_attn.q_proj", "dot_product_scoring.text_proj"]
    get_peft_model(Sam3Model.from_pretrained(sam3), LoraConfig(r=4, target_modules=wanted)).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = f"base_model.model.{wanted[0]}.lora_A.weight"
    if fault == "a name more":
        tensors[name.replace("layers.0", "layers.7")] = tensors[name].clone()
    elif fault == "a name less":
        del tensors[name]
    elif fault == "another width":
        tensors[name] = torch.zeros(4, 48)
    else:
        told = (tmp_path / "adapter_config.json").read_text()
        (tmp_path / "adapter_config.json").write_text(told.replace("detr_decoder", "x").replace("dot_product", "x"))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    segmenter = make("sam3", {"checkpoint": str(sam3), "adapter": str(tmp_path)})
    with pytest.raises(UserError, match=f"adapter: {tmp_path} does not fit the model in {sam3}: ") as caught:
        segmenter.segment("a.png", IMAGE, "heart")
    assert {"a name more": "layers.7", "a name less": "1 too many or too few", "another width": "size mismatch"}.get(
        fault, "not found in the base model"
    ) in str(caught.value)


@pytest.mark.parametrize("name", ["best_lora_weights.pt", "lora.pth", "lora.safetensors"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_sam3_says_what_to_do_with_raw_lora_weights(name, in_folder, tmp_path):
    (tmp_path / name).write_bytes(b"never opened")
    adapter = tmp_path if in_folder else tmp_path / name
    with pytest.raises(ValueError, match="PEFT's format") as caught:
        make("sam3", {"checkpoint": str(tmp_path), "adapter": str(adapter)})
    held = "holds" if in_folder else "is"
    assert str(caught.value).startswith(f"segment.options.adapter: {adapter} {held} the raw weights {name}, not a LoRA")
    assert f"becomes one with `firempo convert {tmp_path / name} FOLDER`" in str(caught.value)


def test_sam3_says_what_an_adapter_lacks(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no adapter_config\.json and adapter_model\.safetensors, not a LoRA"):
        make("sam3", {"checkpoint": str(tmp_path), "adapter": str(tmp_path)})
    with pytest.raises(ValueError, match="is no folder; write the path of a local adapter"):
        make("sam3", {"checkpoint": str(tmp_path), "adapter": str(tmp_path / "nowhere")})


def test_sam3_keeps_the_better_of_two_detections_of_one_thing(sam3):
    segmenter = make("sam3", {"checkpoint": str(sam3), "mask_threshold": 0.6})
    boxes = [(0, 0, 10, 10), (1, 0, 11, 10), (20, 20, 30, 30), (26, 20, 36, 30), (40, 0, 50, 10), (50, 0, 60, 10)]
    masks = np.stack([box_mask([box], (40, 60)) for box in boxes])
    logits = torch.from_numpy(masks) * 10.0 - 5.0
    logits[5] = 0.3  # a probability between 0.5 and the threshold everywhere: no detection
    scores = torch.tensor([0.6, 0.9, 0.7, 0.8, 0.5, 0.95])
    shares = torch.tensor(boxes) / torch.tensor([60.0, 40.0, 60.0, 40.0])
    found = segmenter._join((40, 60), scores, shares, logits)
    assert found.scores == pytest.approx((0.9, 0.8, 0.7))
    assert np.allclose(found.boxes, [boxes[1], boxes[3], boxes[2]], atol=1e-4)
    assert np.array_equal(found.mask, masks[[1, 2, 3]].any(axis=0))
    assert segmenter._join((40, 60), scores[:0], shares[:0], logits[:0]).mask is None


def test_sam3_loads_nothing_until_it_is_asked(sam3):
    segmenter = make("sam3", {"checkpoint": str(sam3)})
    segmenter.settings()
    assert "_loaded" not in vars(segmenter)
