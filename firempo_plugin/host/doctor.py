"""`firempo doctor`: what is installed, which touch points are in place, and what to do about what is not.

Reads files and package metadata, and loads torch, torchvision and torchaudio in a process of their own; LLaMA-Factory
is not loaded.
"""

import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..torch_releases import misfits, version_of
from .autoload import HostFinder, switched_off
from .data.processor import shrunk_first_in
from .touchpoints import TESTED_HOSTS, TO_A_TESTED_HOST, TOUCH_POINTS, missing_points
from .train import demands, reporters

START_UP_FILE = "firempo_plugin_autoload.pth"
# The newest releases that the suite ran with; newer ones are not refused.
NEWEST_TESTED = {
    "llamafactory": list(TESTED_HOSTS)[-1],
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "torchaudio": "2.11.1",
}

SIGMOID_INSTEAD = {
    "hinge": "write `stage: fire_mpo` with `fire_objective: slic`",
    "ipo": "write `stage: fire_mpo` with `fire_objective: ipo`, or with `ipo_mean` for the mean over the tokens",
    "kto_pair": "write `stage: kto`, LLaMA-Factory's own, for unpaired rows: no fire_objective is KTO",
}
"""What LLaMA-Factory's `pref_loss` offers beside the sigmoid by TRL's hand, and what computes it.

It does not say to TRL which of them is meant, and since TRL 0.20 that makes the sigmoid of each.
"""


@dataclass
class Finding:
    """One line of the report; a remedy makes it a failure."""

    what: str
    remedy: str | None = None


def examine(training: Path | None = None) -> int:
    """Prints the report.

    Args:
        training: A training YAML whose demands on this machine are looked at too.

    Returns:
        0 where the stage is ready to run, else 1.

    Raises:
        UserError: The YAML cannot be read.
    """
    failures = 0
    config = read_config(training) if training else {}
    for title, findings in (
        ("Installed", _packages()),
        ("Loading", _loading()),
        ("LLaMA-Factory touch points", _touch_points()),
        ("Commands", _commands()),
        ("Reporters", _reporters()),
        *([(str(training), _asked_by(config))] if training else []),
    ):
        print(f"\n{title}")
        for finding in findings:
            failures += finding.remedy is not None
            print(f"  {'FAIL' if finding.remedy else 'ok  '}  {finding.what}")
            if finding.remedy:
                print(f"        -> {finding.remedy}")
    print(f"\n{failures} thing(s) to mend." if failures else "\nReady: `stage: fire_mpo` is in place.")
    return 1 if failures else 0


def _packages() -> Iterator[Finding]:
    yield Finding(f"Python {sys.version.split()[0]} at {sys.prefix}")
    yield Finding(f"firempo-plugin {__version__}")
    for requirement in metadata.requires("firempo-plugin") or []:
        if ";" in requirement:
            continue
        yield _requirement(requirement)
    yield from _torch_releases()
    for name, use in (("bitsandbytes", "QLoRA"), ("deepspeed", "DeepSpeed"), ("ray", "Ray"), ("pydicom", "demo")):
        found = version_of(name)
        yield Finding(f"{name} {found}" if found else f"{name} is not installed (needed for {use} only)")


def _requirement(requirement: str) -> Finding:
    from packaging.requirements import Requirement
    from packaging.version import Version

    needed = Requirement(requirement)
    supported = needed.specifier & _asked_by_the_host(needed.name)
    remedy = TO_A_TESTED_HOST if needed.name == "llamafactory" else f"pip install '{needed.name}{supported}'"
    found = version_of(needed.name)
    if found is None:
        return Finding(f"{needed.name} is not installed", remedy)
    if not supported.contains(found, prereleases=True):
        return Finding(f"{needed.name} {found}, supported: {supported}", remedy)
    newest = NEWEST_TESTED.get(needed.name)
    if newest and Version(Version(found).public) > Version(newest):
        return Finding(f"{needed.name} {found}, newer than {newest}, the newest that this release was tested with")
    if needed.name == "llamafactory" and (commit := TESTED_HOSTS.get(found)):
        return Finding(f"{needed.name} {found}, which many commits are called; tested at {commit}")
    return Finding(f"{needed.name} {found}")


def _asked_by_the_host(name: str) -> Any:
    """The versions of a package that the installed LLaMA-Factory asks for: each of its own has other bounds."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    lines = metadata.requires("llamafactory") if version_of("llamafactory") else None
    asked = [need.specifier for need in map(Requirement, lines or ()) if need.name == name and not need.marker]
    return SpecifierSet(",".join(map(str, asked)))


def _torch_releases() -> Iterator[Finding]:
    found = [Finding(misfit.what, misfit.remedy) for misfit in misfits()]
    yield from found or [Finding("torch, torchvision and torchaudio load together")]


def _loading() -> Iterator[Finding]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    files = [Path(folder, START_UP_FILE) for folder in dict.fromkeys(folders)]
    present = [file for file in files if file.is_file()]
    reinstall = "pip install --force-reinstall --no-deps firempo-plugin (without --target: it skips start-up files)"
    yield (
        Finding(f"start-up file {present[0]}")
        if present
        else Finding(f"no start-up file {START_UP_FILE} in {folders[0]}", reinstall)
    )
    if cause := switched_off():
        yield Finding(*cause.split("; "))
    if any(type(finder) is HostFinder for finder in sys.meta_path):
        yield Finding("the import hook is registered in this process")
    elif not cause:
        yield Finding(
            "the import hook is not registered in this process", "start Python without -S and -I; " + reinstall
        )


def _reporters() -> Iterator[Finding]:
    there = ", ".join(reporters.installed())
    yield Finding(f"`report_to` can be none, {there}" if there else "`report_to` can be none: no tracker is installed")


def read_config(training: Path) -> dict[str, Any]:
    """The keys and values of a training YAML; ValueError where it has none."""
    from yaml import YAMLError, safe_load

    try:
        config = safe_load(training.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, YAMLError, RecursionError) as error:
        raise UserError(f"{training} is not readable YAML: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{training} must hold keys and values")
    return config


def _asked_by(config: dict[str, Any]) -> Iterator[Finding]:
    """What a training YAML asks for: what cannot be had, and what would be lost without an error."""
    wrong = [found for found in (reporters.problem(config.get("report_to")), demands.problem(config)) if found]
    yield from (Finding(what, remedy) for what, remedy in wrong)
    if not wrong:
        yield Finding("its backend, reporters, DeepSpeed, Ray and mix of data sets can be had")
    yield from _another_loss(config)
    if shrunk := shrunk_first_in(config):
        yield Finding(shrunk)


def _another_loss(config: dict[str, Any]) -> Iterator[Finding]:
    from packaging.version import Version

    loss, trl = str(config.get("pref_loss")), version_of("trl")
    if config.get("stage") == "dpo" and loss in SIGMOID_INSTEAD and trl and Version(trl) >= Version("0.20"):
        mean = ", of mean log-probabilities" if loss == "ipo" else ""
        what = (
            f"pref_loss: {loss} trains with the sigmoid of plain DPO{mean}: LLaMA-Factory does not name it to TRL {trl}"
        )
        yield Finding(what, SIGMOID_INSTEAD[loss])


def _touch_points() -> Iterator[Finding]:
    if version_of("llamafactory") is None:
        yield Finding("LLaMA-Factory is not installed", TO_A_TESTED_HOST)
        return
    for point in TOUCH_POINTS:
        missing = list(missing_points((point,)))
        place = f"llamafactory.{point.module}"
        if missing:
            remedy = f"LLaMA-Factory {version_of('llamafactory')} has moved: {TO_A_TESTED_HOST}"
            yield Finding("; ".join(missing), remedy)
        else:
            yield Finding(f"{place}: {', '.join(point.needs)}")


def _commands() -> Iterator[Finding]:
    """The host starts torchrun and, from the web UI, itself by name."""
    scripts = sysconfig.get_path("scripts")
    for name in ("llamafactory-cli", "torchrun"):
        found = shutil.which(name)
        if found is None:
            yield Finding(f"{name} is not on PATH", f"activate the environment: source {scripts}/activate")
        elif Path(found).resolve().parent != Path(scripts).resolve():
            yield Finding(f"{name} on PATH is {found}, of another environment", f"source {scripts}/activate")
        else:
            yield Finding(found)
