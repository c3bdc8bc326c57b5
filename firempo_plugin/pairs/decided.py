"""What decides beside records and files what comes of a chunk; where it is the same, no item is looked at again."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from ..files import file_digest
from ..records import Edit, Finding, Record, Segmentation, Target
from ..store.engine import Item, Step
from ..store.workspace import Workspace
from .config import BuildConfig

_EDIT = Edit("a", "b", True, "a", "rules")
_KINDS: list[dict[str, Any]] = [
    {"kind": kind, "language": language} for kind in ("vqa", "report") for language in ("en", "zh")
]
PROBES = [
    Item(
        Record("probe", (), "Is it a or b?", "no", **kind),
        response="a",
        responses=("a", "b"),
        edit=_EDIT,
        finding=finding,
        target=Target("a", ""),
        segmentations=(Segmentation(None, (), (), ""),),
    )
    for kind in _KINDS
    for finding in (None, Finding(1, 1, "a", "b"))
]
"""Items whose keys hold all settings of every step."""


APART = ("export", "executor", "ray", "max_cost")
"""Sections and keys that decide nothing of what comes of a record."""


def settings_digest(config: BuildConfig, workspace: Workspace, steps: Sequence[Step]) -> str:
    """Hash of all settings, of the code, and of what the steps' keys hold beside an item's own."""
    return _hash(
        [
            config_digest(config, workspace),
            [[step.name, step.key(probe)] for step in steps for probe in PROBES],
            file_digest(config.respond.file) if config.respond.file else None,
        ]
    )


def config_digest(config: BuildConfig, workspace: Workspace) -> str:
    """Hash of the settings and of the code; of the place, too, since paths are stored as they are."""
    about = {name: value for name, value in asdict(config).items() if name not in APART}
    return _hash([about, os.path.abspath(workspace.folder), package_digest()])


@cache
def package_digest() -> str:
    """Of all that this package says and does; looking once more costs less than to be wrong about what matters."""
    content = hashlib.sha256()
    for file in _all(files(__package__.partition(".")[0])):
        content.update(file.read_bytes())
    return content.hexdigest()


def _all(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _all(entry)
        elif entry.name.endswith((".py", ".yaml", ".md")):
            found.append(entry)
    return found


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
