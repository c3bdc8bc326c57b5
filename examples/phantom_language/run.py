"""The phantom with a language prior, from end to end.

    python run.py [--folder saves/phantom_language] [--seeds 5] [--jobs N] [--anew] [--quick]

What is finished is kept: the same command goes on where it stopped, wherever it was killed. More seeds may be asked for
later. The table's base model and the answers that `published` has are taken from there; `--anew` makes everything
on this machine. `--quick` does everything once and little of it, to see that it works; its figures mean nothing.
"""

import argparse
import os
import sys
from pathlib import Path

import packaged
import published
from plan import Plan
from tasks import run

MOST_JOBS = 8
"""A task takes about 3 GB of memory."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the benchmark; the same command goes on after a stop.")
    parser.add_argument("--folder", type=Path, default=Path("saves/phantom_language"))
    parser.add_argument("--seeds", type=int, help="of every row of the table; 5, with --quick 1")
    parser.add_argument("--jobs", type=int, default=min(MOST_JOBS, os.cpu_count() or 1), help="tasks at a time")
    parser.add_argument(
        "--anew", action="store_true", help="take nothing that the repository has, in a folder of its own"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run of minutes, in a folder of its own")
    arguments = parser.parse_args()
    seeds = (1 if arguments.quick else 5) if arguments.seeds is None else arguments.seeds
    for name, value in (("jobs", arguments.jobs), ("seeds", seeds)):
        if value < 1:
            parser.error(f"--{name} must be at least 1, found {value}")
    os.environ["OMP_NUM_THREADS"] = "1"  # sums of several threads depend on how many there are
    folder = arguments.folder.resolve()
    if arguments.quick or arguments.anew:  # whose answers are those of another base
        folder /= "quick" if arguments.quick else "anew"
    given = not arguments.anew and not arguments.quick and published.has_base()
    plan = Plan(folder, seeds, "quick" if arguments.quick else "full", given)
    if packaged.gguf_file() is None and not (plan.folder / "start").exists():
        sys.exit(packaged.MISSING)
    plan.claim()
    if given:
        print(f"{published.take(plan.folder)} files of answers are taken from {published.PUBLISHED}")
    run(plan.stages(), plan.logs, arguments.jobs)
    print((plan.results / "recount.md").read_text(encoding="utf-8"))
    print(f"Done. {plan.results}")


if __name__ == "__main__":
    main()
