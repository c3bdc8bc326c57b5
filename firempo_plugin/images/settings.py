"""What is done to images: the section `noise` of a build."""

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import UserError
from ..settings import config_key
from .corruptions import CORRUPTIONS, corruption


@dataclass
class NoiseConfig:
    """The noised image."""

    by: Literal["corruption", "similar"] = config_key(
        "corruption",
        "corruption, or similar: the image of another record, not of the same study, that looks most like it",
    )
    corruption: str = config_key("noise", CORRUPTIONS)
    options: dict[str, Any] = config_key({}, "what the corruption needs")
    whole_image: bool = config_key(
        False, "ablation, or another method's recipe: corrupt the whole image whatever the target"
    )
    sigma: float = config_key(45.0, "standard deviation of the noise, 0-255 scale", least=0)
    fallback_sigma: float = config_key(12.0, "of the whole-image noise where a target was not found", least=0)
    shared: bool = config_key(
        False, "one noise an image: records with the same image and mask get the same noised image"
    )
    workers: int = config_key(2, "images at a time", least=1)

    def __post_init__(self) -> None:
        if self.by == "similar" and (self.corruption != "noise" or self.options or self.whole_image or self.shared):
            raise UserError(
                "by: similar takes the place of corruption, options, whole_image and shared; leave them out"
            )
        idle = ["fallback_sigma"] if self.whole_image else []
        idle += ["sigma"] if self.whole_image and self.corruption != "noise" else []
        for key in idle:
            if vars(self)[key] != vars(NoiseConfig)[key]:
                raise UserError(
                    f"{key}: {vars(self)[key]:g} decides nothing with whole_image: true and corruption: "
                    f"{self.corruption}; leave it out"
                )
        if self.options:
            corruption(self.corruption, self.sigma, self.options)
