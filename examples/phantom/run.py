"""The phantom benchmark from end to end.

    python run.py [--full | --search | --relatives] [--folder saves/phantom] [--rebuild-base] [--jobs 2]

What is finished is kept: the same command goes on where it stopped. Quick: four rows of the table, one seed. Full: all
rows, five seeds, and what happens over training. `--search` tries learning rates on the validation split instead.
`--relatives` searches them for every other objective of the package too, and compares all of them at one seed.
`--rebuild-base` makes the base model anew instead of taking the one beside this file.
"""

import argparse
import os
from pathlib import Path

import search
from bench import Bench
from each_objective import Relatives
from tasks import run

MOST_JOBS = 8
"""A task takes about 1.5 GB of memory."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the phantom benchmark; the same command goes on after a stop.")
    parser.add_argument("--folder", type=Path, default=Path("saves/phantom"))
    parser.add_argument("--full", action="store_true", help="all rows of the table, five seeds")
    parser.add_argument("--search", action="store_true", help="try learning rates on the validation split, and end")
    parser.add_argument("--relatives", action="store_true", help="every objective of the package once, one seed")
    parser.add_argument("--rebuild-base", action="store_true", help="make the base model anew, from nothing")
    parser.add_argument("--jobs", type=int, default=min(MOST_JOBS, os.cpu_count() or 1), help="tasks at a time")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, found {arguments.jobs}")
    if arguments.relatives and (arguments.full or arguments.search):
        parser.error("--relatives has a search and a table of its own: write it without --full and --search")
    folder, rebuild = arguments.folder.resolve(), arguments.rebuild_base
    bench = (
        Relatives(folder, rebuild=rebuild)
        if arguments.relatives
        else Bench(folder, full=arguments.full, rebuild=rebuild)
    )
    bench.claim()
    run(bench.search() if arguments.search else bench.stages(), bench.logs, arguments.jobs)
    if arguments.search:
        text = search.table(bench)
        (bench.folder / "search" / "search.md").write_text(text, encoding="utf-8")
        print(text)
    else:
        for table in bench.tables():
            folder = bench.compared(table) / "tables"
            print((folder / "table.md").read_text(encoding="utf-8").partition("\n## Protocol")[0])
            print((folder / "recount.md").read_text(encoding="utf-8"))
            if (notes := folder / "notes.md").exists():
                print(notes.read_text(encoding="utf-8"))
            print(f"Done. {folder}")


if __name__ == "__main__":
    main()
