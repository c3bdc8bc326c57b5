"""What the caches keep of fixed inputs, and what decides whether an entry is found again in training."""

import re
import zlib

import numpy as np
import pytest
import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from tiny import TEMPLATES
from transformers import AutoConfig, AutoModelForImageTextToText

from firempo_plugin.forward import reference_cache, vision_cache
from firempo_plugin.forward.disk import Vectors
from firempo_plugin.forward.families import FAMILIES
from firempo_plugin.forward.masks import TreeMasks
from firempo_plugin.forward.reference_cache import ReferenceCache
from firempo_plugin.forward.score import Runner
from firempo_plugin.forward.step import Models, Step
from firempo_plugin.forward.vision_cache import VisionCache
from firempo_plugin.host.data.collator import BATCH, FireCollator
from firempo_plugin.host.train.caches import Caches, _feature_kind
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

WORDS, PICTURE, START, END = 300, 290, 291, 292
"""Size of the vocabulary, and the ids of image tokens and of those around them."""
SIZES = {"qwen3_vl": ((96, 64), 6), "qwen2_5_vl": ((84, 56), 6), "llava": ((56, 56), 16)}
"""Width and height of an image that is not resized, and how many tokens it takes."""


def known_model(checkpoint):
    """A model of a checkpoint's kind whose weights come from no random numbers, and whose vocabulary is fixed."""
    config = AutoConfig.from_pretrained(checkpoint)
    for part in (config, config.text_config):
        part.eos_token_id = part.bos_token_id = part.pad_token_id = None
    config.text_config.vocab_size = WORDS
    for name in ("image_token_id", "image_token_index"):
        if name in config.to_dict():
            setattr(config, name, PICTURE)
    if config.model_type != "llava":
        config.vision_start_token_id, config.vision_end_token_id, config.video_token_id = START, END, END + 1
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            name = re.sub(r"vision_tower\.(?!vision_model)", "vision_tower.vision_model.", name)  # newer transformers
            waves = np.sin(zlib.crc32(name.encode()) % 1000 + 0.7 * np.arange(weight.numel()) ** 1.1)
            scale = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.1
            values = torch.from_numpy(scale * waves).to(weight.dtype).view_as(weight)
            weight.copy_(values + 1 if "norm" in name and name.endswith("weight") else values)
            weight.requires_grad_("language_model.layers" in name)
    return model


def picture(size, phase):
    width, height = size
    rows, columns, colours = np.ogrid[:height, :width, :3]
    return Image.fromarray(np.uint8(127 + 120 * np.sin(phase + rows * 0.21 + columns * 0.13 + colours)))


def row(size, tokens):
    prompt = [5, 6, START, *[PICTURE] * tokens, END, 7, 8, 9]
    return {
        "prompt_ids": prompt,
        "noised_prompt_ids": prompt,
        "blind_prompt_ids": [5, 6, 7, 8, 9],
        "chosen_ids": [20, 21, 22, 23, 2],
        "rejected_ids": [20, 31, 22, 33, 34, 2],
        "chosen_phrase": [1, 3],
        "rejected_phrase": [1, 3, 4],
        "chosen_weights": [],
        "rejected_weights": [],
        "images": [picture(size, 0.0)],
        "rejected_images": [picture(size, 2.0)],
        "weight": 1.0,
        "source": "row",
    }


@pytest.fixture
def kept(checkpoint, tmp_path):
    """Returns a function from a family to what both caches keep of a row under a model of it."""

    def keep(family):
        tokens = load_tokenizer(ModelArguments(model_name_or_path=str(checkpoint(family))))
        template = get_template_and_fix_tokenizer(tokens["tokenizer"], DataArguments(template=TEMPLATES[family]))
        tokens["tokenizer"].pad_token = tokens["tokenizer"].convert_ids_to_tokens(0)
        model = known_model(checkpoint(family))
        vectors = Vectors(model.config.get_text_config().hidden_size, frozenset({torch.float32}))
        kind = _feature_kind(model.config, FAMILIES[family], vectors)
        caches = Caches(ReferenceCache(tmp_path, "", vectors), VisionCache(tmp_path, "", 10**9, kind))
        settings = Settings(OBJECTIVES["fire_mpo"], 0.1, 0.01, 0.1, 0.5, "response", 0.0)
        collate = FireCollator.of(model, template, settings, tokens, None, caches.reference, caches.vision)
        batch = collate([row(*SIZES[family])])[BATCH]
        runner = Runner.of(model, model)
        step = Step(Models(runner, runner, FAMILIES[family], TreeMasks.of(model)), settings, batch)
        step.run(batch.passes[0])
        caches.keep_reference(*step.said[0])
        caches.keep_images(batch.images, step.computed_images())
        known = step.said[0][0]
        images = [caches.vision.load(key) for key in batch.images.keys]
        scores = [caches.reference.load([entry])[0] for entry in known.entries]
        return images, scores

    return keep


def figures(tensor):
    """Shape, mean, spread and the first numbers."""
    flat = tensor.double().flatten()
    numbers = [flat.mean(), flat.std(), *flat[:4]] if len(flat) else []
    return [list(tensor.shape), [round(float(number), 4) for number in numbers]]


FAMILY = pytest.mark.parametrize("family", SIZES)


@FAMILY
def test_features_of_an_image_change_with_the_version_only(family, kept, golden):
    images, _ = kept(family)
    cases = {}
    for number, (features, grid) in enumerate(images):
        tensors = [features.pooled, *features.deepstack]
        cases[f"image {number}"] = [None if grid is None else grid.tolist(), *map(figures, tensors)]
    golden(f"features_{family}", "forward.vision_cache.VERSION", vision_cache.VERSION, cases)


@FAMILY
def test_what_the_reference_says_changes_with_the_version_only(family, kept, golden):
    _, scores = kept(family)
    cases = {
        f"cell {number}": {"logps": [round(x, 4) for x in said.logps.tolist()], "hidden": figures(said.hidden)}
        for number, said in enumerate(scores)
    }
    golden(f"reference_{family}", "forward.reference_cache.VERSION", reference_cache.VERSION, cases)


def test_another_cutoff_len_finds_all_entries_again_and_other_image_limits_none(train, tmp_path, monkeypatch):
    from firempo_plugin.host.train.trainer import FireMPOTrainer

    counts = {}
    init = FireMPOTrainer.__init__

    def remember(self, *args, **kwargs):
        init(self, *args, **kwargs)
        counts.update(self._caches.counts)

    monkeypatch.setattr(FireMPOTrainer, "__init__", remember)
    keys = {"fire_vision_cache": str(tmp_path / "a"), "fire_reference_cache": str(tmp_path / "b")}
    train(**keys)
    assert counts["images"]["run"]
    train(**keys, cutoff_len=900)
    assert not counts["images"]["run"]
    assert not counts["passes"]["run"]
    train(**keys, image_max_pixels=4096)
    assert not counts["images"]["known"]
    assert not counts["passes"]["known"]
