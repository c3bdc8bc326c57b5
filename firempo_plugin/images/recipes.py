"""The corruptions of other methods' recipes, each with its published figures as the defaults of its options.

They are made on the stored 8-bit image, once and for all, where those methods make them on the model's input, some in
every forward pass: so policy and reference see the same, and a model's way of scaling images does not enter. A mask
bounds them as every corruption; those methods have none, which is `whole_image`.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..errors import UserError
from ..settings import config_key
from .corruptions import Corruption, Filter
from .masks import Mask
from .noise import by_channels, draws, noised
from .pixels import Pixels

STEPS = 1000
"""Of the forward process."""
RATIOS = (3 / 4, 4 / 3)
"""Width to height of a crop, drawn evenly on a logarithmic scale; torchvision's, which mDPO takes."""


@dataclass(frozen=True)
class CropOptions:
    """Of `resized_crop`."""

    least: float = config_key(0.01, "smallest share of the image's area", above=0, most=1)
    most: float = config_key(0.2, "largest", above=0, most=1)

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise UserError(f"least must be at most the option most, {self.most:g}, found {self.least:g}")


def resized_crop(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """A random part of the image, blown up to the size of the whole.

    Its area is drawn evenly between the two shares, its place evenly among those inside the image.

    Source: mDPO (arXiv 2406.11839), whose cropper is torchvision's RandomResizedCrop.
    """
    (height, width), options = image.shape[:2], how.options
    area, ratio, down, right = (np.random.PCG64(seed).random_raw(4) >> np.uint64(11)) / 2**53
    area = height * width * (options.least + area * (options.most - options.least))
    ratio = RATIOS[0] * (RATIOS[1] / RATIOS[0]) ** ratio
    rows = min(height, max(1, round(math.sqrt(area / ratio))))
    columns = min(width, max(1, round(math.sqrt(area * ratio))))
    top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
    part = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    exact = cv2.INTER_LINEAR_EXACT  # the same everywhere
    return cv2.resize(part, (width, height), interpolation=exact).astype(np.uint8, copy=False)


@dataclass(frozen=True)
class DiffusionOptions:
    """Of `diffusion`."""

    step: int = config_key(500, f"of the forward process, counted from 0, of {STEPS}", least=0, below=STEPS)
    std: float = config_key(
        0.5, "what normalising divides by, 0-1 scale: 0.5 for -1 to 1; CLIP's processors: 0.27", above=0
    )


def diffusion(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """A step of the forward diffusion process: x sqrt(abar) + noise sqrt(1 - abar), clipped to 0-255.

    x is (level / 255 - 0.5) / std: the scale of -1 to 1 that the process is defined on, and that Qwen3-VL's processor
    makes, unless `std` says otherwise. One mean for all channels keeps a grey image grey; CLIP's three would shift what
    comes out at step 500 by three levels at most. The image has 8 bits here whatever its file had, since deeper ones
    were brought to them by their window. Clipping is what storing adds to the process. Levels are right to one, since
    image and noise are rounded apart.

    Source: the noise of VCD (arXiv 2311.16922), CHiP (2501.16629) and POVID (2402.11411), with their schedule.
    """
    kept = signal_share(how.options.step)
    levels = np.rint(127.5 + math.sqrt(kept) * (np.arange(256) - 127.5)).astype(np.uint8)
    sigma = 255 * how.options.std * math.sqrt(1 - kept)
    return by_channels(image, lambda channels: noised(channels, sigma, seed, levels))


def signal_share(step: int) -> float:
    """abar: the product of 1 - beta up to and with a step, where the betas rise along a sigmoid from 1e-5 to 0.005."""
    betas = (1e-5 + (5e-3 - 1e-5) / (1 + math.exp(6 - 12 * each / (STEPS - 1))) for each in range(step + 1))
    return math.prod(1 - beta for beta in betas)


@dataclass(frozen=True)
class PixelsOptions:
    """Of `pixels`."""

    share: float = config_key(0.3, "of the pixels in the mask", above=0, most=1)


@dataclass(frozen=True)
class BlocksOptions:
    """Of `blocks`."""

    share: float = config_key(0.3, "of the blocks that the mask touches", above=0, most=1)
    side: int = config_key(14, "of a block, in pixels of the image", least=1)


def pixels(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Single pixels at random at the level of the image's mean; see `blocks`."""
    return blocks(image, mask, replace(how, options=BlocksOptions(how.options.share, side=1)), seed)


def blocks(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Blocks at random at the level of the image's mean, on a grid that starts in the upper left corner.

    Of those that the mask touches, as many as `share` says, at least one: the first in an order that depends on the
    seed and their place. It is drawn with 16 bits, and equal draws go together.

    Source: OPA-DPO (arXiv 2501.09695), which takes one mean for all channels and a grid on the model's input.
    """
    hit = _drawn(image.shape[:2], mask, how.options, seed)
    corrupted = image.copy()
    mean = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    np.copyto(corrupted, mean, where=hit if image.ndim == 2 else hit[..., None])
    return corrupted


def _drawn(shape: tuple[int, int], mask: Mask | None, options: BlocksOptions, seed: int) -> Mask:
    """The blocks that are drawn, [H, W]."""
    rows, columns = (-(-length // options.side) for length in shape)
    order = draws(np.random.PCG64(seed), rows * columns).reshape(rows, columns)
    inside = order.flatten() if mask is None else order[_touched(mask, options.side)]
    if not inside.size:
        return np.zeros(shape, dtype=np.bool_)
    last = max(1, round(options.share * inside.size)) - 1
    inside.partition(last)
    hit: Mask = order <= inside[last]
    return hit.repeat(options.side, axis=0)[: shape[0]].repeat(options.side, axis=1)[:, : shape[1]]


def _touched(mask: Mask, side: int) -> Mask:
    """The blocks in which a mask is true anywhere: [rows, columns] of the grid."""
    if side == 1:
        return mask
    starts = [np.arange(0, length, side) for length in mask.shape]
    touched: Mask = np.logical_or.reduceat(np.logical_or.reduceat(mask, starts[0], axis=0), starts[1], axis=1)
    return touched


@dataclass(frozen=True)
class ReplaceOptions:
    """Of `replace`."""

    sigma: float = config_key(10.0, "standard deviation of the noise, 0-255 scale", above=0)


def replaced(image: Pixels, mask: Mask | None, how: Corruption, seed: int) -> Pixels:
    """Zero-mean Gaussian noise in the place of the pixels, clipped at 0: half of them are black, the others nearly so.

    A grey image stays grey.

    Source: MMedPO (arXiv 2412.06141), as its code means it: there the cast to 8 bits comes before the clipping, so that
    what is negative wraps around to nearly white.
    """
    black = np.zeros(256, dtype=np.uint8)
    return by_channels(image, lambda channels: noised(channels, how.options.sigma, seed, black))


RESIZED_CROP = Filter(resized_crop, CropOptions)
DIFFUSION = Filter(diffusion, DiffusionOptions)
PIXELS = Filter(pixels, PixelsOptions, fills=False)
BLOCKS = Filter(blocks, BlocksOptions, fills=False)
REPLACE = Filter(replaced, ReplaceOptions)
