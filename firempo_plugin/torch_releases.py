"""torch, torchvision and torchaudio: whether they load together, and the one command that mends it.

LLaMA-Factory imports all three in its data code. Their version numbers do not tell: torchaudio 2.11.1 asks for
torch 2.11 or newer and is built for 2.12 or newer. So they are loaded, in a process of their own.
"""

import importlib.util
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata

NAMES = ("torch", "torchvision", "torchaudio")
# A name whose import ends the process is the first without a line.
_LOAD = """
import importlib, json
for name in {names}:
    try:
        importlib.import_module(name)
        problem = None
    except BaseException as error:
        problem = f"{{type(error).__name__}}: {{error}}".strip().splitlines()[-1]
    print("\\n" + json.dumps([name, problem]), flush=True)
"""


@dataclass(frozen=True)
class Misfit:
    """One of the three that is missing or does not load, and the command that mends it without changing torch."""

    what: str
    remedy: str


def misfits() -> list[Misfit]:
    """Loads the three in a fresh process of this environment; takes seconds.

    Returns:
        What does not load, in the order of import; where torch itself does not, nothing is said of the others.
    """
    versions = {name: version_of(name) for name in NAMES}
    found = []
    for name, problem in _load().items():
        if problem is None:
            continue
        beside = "" if name == "torch" else f" beside torch {versions['torch']}"
        state = f"{name} {versions[name]} does not load{beside} ({problem})"
        what = state if versions[name] else f"{name} is not installed"
        found.append(Misfit(f"{what}: LLaMA-Factory imports it", _remedy(name, versions["torch"])))
        if name == "torch":
            break
    return found


def explain(error: BaseException) -> None:
    """Adds a note to an error from an import of the host where one of the three is its cause; once an error."""
    if getattr(error, "__notes__", None):
        return
    for misfit in misfits():
        error.add_note(f"firempo-plugin: {misfit.what}. To mend it: {misfit.remedy}")


def version_of(name: str) -> str | None:
    """The installed release of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _load() -> dict[str, str | None]:
    """What each import raised, as one line; None where it went well."""
    code = _LOAD.format(names=NAMES)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = dict(json.loads(line) for line in run.stdout.splitlines() if line.startswith("["))
    for name in NAMES:
        if name not in told:
            return told | {name: f"the process ended with {run.returncode}"}
    return told


def _remedy(name: str, torch: str | None) -> str:
    installer = "pip" if importlib.util.find_spec("pip") else "uv pip"
    if torch is None:
        return f"{installer} install torch torchvision torchaudio"
    number, _, build = torch.partition("+")
    # Builds with a tag come from PyTorch's own index, where torchvision and torchaudio have the same tag.
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"{installer} install --force-reinstall --no-deps {shlex.quote(_fitting(name, number))}{index}"


def _fitting(name: str, torch: str) -> str:
    """The requirement that fits a torch release: releases in step up to 2.13 (torchaudio 2.11), then any newer one."""
    from packaging.version import Version

    major, minor, micro = Version(torch).release
    if name == "torchvision":
        return f"torchvision==0.{minor + 15}.{micro}" if (major, minor) < (2, 14) else "torchvision>=0.29"
    if name == "torchaudio":
        return f"torchaudio=={torch}" if (major, minor) < (2, 12) else "torchaudio>=2.11.1"
    return f"torch=={torch}"
