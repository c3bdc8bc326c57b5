"""The example's scripts, imported by name as they do each other, and a tiny random model in the place of SmolLM2."""

import sys

import pytest
import torch
from places import EXAMPLES_DIR
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDERS = [EXAMPLES_DIR / "phantom_language", EXAMPLES_DIR / "phantom"]
NAMES = {file.stem for folder in FOLDERS for file in folder.glob("*.py")}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Nobody else sees the scripts' names, and they see nobody else's."""
    held = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    monkeypatch.setattr(sys, "path", [*map(str, FOLDERS), *sys.path])
    yield
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(held)


def load(more):
    """As `packaged.load`: a language model with weights of chance, and a tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", *more]
    words = {word: number for number, word in enumerate([*letters, *special])}
    backend = Tokenizer(models.BPE(words, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True) for word in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    torch.manual_seed(0)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=48, **heads, tie_word_embeddings=True)
    return LlamaForCausalLM(config), tokenizer


@pytest.fixture
def tiny(scripts):
    """The joined model, untaught, and its prompt."""
    import llava
    from answering import Prompt

    language, tokenizer = load((llava.IMAGE,))
    return llava.join(language, tokenizer).eval(), Prompt(tokenizer)
