"""The files of the target besides its weights: configuration, tokenizer, processor."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..errors import UserError
from .kinds import IMAGE_TOKEN, Kind
from .names import original_name
from .shards import read_json

CLIP_IMAGES = {
    "do_resize": True,
    "do_center_crop": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
"""What a source's preprocessor_config.json must say, where there is one: CLIP's, bicubic."""
SENTENCEPIECE = "tokenizer.model"
OF_THE_FILE = {"architectures", "model_type", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}
BEFORE_5 = ("rope_theta", "rope_scaling")
"""Fields that transformers 4 and vLLM read where transformers 5 reads rope_parameters."""


def model_config(kind: Kind, config: dict[str, Any], vision: dict[str, Any]) -> Any:
    """The LlavaConfig of a released model."""
    from transformers import CONFIG_MAPPING, CLIPVisionConfig, LlavaConfig

    text = CONFIG_MAPPING[kind.text]
    known = (set(text().to_dict()) | set(BEFORE_5)) - OF_THE_FILE
    fields = {name: value for name, value in config.items() if name in known}
    tower = CLIPVisionConfig(**vision)
    size = tower.image_size // tower.patch_size
    return LlavaConfig(
        text_config=text(**{**fields, "vocab_size": kind.fields["vocab_size"] + kind.appended_rows}),
        vision_config=tower,
        projector_hidden_act="gelu",
        multimodal_projector_bias=True,
        vision_feature_layer=config["mm_vision_select_layer"],
        vision_feature_select_strategy="default",
        image_seq_length=size * size,
        image_token_index=kind.image_token_id,
        tie_word_embeddings=False,
    )


def expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a LLaVA's tensors by the names that they have as first released; nothing is allocated."""
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    return {original_name(name): tuple(value.shape) for name, value in model.state_dict().items()}


def write_config(folder: Path, model: Any, config: dict[str, Any]) -> None:
    """Writes config.json: what transformers 5 would write, and what transformers 4 and vLLM read instead of it."""
    written = json.loads(model.to_json_string(use_diff=True))
    dtype = config.get("torch_dtype", config.get("dtype"))
    written |= {"architectures": ["LlavaForConditionalGeneration"], "torch_dtype": dtype}
    written["text_config"] |= {name: config[name] for name in BEFORE_5 if name in config}
    language_model = config["architectures"][0].removeprefix("Llava")
    written["text_config"] |= {"architectures": [language_model], "torch_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_processor(folder: Path, source: Path, kind: Kind, model: Any) -> None:
    """Writes the source's tokenizer with one more token, `<image>`, and images padded to a square in CLIP's mean.

    Raises:
        UserError: The source's tokenizer cannot be read, or the token would not get its id.
    """
    from transformers import LlavaImageProcessorPil, LlavaProcessor

    side = model.vision_config.image_size
    images = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}, **CLIP_IMAGES
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=_tokenizer(source, kind),
        patch_size=model.vision_config.patch_size,
        vision_feature_select_strategy="default",
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    images.save_pretrained(folder)  # transformers 4 reads its file
    if (source / SENTENCEPIECE).is_file() and not (source / "tokenizer.json").is_file():
        _order_merges(folder / "tokenizer.json", source / SENTENCEPIECE)
    file = folder / "tokenizer_config.json"
    kept = read_json(file)
    for key in ("backend", "is_local", "extra_special_tokens"):  # transformers 4 reads the last as something else
        kept.pop(key, None)
    # A class that takes tokenizer.json as it is: LlamaTokenizer builds itself anew, and forgets `legacy` when saved.
    kept |= {**kind.tokenizer_keys, "tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tokenizer(source: Path, kind: Kind) -> Any:
    import transformers

    try:
        tokenizer = getattr(transformers, kind.tokenizer).from_pretrained(source, **kind.tokenizer_keys)
    except (OSError, ValueError) as error:
        raise UserError(f"{source} holds no readable {kind.tokenizer}: {error}") from error
    if len(tokenizer) != kind.image_token_id:
        raise UserError(
            f"the tokenizer in {source} has {len(tokenizer)} entries, {kind.title}'s has {kind.image_token_id}"
        )
    image = transformers.AddedToken(IMAGE_TOKEN, special=True, normalized=False, lstrip=False, rstrip=False)
    tokenizer.add_tokens([image], special_tokens=True)
    return tokenizer


def _order_merges(file: Path, model: Path) -> None:
    """Puts the merges of a tokenizer.json in the order of SentencePiece's scores.

    transformers 5 orders them by the pieces' ids, which reads two spaces before a word otherwise than SentencePiece and
    transformers 4 do.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers.tokenization_utils_base import generate_merges

    pieces = SentencePieceProcessor(model_file=str(model))
    ids = {pieces.id_to_piece(number): number for number in range(len(pieces))}
    written = read_json(file)
    written["model"]["merges"] = generate_merges(
        ids, {piece: pieces.get_score(number) for piece, number in ids.items()}
    )
    file.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")


def check_images(tower: Path | None, side: int) -> None:
    """Holds a source's own settings of images against those that the processor is written with.

    Raises:
        UserError: One differs.
    """
    file = (tower or Path()) / "preprocessor_config.json"
    if tower is None or not file.is_file():
        return
    found = read_json(file)
    sizes = {"size": ({"shortest_edge": side}, side), "crop_size": ({"height": side, "width": side}, side)}
    expected = {**{name: (value,) for name, value in CLIP_IMAGES.items()}, **sizes}
    wrong = [
        f"{name} is {found[name]!r}, expected {allowed[0]!r}"
        for name, allowed in expected.items()
        if name in found and found[name] not in allowed
    ]
    if wrong:
        raise UserError(f"{file}: {'; '.join(wrong)}")


def copy_generation(folder: Path, source: Path) -> None:
    """Copies how the source generates, where it says so."""
    file = source / "generation_config.json"
    if file.is_file():
        shutil.copyfile(file, folder / file.name)
