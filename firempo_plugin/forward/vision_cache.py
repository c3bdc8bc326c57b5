"""Image features of a frozen vision tower on disk: neither pixels nor tower are needed for a known image."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .disk import DamagedError, Vectors, image_digest, read, size_of, write_whole
from .families import ImageFeatures
from .tree import Image

VERSION = 1
"""Raised when other features come of the same image: by what is saved here, by `families`, or by the batch that the
host subpackage's collator makes."""
GRID = "grid"
LOOKS = 16
"""Over how many parts of the room that is left a process looks what others have written."""


@dataclass(frozen=True)
class FeatureKind:
    """What the features of an image are like.

    Attributes:
        vectors: One of each image token.
        layers: How many deepstack layers come with them.
        patches: Patches of the image's grid that make one vector; None for a model without grids.
    """

    vectors: Vectors
    layers: int = 0
    patches: int | None = None

    def fits(self, content: dict[str, Tensor], grid: Tensor | None) -> bool:
        """Whether named tensors, `pooled` and the layers, and a grid are an image's."""
        pooled = content.get("pooled", torch.empty(0))
        if self.patches is None or grid is None:
            of_grid = self.patches is None and grid is None
        else:
            is_grid = grid.shape == (3,) and grid.dtype == torch.int64
            of_grid = is_grid and int(grid.prod()) == len(pooled) * self.patches
        alike = all(self.vectors.hold(layer, len(pooled)) for layer in content.values())
        return of_grid and alike and content.keys() == {"pooled", *map(_layer_name, range(self.layers))}


class VisionCache:
    """One file an image, in a folder that processes and runs can share.

    Args:
        folder: Exists.
        tower: Digest of the tower's weights, the image processor's settings, and the precision.
        most_bytes: Nothing more is written once the folder holds as much, whoever wrote it.
        kind: What its features are like.
    """

    def __init__(self, folder: Path, tower: str, most_bytes: int, kind: FeatureKind) -> None:
        self._folder = folder
        self._tower = tower
        self._most_bytes = most_bytes
        self._kind = kind
        self._measure()

    def _measure(self) -> None:
        self.bytes = sum(map(size_of, self._folder.glob("*/*.safetensors")))
        self._next_look = self.bytes + (self._most_bytes - self.bytes) / LOOKS

    @property
    def is_full(self) -> bool:
        return self.bytes >= self._most_bytes

    def key(self, image: Image) -> str:
        """The entry of an image under the run's tower."""
        return hashlib.sha256(f"{VERSION} {self._tower} {image_digest(image)}".encode()).hexdigest()

    def load(self, key: str) -> tuple[ImageFeatures, Tensor | None] | None:
        """An image's features and its grid of patches, where the model has one; None if they are not known.

        Raises:
            DamagedError: See `disk.read`; or they are not of the run's kind.
        """
        content = read(self._path(key))
        if not content:
            return None
        grid = content.pop(GRID, None)
        if not self._kind.fits(content, grid):
            raise DamagedError(f"{key}: features of another shape or kind")
        layers = [content[_layer_name(number)] for number in range(self._kind.layers)]
        return ImageFeatures(content["pooled"], layers), grid

    def save(self, key: str, features: ImageFeatures, grid: Tensor | None) -> None:
        """Writes an image's features, unless the folder is full.

        Raises:
            OSError: They cannot be written.
        """
        if self.is_full:
            return
        content = {"pooled": features.pooled, **{_layer_name(n): x for n, x in enumerate(features.deepstack)}}
        if grid is not None:
            content[GRID] = grid
        path = self._path(key)
        before = size_of(path)
        write_whole(path, {name: tensor.detach().cpu().clone() for name, tensor in content.items()})
        self.bytes += size_of(path) - before
        if self.bytes >= self._next_look:
            self._measure()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


def _layer_name(number: int) -> str:
    return f"deepstack{number:02}"
