"""Rounds and findings on the phantom with a language prior.

    python run.py [--folder saves/phantom_language] [--seeds 1] [--jobs N] [--quick]

Takes the folder of that benchmark, and makes of it what it lacks. What is finished is kept: the same command goes on
where it stopped. `--quick` does everything once and little of it; its figures mean nothing.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "phantom_language"))

import packaged
import published
from plan import Plan
from rounds import Experiments
from tasks import run

MOST_JOBS = 8
"""A task takes about 3 GB of memory."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the experiments; the same command goes on after a stop.")
    parser.add_argument("--folder", type=Path, default=Path("saves/phantom_language"))
    parser.add_argument("--seeds", type=int, default=1, help="of every row; more may be asked for later")
    parser.add_argument("--jobs", type=int, default=min(MOST_JOBS, os.cpu_count() or 1), help="tasks at a time")
    parser.add_argument("--quick", action="store_true", help="a smoke run of minutes, in a folder of its own")
    arguments = parser.parse_args()
    for name, value in (("jobs", arguments.jobs), ("seeds", arguments.seeds)):
        if value < 1:
            parser.error(f"--{name} must be at least 1, found {value}")
    os.environ["OMP_NUM_THREADS"] = "1"  # sums of several threads depend on how many there are
    folder = arguments.folder.resolve()
    if arguments.quick:
        folder /= "quick"
    given = not arguments.quick and published.has_base()
    plan = Plan(folder, arguments.seeds, "quick" if arguments.quick else "full", given)
    if packaged.gguf_file() is None and not (plan.folder / "start").exists():
        sys.exit(packaged.MISSING)
    plan.claim()
    experiments = Experiments(plan)
    experiments.claim()
    if given:
        print(f"{published.take(plan.folder)} files of answers are taken from {published.PUBLISHED}")
    run(experiments.stages(), plan.logs, arguments.jobs)
    print((plan.results / "rounds.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
