"""Models that see an image at its own size, row by row: Pixtral, Mistral Small 3 and Ministral 3."""

from pathlib import Path

from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralImageProcessor,
    PixtralProcessor,
    PixtralVisionConfig,
)

from .common import TEXT, new_tokenizer, token_ids

SIGHT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 112,
    "patch_size": 14,
}


def _build(folder: Path, config, model, text, merge: int, **settings) -> None:
    tokenizer = new_tokenizer(folder)
    words = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*words, "[IMG]", "[IMG_BREAK]", "[IMG_END]"]})
    config = config(
        text_config=text(**TEXT, **token_ids(tokenizer), head_dim=16, sliding_window=None, vocab_size=len(tokenizer)),
        vision_config=PixtralVisionConfig(**SIGHT),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        tie_word_embeddings=False,
        vision_feature_layer=-1,
        **settings,
    )
    model(config).save_pretrained(folder)
    patch = {"height": 14 * merge, "width": 14 * merge}
    PixtralProcessor(
        image_processor=PixtralImageProcessor(size={"longest_edge": 112}, patch_size=patch),
        tokenizer=tokenizer,
        patch_size=14,
        spatial_merge_size=merge,
    ).save_pretrained(folder)


def pixtral(folder: Path) -> None:
    full = {"vision_feature_select_strategy": "full", "image_seq_length": 1}
    _build(folder, LlavaConfig, LlavaForConditionalGeneration, MistralConfig, 1, **full)


def mistral3(folder: Path, text=MistralConfig) -> None:
    _build(folder, Mistral3Config, Mistral3ForConditionalGeneration, text, 2, spatial_merge_size=2)
