"""Where records come from: the section `source` of a build or an evaluation."""

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import UserError
from ..images.tiles import MAX_PIXELS
from ..settings import config_key
from .registry import SOURCES


@dataclass
class SourceConfig:
    """Where the records come from."""

    name: str = config_key("", SOURCES)
    options: dict[str, Any] = config_key({}, "what the source needs: folder, split, language, columns, ...")
    limit: int | None = config_key(None, "read so many records at most", least=1)
    test_images: str | None = config_key(None, "folder or list of test images: records that show one are leaks")
    leaks: Literal["refuse", "report"] = config_key(
        "refuse", "what to do with leaks: refuse (reject the record) or report"
    )
    window: list[float] | None = config_key(None, "low, high grey value of images deeper than 8 bits; else min and max")
    max_pixels: int = config_key(
        64_000_000,
        "refuse images of more pixels; reading one takes up to 12 bytes for each, 768 MB",
        least=1,
        most=MAX_PIXELS,  # the trainer refuses larger ones
    )

    def __post_init__(self) -> None:
        if self.window is not None and not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise UserError(f"window must be two grey values, the lower first, found {self.window}")
