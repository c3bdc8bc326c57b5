"""Copies what the report shows from a run's folder into `results`; the protocol, which names local paths, stays there.

    python publish.py FOLDER [--relatives]

FOLDER is that of run.py after `--full`, or after `--relatives`. Columns of exact matches are left out of the Markdown:
the model answers in sentences, and nothing matches.
"""

import argparse
import shutil
from pathlib import Path

from bench import HERE, Bench
from each_objective import Relatives

FIGURES = ("overview.png", "grounding_by_layer.png")
"""Of the table of objectives."""


def without_columns(table: str, word: str) -> str:
    """Markdown whose tables have lost the columns with a word in their heading."""
    lines: list[str] = []
    dropped: set[int] = set()
    inside = False
    for line in table.splitlines():
        if not line.startswith("|"):
            inside = False
            lines.append(line)
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not inside:
            dropped = {place for place, cell in enumerate(cells) if word in cell}
            inside = True
        kept = [cell for place, cell in enumerate(cells) if place not in dropped]
        lines.append(f"| {' | '.join(kept)} |")
    return "\n".join(lines) + "\n"


def publish(bench: Bench, results: Path) -> None:
    """Writes <table>.md and <table>.csv of every table, and of the full benchmark the figures."""
    results.mkdir(exist_ok=True)
    for name in bench.tables():
        made = bench.compared(name) / "tables"
        table = (made / "table.md").read_text(encoding="utf-8").partition("\n## Protocol")[0]
        table = table.replace("# Evaluation", f"# {name.capitalize()}", 1).rstrip() + "\n"
        recount = (made / "recount.md").read_text(encoding="utf-8")
        text = f"{without_columns(table, 'exact')}\n## Recount\n\nBy `recount.py`.\n\n{recount}"
        notes = made / "notes.md"
        if notes.exists():
            text += f"\n## Validation and test\n\n{notes.read_text(encoding='utf-8')}"
        (results / f"{name}.md").write_text(text, encoding="utf-8")
        shutil.copyfile(made / "table.csv", results / f"{name}.csv")
    if bench.full:
        for figure in FIGURES:
            shutil.copyfile(bench.compared("objectives") / "tables" / figure, results / figure)
        for file in ("dynamics.png", "dynamics.csv"):
            shutil.copyfile(bench.folder / "dynamics" / file, results / file)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Copies what the report shows.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--relatives", action="store_true", help="the table of every objective at one seed")
    arguments = parser.parse_args()
    bench = Relatives(arguments.folder) if arguments.relatives else Bench(arguments.folder, full=True)
    publish(bench, HERE / "results")


if __name__ == "__main__":
    main()
