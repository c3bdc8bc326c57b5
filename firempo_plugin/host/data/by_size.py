"""How many places an image takes in a prompt depends on its size alone: a processor is asked once a size, not a row."""

import copy
from functools import partial
from typing import Any

import numpy as np
import torch

KEPT = 256
"""Sizes of a row's images; they hold no pixels."""

_known: dict[tuple[Any, ...], dict[str, Any]] = {}


def by_size(plugin: Any, code: str) -> Any:
    """A template's plug-in like another for `process_messages` alone: what it reads of images is kept by their sizes.

    Args:
        plugin: The host's.
        code: Fingerprint of the template and the processor, with all their settings.
    """
    like = copy.copy(plugin)
    like._get_mm_inputs = partial(_prepared, plugin, code)
    return like


def _prepared(plugin: Any, code: str, images: Any, videos: Any, audios: Any, processor: Any, *more: Any) -> Any:
    if not images or videos or audios:
        return plugin._get_mm_inputs(images, videos, audios, processor, *more)
    key = (code, repr(more), *((image.size, image.mode) for image in images))
    found = _known.pop(key, None)
    if found is None:
        found = {
            name: _shaped(value)
            for name, value in plugin._get_mm_inputs(images, videos, audios, processor, *more).items()
        }
        if len(_known) >= KEPT:
            del _known[next(iter(_known))]
    _known[key] = found
    return {name: list(value) if isinstance(value, list) else value for name, value in found.items()}


def _shaped(value: Any) -> Any:
    """The value without its pixels: where it has many, one that is zero everywhere and takes no memory."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.zeros((), dtype=value.dtype).expand(value.shape)
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)
    if isinstance(value, list | tuple):
        return type(value)(map(_shaped, value))
    return value
