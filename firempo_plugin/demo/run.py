"""The first run: writes the model, the pairs and a configuration, then starts the stock training command."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..files import write_text
from ..processes import HOST, host_command, search_path
from ..torch_releases import misfits
from . import pairs, tiny_model
from .scans import missing_packages

CONFIG = "fire_mpo.yaml"

_BUILDERS: dict[str, Callable[[Path], None]] = {"model": tiny_model.build, "data": pairs.write}


def run(folder: Path, *, steps: int = 24) -> int:
    """Builds the demo in a folder, trains on it, and says where the results are.

    A model, data or configuration that the folder already has is kept; in the configuration, only
    `max_steps` is set to `steps`.

    Args:
        folder: Where to build; made if need be.
        steps: Optimiser steps, at least 1.

    Returns:
        The exit status of the training command.

    Raises:
        UserError: `steps` is less than 1, or something is not installed or does not load.
    """
    if steps < 1:
        raise UserError(f"steps must be at least 1, found {steps}")
    if missing := missing_packages():
        raise UserError(f"the demo's images are in {' and '.join(missing)}: pip install 'firempo-plugin[demo]'")
    command = host_command()
    if unfit := misfits():
        raise UserError("\n".join(f"{misfit.what}.\n-> {misfit.remedy}" for misfit in unfit))
    prepare(folder, steps)
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ, "PATH": search_path()}
    sys.stdout.flush()
    status = subprocess.run([command, "train", CONFIG], cwd=folder, env=environment, check=False).returncode
    on_path = shutil.which(HOST) == command
    again = f"cd {shlex.quote(str(folder))} && {HOST if on_path else shlex.quote(command)} train {CONFIG}"
    print(f"\n{summary(folder / 'output')}" if status == 0 else f"\nThe training command failed with status {status}.")
    print(f"Again:   {again}")
    return status


def prepare(folder: Path, steps: int) -> None:
    """Makes the folder complete: model, data, and a configuration with that many steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in _BUILDERS.items():
        print(f"{folder / name}: {'built' if build_once(folder / name, build) else 'already there'}")
    config = folder / CONFIG
    template = config if config.is_file() else Path(__file__).with_name(CONFIG)
    text, found = re.subn(r"(?m)^max_steps:\s*\d+", f"max_steps: {steps}", template.read_text("utf-8"))
    if not found:
        text = f"{text.rstrip()}\nmax_steps: {steps}\n"
    write_text(config, text)
    print(f"{config}: {steps} steps")


def build_once(target: Path, build: Callable[[Path], None]) -> bool:
    """Builds a folder under another name and renames it, so that it is complete whenever it exists.

    Returns:
        Whether it was built now; one that exists is left alone.
    """
    if target.is_dir():
        return False
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists():  # left by a run that was killed
        shutil.rmtree(partial)
    partial.mkdir()
    build(partial)
    partial.rename(target)
    return True


def summary(output: Path) -> str:
    """Where the results of a finished run are."""
    plots = ", ".join(sorted(str(path) for path in output.glob("*.png")))
    return f"Adapter: {output / 'adapter_model.safetensors'}\nLog:     {output / 'trainer_log.jsonl'}\nPlots:   {plots}"
