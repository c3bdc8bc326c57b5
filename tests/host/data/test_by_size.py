"""What a template writes for images: that of the host's own plug-in, with the processor asked once a size."""

import numpy as np
import pytest
import tiny
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image

from firempo_plugin.host.data import by_size as module
from firempo_plugin.host.data.by_size import by_size

SIZES = [(96, 64), (64, 96), (96, 64), (200, 120)]
FAMILIES = ["qwen3_vl", "llava_next", "internvl", "mistral3", "llama4"]
"""Their plug-ins read grids, shapes of pixels, counts of pieces, or sizes."""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(module, "_known", {})


@pytest.fixture
def parts(checkpoint):
    def load(family):
        tokens = load_tokenizer(ModelArguments(model_name_or_path=str(checkpoint(family))))
        template = get_template_and_fix_tokenizer(tokens["tokenizer"], DataArguments(template=tiny.TEMPLATES[family]))
        return template.mm_plugin, tokens["processor"]

    return load


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)) for width, height in SIZES]


def written(plugin, processor, images):
    content = "<image>" * len(images) + "Which side?"
    return plugin.process_messages([{"role": "user", "content": content}], images, [], [], processor)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_writes_what_the_host_does_and_asks_once_a_size(family, parts, images, monkeypatch):
    plugin, processor = parts(family)
    groups = [images[:1], images[1:2], images[2:3], images[:2], images[3:]]
    expected = [written(plugin, processor, group) for group in groups]
    asked = []
    prepare = type(plugin)._get_mm_inputs
    monkeypatch.setattr(type(plugin), "_get_mm_inputs", lambda *given: asked.append(given[1]) or prepare(*given))
    assert [written(by_size(plugin, "a"), processor, group) for group in groups] == expected
    assert asked == [groups[0], groups[1], groups[3], groups[4]], "the third is as large as the first"
    assert [written(by_size(plugin, "a"), processor, group) for group in groups] == expected, "from what is known"
    assert len(asked) == 4
    written(by_size(plugin, "b"), processor, groups[0])
    assert len(asked) == 5, "another processor"
    assert plugin._get_mm_inputs.__func__ is type(plugin)._get_mm_inputs, "the plug-in itself is as it was"


def test_what_is_kept_holds_no_pixels_and_has_a_bound(parts, images, monkeypatch):
    plugin, processor = parts("llava_next")
    monkeypatch.setattr(module, "KEPT", 2)
    for image in images:
        written(by_size(plugin, "a"), processor, [image])
    assert len(module._known) == 2
    for entry in module._known.values():
        assert entry["pixel_values"].untyped_storage().nbytes() < 100
        assert entry["pixel_values"].numel() > 1000
