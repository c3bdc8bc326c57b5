"""Commands in processes of their own, of the environment that this one runs in."""

import os
import shutil
import sys
from pathlib import Path

from .errors import UserError

HOST = "llamafactory-cli"


def search_path() -> str:
    """PATH with this environment's commands first, whether or not it is activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def host_command() -> str:
    """LLaMA-Factory's command.

    Raises:
        UserError: It is not installed.
    """
    command = shutil.which(HOST, path=search_path())
    if command is None:
        raise UserError(f"there is no {HOST} in {Path(sys.executable).parent}: pip install llamafactory")
    return command
