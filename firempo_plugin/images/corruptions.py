"""The corruptions of images by name. To add one, write its function and its line here.

A function takes an image ([H, W] or [H, W, 3]), the mask whose inside is used ([H, W]; None: everywhere), `sigma` and a
seed, and returns a new image of that shape.
"""

from typing import Any

from ..registry import Registry

CORRUPTIONS: Registry[Any] = Registry(
    __package__,
    {
        "noise": (".noise:noise", "Gaussian"),
        "crop": (".noise:crop", "the level around it in its place"),
        "black": (".noise:black", ""),
        "blur": (".noise:blur", ""),
    },
)
