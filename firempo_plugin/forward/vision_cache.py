"""Image features of a frozen vision tower on disk: neither pixels nor tower are needed for a known image."""

import hashlib
from pathlib import Path

from torch import Tensor

from .disk import DamagedError, image_digest, read, size_of, write_whole
from .families import ImageFeatures
from .tree import Image

GRID = "grid"


class VisionCache:
    """One file an image, in a folder that processes and runs can share.

    Args:
        folder: Exists.
        tower: Digest of the tower's weights, the image processor's settings, and the precision.
        most_bytes: Nothing more is written once the folder holds as much.
    """

    def __init__(self, folder: Path, tower: str, most_bytes: int) -> None:
        self._folder = folder
        self._tower = tower
        self._most_bytes = most_bytes
        self.bytes = sum(map(size_of, folder.glob("*/*.safetensors")))

    @property
    def is_full(self) -> bool:
        return self.bytes >= self._most_bytes

    def key(self, image: Image) -> str:
        """The entry of an image under the run's tower."""
        return hashlib.sha256(f"{self._tower} {image_digest(image)}".encode()).hexdigest()

    def load(self, key: str) -> tuple[ImageFeatures, Tensor | None] | None:
        """An image's features and its grid of patches, where the model has one; None if they are not known.

        Raises:
            DamagedError: See `disk.read`; or its layers are not alike.
        """
        content = read(self._path(key))
        if not content:
            return None
        grid = content.pop(GRID, None)
        layers = [content[name] for name in sorted(content) if name != "pooled"]
        features = ImageFeatures(content["pooled"], layers)
        if any(layer.shape != features.pooled.shape or layer.dtype != features.pooled.dtype for layer in layers):
            raise DamagedError(f"{key}: layers of different shapes or kinds")
        return features, grid

    def save(self, key: str, features: ImageFeatures, grid: Tensor | None) -> None:
        """Writes an image's features, unless the folder is full.

        Raises:
            OSError: They cannot be written.
        """
        if self.is_full:
            return
        content = {"pooled": features.pooled, **{f"deepstack{n:02}": x for n, x in enumerate(features.deepstack)}}
        if grid is not None:
            content[GRID] = grid
        path = self._path(key)
        before = size_of(path)
        write_whole(path, {name: tensor.detach().cpu().clone() for name, tensor in content.items()})
        self.bytes += size_of(path) - before

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"
