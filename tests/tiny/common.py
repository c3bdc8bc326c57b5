"""What the tiny models have in common: sizes, parts and the tokeniser."""

from pathlib import Path

from transformers import AutoTokenizer

from firempo_plugin.demo import tiny_model

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
WINDOW = 8
ONE_OF_EACH = ["sliding_attention", "full_attention"]
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "vision_use_head": False,
}


def new_tokenizer(folder: Path):
    tiny_model.build(folder / "source")
    return AutoTokenizer.from_pretrained(folder / "source")


def token_ids(tokenizer) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
