"""SAM 3 over many targets: an image is encoded once, whatever their order, and `batch` bounds what is held."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_sam3
import torch
from PIL import Image
from torch.testing import assert_close

from firempo_plugin.images.masks import read_mask
from firempo_plugin.images.pixels import pixel_id
from firempo_plugin.pairs.segmenters.segmenter import Request, make
from firempo_plugin.pairs.steps.segment import SegmentStep
from firempo_plugin.records import Record, Target
from firempo_plugin.store.engine import Item, advance
from firempo_plugin.store.workspace import Workspace

SIZE = (40, 60)
IMAGES = [np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8) for number in range(5)]
PHRASES = ("heart", "liver", "spleen", "left lung", "right lung", "stomach", "aorta")


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return tiny_sam3.save(tmp_path_factory.mktemp("sam3"))


def options(sam3, batch):
    return {"checkpoint": str(sam3), "device": "cpu", "threshold": 0.0, "nms": 1.0, "batch": batch}


def counted(segmenter, part="vision_encoder"):
    """How many images, or phrases, each pass of a part of the model sees, from now on."""
    seen = []
    module = segmenter._loaded[0].get_submodule(part)
    module.register_forward_hook(lambda _, inputs, outputs: seen.append(len(outputs.last_hidden_state)))
    return seen


@pytest.fixture
def items(tmp_path):
    """Returns a function that makes items of the images and phrase of each, by number; None: no target."""
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{number}.png")

    def make_items(*wanted):
        made = []
        for number, (places, phrase) in enumerate(wanted):
            files = tuple(str(tmp_path / f"{place}.png") for place in places)
            ids = tuple(pixel_id(IMAGES[place]) for place in places)
            record = Record(f"r{number}", files, "Where?", "there")
            made.append(Item(record, images=files, image_ids=ids, target=Target(phrase, "")))
        return made

    return make_items


def segmented(sam3, batch, items, folder):
    """The items with their regions, and what the encoders of images and of phrases saw."""
    workspace = Workspace(folder)
    step = SegmentStep(SimpleNamespace(segment=SimpleNamespace(by="sam3", options=options(sam3, batch))), workspace)
    seen, read = counted(step._segmenter), counted(step._segmenter, "text_encoder")
    try:
        return advance(workspace, step, items).items, seen, read
    finally:
        workspace.close()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_build_encodes_every_image_once(batch, sam3, items, tmp_path):
    """Targets of three images in turn, more of each than a batch, and records without one between them."""
    one_image = [((place,), phrase) for phrase in PHRASES for place in range(3)]
    wanted = [about for target in one_image for about in (target, (target[0], None))]
    found, seen, read = segmented(sam3, batch, items(*wanted), tmp_path / "work")
    assert [item.record.id for item in found] == [f"r{number}" for number in range(len(wanted))]
    assert (sum(seen), max(seen) <= batch) == (3, True)
    assert (sum(read), max(read), len(read)) == (21, batch, math.ceil(21 / batch))
    alone = make("sam3", options(sam3, 1))
    for item, ((place,), phrase) in zip(found[::14], wanted[::14], strict=True):
        (region,) = item.segmentations
        expected = alone.segment("a.png", IMAGES[place], phrase)
        assert region.scores == pytest.approx(expected.scores, abs=1e-5)
        assert (read_mask(region.mask, SIZE) != expected.mask).mean() < 0.01
    assert all(item.segmentations == () for item in found[1::2])


def test_records_of_several_images_encode_each_once(sam3, items, tmp_path):
    wanted = [((0, 1), phrase) for phrase in PHRASES] + [((2,), "heart"), ((0, 1), "neck")]
    found, seen, _ = segmented(sam3, 4, items(*wanted), tmp_path / "work")
    assert sum(seen) == 3
    assert [len(item.segmentations) for item in found] == [2] * 7 + [1, 2]


def test_more_phrases_than_a_batch_encode_their_image_once(sam3):
    segmenter = make("sam3", options(sam3, 2))
    seen = counted(segmenter)
    answers = segmenter.segment_many([Request("a.png", IMAGES[0], phrase) for phrase in PHRASES])
    assert seen == [1]
    assert len({answer.scores for answer in answers}) == len(PHRASES)
    segmenter.segment_many([Request("another name.png", IMAGES[0].copy(), "neck")])
    assert seen == [1]


def test_every_phrase_meets_its_own_image(sam3):
    """Compares features, which random weights tell apart; what they say of two images hardly differs."""
    model, processor, encoder = make("sam3", options(sam3, 4))._loaded
    with torch.inference_mode():
        pixels = [processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"] for image in IMAGES]
        alone = [model.get_vision_features(one) for one in pixels]
        for places in ([0, 1, 0, 2], [2, 3, 1, 1], [4, 2, 4, 0]):
            rows = encoder.rows([Request("same name.png", IMAGES[place], "heart") for place in places])
            for maps in ("fpn_hidden_states", "fpn_position_encoding"):
                for level, found in enumerate(rows[maps]):
                    assert_close(
                        found, torch.cat([alone[place][maps][level] for place in places]), rtol=1e-5, atol=1e-6
                    )
    first, second = (features.fpn_hidden_states[0] for features in alone[:2])
    assert (first - second).abs().max() > 1e-4


def test_no_more_is_held_than_a_batch_of_images(sam3):
    segmenter = make("sam3", options(sam3, 2))
    seen = counted(segmenter)
    encoder = segmenter._loaded[2]
    for places in ([0, 1], [1, 2], [1], [3, 4], [4], [0], [4], [0, 4], [3]):
        segmenter.segment_many([Request("same name.png", IMAGES[place], "heart") for place in places])
        assert len(encoder._maps) <= 2
        levels = [level for maps in encoder._maps.values() for level in maps] + encoder._positions
        assert all(level.untyped_storage().nbytes() == level.nbytes for level in levels)
    assert seen == [2, 1, 2, 1, 1]
