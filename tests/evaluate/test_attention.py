"""Rows of attention against the library's own full matrices, and against queries and keys made by hand."""

import pytest
import torch
from peft import PeftModel
from PIL import Image
from plain import Plain
from torch.testing import assert_close
from transformers import AutoModelForImageTextToText, AutoProcessor

from firempo_plugin.evaluate import attention
from firempo_plugin.evaluate.grounding import token_mask

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava")


@pytest.fixture
def scan(tmp_path):
    """A grainy grey image that is wider than high."""
    grain = torch.randint(0, 256, (132, 200), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    path = tmp_path / "scan.png"
    Image.fromarray(grain.numpy()).save(path)
    return path


def load(checkpoint, **keys):
    return AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, **keys).eval()


def prompt(family, checkpoint, adapter, scan):
    inputs, _, _ = Plain(family, checkpoint(family), adapter(family)).sequence("<image>Which side?", "", [str(scan)])
    return inputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("adapted", [False, True])
def test_rows_are_those_of_the_full_matrices(family, kind, adapted, checkpoint, adapter, scan):
    inputs = prompt(family, checkpoint, adapter, scan)
    eager = load(checkpoint(family), attn_implementation="eager")
    model = load(checkpoint(family), attn_implementation=kind)
    if adapted:
        eager, model = (PeftModel.from_pretrained(each, adapter(family)).eval() for each in (eager, model))
    with torch.no_grad():
        full = eager(**inputs, output_attentions=True).attentions
    base = model.get_base_model() if adapted else model
    places = attention.image_places(base.config, inputs["input_ids"])
    found = attention.last_row_attention(model, inputs)
    assert len(places) > 1
    assert found.shape == (len(full), len(places))
    assert_close(found, torch.stack([layer[0, :, -1].mean(0)[places] for layer in full]), rtol=0, atol=1e-6)
    text = base.config.get_text_config()
    assert text._attn_implementation == kind, "the model is as it was"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_of_the_model_is_the_same_while_rows_are_taken(family, checkpoint, adapter, scan):
    inputs = prompt(family, checkpoint, adapter, scan)
    model = load(checkpoint(family))
    with torch.no_grad():
        before = model.base_model(**inputs).last_hidden_state
        seen = []
        handle = model.base_model.language_model.register_forward_hook(
            lambda module, args, output: seen.append(output.last_hidden_state)
        )
        attention.last_row_attention(model, inputs)
        handle.remove()
    assert_close(seen[0], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_holds_a_square_matrix(family, checkpoint, adapter, scan, monkeypatch):
    inputs = prompt(family, checkpoint, adapter, scan)
    length = inputs["input_ids"].shape[1]
    shapes = []
    last_row = attention.last_row

    def remember(*args):
        shapes.append(last_row(*args).shape)
        return last_row(*args)

    monkeypatch.setattr(attention, "last_row", remember)
    attention.last_row_attention(load(checkpoint(family)), inputs)
    assert shapes == [(4, length)] * 2, "heads x T of each layer"


def test_a_model_without_queries_looks_everywhere_alike(checkpoint, adapter, scan):
    inputs = prompt("qwen3_vl", checkpoint, adapter, scan)
    model = load(checkpoint("qwen3_vl"))
    for layer in model.base_model.language_model.layers:
        layer.self_attn.q_proj.weight.data.zero_()
    found = attention.last_row_attention(model, inputs)
    assert_close(found, torch.full_like(found, 1 / inputs["input_ids"].shape[1]))


def test_a_row_by_hand():
    """Two heads on one group; scores are log 2 and 0 for the first head, 0 and log 3 for the second."""
    query = torch.zeros(1, 2, 2, 2)
    query[0, 0, -1] = torch.tensor([2.0, 0.0])
    query[0, 1, -1] = torch.tensor([0.0, 2.0])
    key = torch.tensor([[[[2.0, 0.0], [0.0, 3.0]]]]).log().nan_to_num(neginf=0.0)
    row = attention.last_row(query, key, None, 0.5)
    assert_close(row, torch.tensor([[2 / 3, 1 / 3], [1 / 4, 3 / 4]]))
    hidden = torch.tensor([[[[True, False], [False, True]]]])
    assert attention.last_row(query, key, hidden, 0.5).tolist() == [[0, 1], [0, 1]]
    added = torch.zeros(1, 1, 2, 2).masked_fill(~hidden, torch.finfo(torch.float32).min)
    assert attention.last_row(query, key, added, 0.5).tolist() == [[0, 1], [0, 1]]


def test_heads_follow_their_group():
    """Heads 0 and 1 use the keys of group 0, heads 2 and 3 those of group 1."""
    query = torch.ones(1, 4, 1, 1)
    key = torch.tensor([[[[0.0], [5.0]], [[5.0], [0.0]]]])
    row = attention.last_row(query, key, None, 1.0)
    assert row.argmax(-1).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(200, 132), (90, 240)])
def test_a_token_lies_where_its_features_change(family, size, checkpoint, tmp_path):
    """A square is inverted; the image token whose features change most is one that the square takes."""
    model, processor = load(checkpoint(family)), AutoProcessor.from_pretrained(checkpoint(family)).image_processor
    generator = torch.Generator().manual_seed(2)
    width, height = size
    clean = torch.randint(90, 166, (height, width, 3), generator=generator, dtype=torch.uint8)

    def features(pixels):
        inputs = dict(processor(images=[Image.fromarray(pixels.numpy())], return_tensors="pt"))
        with torch.no_grad():
            (tokens,) = model.base_model.get_image_features(**inputs).pooler_output
        return tokens, inputs

    before, inputs = features(clean)
    ids = torch.full((1, len(before)), model.config.to_dict()[attention.FAMILIES[family].image_token])
    grid = attention.token_grid(model.config, {**inputs, "input_ids": ids}, processor, size)
    assert grid.rows * grid.columns == len(before)
    middle = (height // 2, width // 2)
    for down, right in ((0, 0), (-25, 25), (20, -30), (25, 20)):
        top, left = middle[0] + down, middle[1] + right
        changed, region = clean.clone(), torch.zeros(height, width, dtype=torch.bool)
        region[top : top + 12, left : left + 12] = True
        changed[region] = 255 - changed[region] + 80 * (torch.rand(changed[region].shape) > 0.5).byte()
        after, _ = features(changed)
        strongest = (after - before).norm(dim=-1).argmax()
        mask = token_mask(region, (grid.rows, grid.columns), grid.window)
        assert 1 <= mask.sum() <= 4
        assert mask[strongest], (down, right)


def test_what_llava_crops_away_has_no_token(checkpoint, adapter, scan):
    inputs = prompt("llava", checkpoint, adapter, scan)
    processor = AutoProcessor.from_pretrained(checkpoint("llava")).image_processor
    grid = attention.token_grid(load(checkpoint("llava")).config, inputs, processor, (200, 132))
    # The shorter edge becomes 56, the longer 84; the crop leaves 14 to 70.
    assert grid.window == pytest.approx((14 / 84, 0, 70 / 84, 1))
    left = torch.zeros(132, 200, dtype=torch.bool)
    left[:, :33] = True
    assert not token_mask(left, (4, 4), grid.window).any()


def test_qwens_tokens_cover_the_whole_image(checkpoint, adapter, scan):
    inputs = prompt("qwen3_vl", checkpoint, adapter, scan)
    processor = AutoProcessor.from_pretrained(checkpoint("qwen3_vl")).image_processor
    grid = attention.token_grid(load(checkpoint("qwen3_vl")).config, inputs, processor, (200, 132))
    assert (grid.columns, grid.rows, grid.window, grid.size) == (6, 4, (0, 0, 1, 1), (192, 128))


def test_another_number_of_tokens_than_the_grid_is_refused(checkpoint, adapter, scan):
    inputs = prompt("llava", checkpoint, adapter, scan)
    config = load(checkpoint("llava")).config
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[config.image_token_index]])], dim=1)
    processor = AutoProcessor.from_pretrained(checkpoint("llava")).image_processor
    with pytest.raises(ValueError, match="17 image tokens, which do not form a 4 x 4 grid"):
        attention.token_grid(config, inputs, processor, (200, 132))


def test_a_prompt_without_image_is_refused(checkpoint):
    model = load(checkpoint("qwen3_vl"))
    with pytest.raises(ValueError, match="no image token"):
        attention.last_row_attention(model, {"input_ids": torch.tensor([[5, 6, 7]])})
