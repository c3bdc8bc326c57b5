"""`executor: ray`, in a process of its own: Ray keeps for good whom it may speak to, and others here have loaded it."""

import os
import subprocess
import sys

from places import ROOT


def test_actors():
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "tests/pairs/actors_alone.py"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=480)
    assert run.returncode == 0, f"{run.stdout[-4000:]}\n{run.stderr[-2000:]}"
