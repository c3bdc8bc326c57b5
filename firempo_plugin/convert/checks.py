"""What a conversion proves of its target before it gets its name; no weights are loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .kinds import IMAGE_TOKEN, Kind
from .shards import Tensor
from .target import SENTENCEPIECE

QUESTIONS = (
    "What does the image show?",
    "Is there a fracture?\nAnswer yes or no.",
    "Which side:  left or right (A/B)?",
    "\n\nAre they  alike? 5,5\u202fcm – über",
)
NOT_SQUARE = (300, 500)


def check(folder: Path, source: Path, kind: Kind, model: Any, tensors: dict[str, Tensor]) -> None:
    """Reads a target as others will.

    Args:
        folder: Its files.
        source: The folder of the model as first released.
        kind: What it was made of.
        model: Its LlavaConfig, as it was meant.
        tensors: What its shards hold.

    Raises:
        RuntimeError: Something is not as in the original: this release of transformers works otherwise.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    problems = [
        *_strictness(config, tensors),
        *_configuration(config, model),
        *_prompts(tokenizer, _reader(source, tokenizer), kind),
        *_pixels(folder),
    ]
    if problems:
        raise RuntimeError(f"transformers would not read the target as the original: {'; '.join(problems)}")


def piecewise(read: Callable[[str], list[int]], text: str, kind: Kind, bos: int) -> list[int]:
    """Token ids as the originals count them: the pieces around images on their own, one id in place of each image.

    Args:
        read: Token ids of a piece without special tokens.
        text: A prompt.
        kind: What it is a prompt of.
        bos: The id that it begins with, where the kind has one.
    """
    ids = [bos] * kind.bos
    for number, piece in enumerate(text.split(IMAGE_TOKEN)):
        ids += [kind.image_token_id] * (number > 0) + read(piece)
    return ids


def _reader(source: Path, tokenizer: Any) -> Callable[[str], list[int]]:
    """Reads pieces as the source's own SentencePiece model does; where it has none, as the target's tokenizer."""
    if (source / SENTENCEPIECE).is_file():
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(source / SENTENCEPIECE)).encode
    return lambda piece: list(tokenizer(piece, add_special_tokens=False)["input_ids"])


def _strictness(config: Any, tensors: dict[str, Tensor]) -> list[str]:
    import torch
    from transformers import LlavaForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    named = {name: torch.empty(tensor.shape, device="meta") for name, tensor in tensors.items()}
    _, told = LlavaForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=named,
        device_map="meta",
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are told
    )
    return [f"{what}: {value}" for what, value in told.items() if value]


def _configuration(config: Any, model: Any) -> list[str]:
    parts = [("", config, model), ("text_config.", config.text_config, model.text_config)]
    parts += [("vision_config.", config.vision_config, model.vision_config)]
    problems = []
    for start, found, meant in parts:
        values = found.to_dict()
        problems += [
            f"{start}{name} is {values.get(name)!r}, expected {value!r}"
            for name, value in meant.to_dict().items()
            if name not in ("architectures", "dtype", "text_config", "vision_config", "transformers_version")
            and name != "_name_or_path"
            and values.get(name) != value
        ]
    return problems


def _prompts(tokenizer: Any, read: Callable[[str], list[int]], kind: Kind) -> list[str]:
    problems = []
    image = tokenizer(IMAGE_TOKEN, add_special_tokens=False)["input_ids"]
    if image != [kind.image_token_id]:
        problems.append(f"{IMAGE_TOKEN} is {image}, expected {kind.image_token_id}")
    for number, question in enumerate(QUESTIONS):
        text = kind.prompt.replace("{{content}}", f"{IMAGE_TOKEN}\n" * (1 + number % 2) + question)
        whole = [tokenizer.bos_token_id] * kind.bos + tokenizer(text, add_special_tokens=False)["input_ids"]
        expected = piecewise(read, text, kind, tokenizer.bos_token_id)
        if whole != expected:
            problems.append(f"{text!r} is {whole}, expected {expected}")
    return problems


def _pixels(folder: Path) -> list[str]:
    """Compares an image that is not square with itself, pasted on a square and read as CLIP reads it."""
    import numpy as np
    from PIL import Image
    from transformers import AutoProcessor, CLIPImageProcessorPil

    images = AutoProcessor.from_pretrained(folder, backend="pil").image_processor
    width, height = NOT_SQUARE
    drawn = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(drawn)
    background = tuple(int(255 * mean) for mean in images.image_mean)
    square = Image.new("RGB", (height, height), background)
    square.paste(image, ((height - width) // 2, 0))
    side = dict(images.crop_size)
    clip = CLIPImageProcessorPil(size={"shortest_edge": side["height"]}, crop_size=side)
    found = np.asarray(images(image, return_tensors="np")["pixel_values"])
    expected = np.asarray(clip(square, return_tensors="np")["pixel_values"])
    if found.shape != expected.shape or np.abs(found - expected).max() > 0:
        return [f"an image of {width} x {height} has other pixels than pasted on a square"]
    return []
