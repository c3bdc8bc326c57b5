"""Models that `firempo convert` makes of what was released, by family."""

from pathlib import Path
from unittest.mock import patch

import originals

from firempo_plugin.convert.commands import convert
from firempo_plugin.convert.kinds import KINDS

RELEASED = {"huatuo_vision": originals.HUATUO, "llava_med": originals.LLAVA_MED}
"""The architecture of what a family's checkpoint is converted from."""


def original(family: str, source: Path) -> originals.Original:
    """The tiny model as first released that a checkpoint is converted from, with its vocabulary in a folder."""
    architecture = RELEASED[family]
    return originals.Original(architecture, originals.tiny_tokenizer(architecture, source / "vocabulary"))


def converted(family: str, folder: Path) -> None:
    made = original(family, folder / "source")
    released = made.save(folder / "source" / "released")
    tower = originals.save_tower(made.tower, folder / "source" / "clip")
    with patch.dict(KINDS, {made.architecture: made.kind}):
        convert(released, folder / "converted", tower)
    for file in (folder / "converted").iterdir():
        file.rename(folder / file.name)
