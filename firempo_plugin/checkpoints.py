"""Folders of models: what tells an adapter from a checkpoint, and one from a later one in the same place."""

import hashlib
from pathlib import Path

from .files import file_digest

ADAPTER, CHECKPOINT = "adapter_config.json", "config.json"
_WEIGHTS = ("*.safetensors", "adapter_model.bin", "pytorch_model*.bin")
_SETTINGS = ("*config.json", "*.jinja", "tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")


def fingerprint(folder: Path) -> str:
    """A hash of the model in a folder: of its settings and all of its weights, a second or so a gigabyte."""
    digest = hashlib.sha256()
    for pattern in (*_SETTINGS, *_WEIGHTS):
        for file in sorted(folder.glob(pattern)):
            digest.update(f"{file.name} {file_digest(file)}\n".encode())
    return digest.hexdigest()
