"""What is imported is declared: a plain install has it, not by the grace of another package."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from places import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((ROOT / "firempo_plugin").rglob("*.py"))
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml", "skimage": "scikit-image"}
HOSTS_OWN = {"accelerate", "gradio"}
"""What only `host` imports and LLaMA-Factory itself brings, in the versions that it bounds."""
HOSTS_OPTIONS = {"badam"}
"""Imported where the user has chosen the host's option that needs it, and the host has refused its absence."""


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@cache
def imported(path: Path) -> set[str]:
    """Distributions whose modules a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in found - set(sys.stdlib_module_names) - {"firempo_plugin"}}


def test_what_is_imported_is_declared():
    optional = {name for part in ("dicom", "demo", "qlora", "ray", "reports") for name in names(extras()[part])}
    declared = names(DECLARED["dependencies"]) | optional

    def foreign(path):
        hosts = HOSTS_OWN | HOSTS_OPTIONS if ROOT / "firempo_plugin" / "host" in path.parents else set()
        return imported(path) - declared - hosts

    assert {str(path): foreign(path) for path in FILES if foreign(path)} == {}


def extras() -> dict[str, list[str]]:
    return DECLARED["optional-dependencies"]


def test_what_is_declared_is_imported_or_has_its_reason():
    """torchaudio and torchvision are declared for the host, which imports them; see `firempo doctor`."""
    everything = set().union(*map(imported, FILES))
    assert names(DECLARED["dependencies"]) - everything == {"torchaudio"}


def test_the_host_brings_what_is_left_to_it():
    assert names(metadata.requires("llamafactory")) >= HOSTS_OWN


def test_the_lock_holds_every_dependency():
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8"), re.M))
    wanted = names(DECLARED["dependencies"]) | {name for part in extras().values() for name in names(part)}
    assert wanted - {DECLARED["name"]} <= locked
