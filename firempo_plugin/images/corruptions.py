"""The corruptions of images by name. To add one, write its function, a `Filter` of it and its line here."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UserError
from ..registry import Registry
from ..settings import checked


@dataclass(frozen=True)
class Plain:
    """The options of a corruption that has none."""


@dataclass(frozen=True)
class Corruption:
    """What is done to the pixels.

    Attributes:
        name: One of `CORRUPTIONS`.
        sigma: Standard deviation of the noise on the 0-255 scale; 0 for corruptions other than `noise`.
        options: Those of its `Filter`.
    """

    name: str = "noise"
    sigma: float = 0.0
    options: Any = Plain()

    @property
    def settings(self) -> dict[str, Any]:
        """All of it as JSON; where it has no options, as it was before there were any."""
        return {name: value for name, value in asdict(self).items() if value != {}}


@dataclass(frozen=True)
class Filter:
    """How a corruption is made.

    Attributes:
        corrupted: Takes an image ([H, W] or [H, W, 3]), the mask whose inside is used ([H, W]; None: everywhere),
            the `Corruption` and a seed, and returns a new image of that shape.
        options: Dataclass of `noise.options`, made by `config_key`.
        fills: Whether it changes all of the mask, so that the mask shows in the image.
    """

    corrupted: Callable[[Any, Any, Corruption, int], Any]
    options: type[Any] = Plain
    fills: bool = True


CORRUPTIONS: Registry[Filter] = Registry(
    __package__,
    {
        "noise": (".noise:NOISE", "Gaussian"),
        "crop": (".noise:CROP", "the level around it in its place"),
        "black": (".noise:BLACK", "with whole_image: a blind image"),
        "blur": (".noise:BLUR", ""),
        "resized_crop": (".recipes:RESIZED_CROP", "a small part of the image, blown up; mDPO's, with whole_image"),
        "diffusion": (".recipes:DIFFUSION", "a step of the forward process; VCD's, CHiP's, POVID's"),
        "pixels": (".recipes:PIXELS", "some at the image's mean; OPA-DPO's"),
        "blocks": (".recipes:BLOCKS", "the same of squares"),
        "replace": (".recipes:REPLACE", "noise in the image's place; MMedPO's"),
    },
)


def corruption(name: str, sigma: float, options: Mapping[str, Any]) -> Corruption:
    """A corruption as settings have it.

    Args:
        name: One of `CORRUPTIONS`.
        sigma: Of `noise`; the others do not read it.
        options: Those of its own.

    Raises:
        UserError: An option is unknown to it or wrong; starts with "options".
    """
    try:
        own = checked(CORRUPTIONS.load(name).options, options)
    except UserError as error:
        raise UserError(f"options of {name}: {error}") from None
    return Corruption(name, sigma if name == "noise" else 0.0, own)
