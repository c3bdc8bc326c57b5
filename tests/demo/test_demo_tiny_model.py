"""The tiny model loads as a released Qwen3-VL does, and computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from firempo_plugin.demo import tiny_model
from firempo_plugin.demo.questions import PAIRS
from firempo_plugin.demo.tiny_model import END, PADDING, SPECIAL, corpus


@pytest.fixture(scope="module")
def tokenizer(model_folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def processor(model_folder: Path) -> Any:
    return transformers.AutoProcessor.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> tuple[Any, dict[str, Any]]:
    return transformers.AutoModelForImageTextToText.from_pretrained(model_folder, output_loading_info=True)


def prompt(processor: Any, images: list[Image.Image], question: str) -> Any:
    parts = [{"type": "image", "image": image} for image in images] + [{"type": "text", "text": question}]
    return processor.apply_chat_template(
        [{"role": "user", "content": parts}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def test_folder_is_small(model_folder: Path) -> None:
    assert sum(path.stat().st_size for path in model_folder.iterdir()) < 2_000_000


def test_weights_fit_the_architecture(loaded: tuple[Any, dict[str, Any]]) -> None:
    model, report = loaded
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert not any(report.values())
    assert 200_000 < sum(parameter.numel() for parameter in model.parameters()) < 300_000


def test_ids_come_from_the_tokenizer(loaded: tuple[Any, dict[str, Any]], tokenizer: Any) -> None:
    config, generation = loaded[0].config, loaded[0].generation_config
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    assert len(set(ids.values())) == len(SPECIAL)
    assert max(ids.values()) < config.text_config.vocab_size == len(tokenizer)
    assert config.image_token_id == ids["<|image_pad|>"]
    assert config.video_token_id == ids["<|video_pad|>"]
    assert config.vision_start_token_id == ids["<|vision_start|>"]
    assert config.vision_end_token_id == ids["<|vision_end|>"]
    assert config.text_config.eos_token_id == tokenizer.eos_token_id == ids[END]
    assert config.text_config.pad_token_id == tokenizer.pad_token_id == ids[PADDING]
    assert generation.eos_token_id == [ids[END], ids[PADDING]]


def test_text_round_trips(tokenizer: Any) -> None:
    unseen = "Zystische Läsion, 3.5 mm — 左肺\n\tno words from the corpus: qxz!"
    for text in [*corpus(), unseen]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_offsets_tile_the_text(tokenizer: Any) -> None:
    for pair in PAIRS:
        text = pair.side(0)[0]
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        assert "".join(text[start:end] for start, end in offsets) == text


def test_words_are_mostly_whole_and_some_are_cut(tokenizer: Any) -> None:
    words = [word for pair in PAIRS for word in pair.question.split()]
    sizes = [len(tokenizer.tokenize(" " + word)) for word in words]
    assert 1.0 < sum(sizes) / len(sizes) < 2.5
    assert max(sizes) > 2


def test_special_tokens_are_single(tokenizer: Any) -> None:
    for token in SPECIAL:
        assert tokenizer(token)["input_ids"] == [tokenizer.convert_tokens_to_ids(token)]


def test_forward_on_a_scan(loaded: tuple[Any, dict[str, Any]], processor: Any, demo_data: Path) -> None:
    model = loaded[0]
    images = [Image.open(demo_data / "images" / f"{name}.png") for name in ("ct_chest", "ct_head")]
    batch = prompt(processor, images, "Which of the two images shows the brain?")
    tokens = [(image.width // 32) * (image.height // 32) for image in images]
    assert (batch["input_ids"] == model.config.image_token_id).sum() == sum(tokens) == 16 + 64
    with torch.no_grad():
        logits = model(**batch).logits
    assert logits.shape == (*batch["input_ids"].shape, model.config.text_config.vocab_size)
    assert torch.isfinite(logits).all()


def test_the_image_matters(loaded: tuple[Any, dict[str, Any]], processor: Any, demo_data: Path) -> None:
    folder, question = demo_data / "images", "On which side does the aorta lie?"
    last = []
    for name in ("ct_chest.png", "chest_aorta_ct_chest_noised.png"):
        with torch.no_grad():
            last.append(loaded[0](**prompt(processor, [Image.open(folder / name)], question)).logits[0, -1])
    assert (last[0] - last[1]).abs().max() > 1e-4


def test_seed_decides_and_the_random_state_stays(model_folder: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    tiny_model.build(tmp_path / "same")
    tiny_model.build(tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    for path in model_folder.iterdir():
        assert path.read_bytes() == (tmp_path / "same" / path.name).read_bytes(), path.name
        equal = path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
        assert equal == (path.name != "model.safetensors")
