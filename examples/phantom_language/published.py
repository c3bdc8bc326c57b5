"""What the repository has of a benchmark's work, the base of its table and finished answers: in and out of a folder.

    python published.py FOLDER

copies what is finished in FOLDER, that of run.py, into `published`. `run.py` begins with it, and asks and trains only
what is missing. Answers belong to a base and to scripts; those of others are left alone.
"""

import argparse
import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

from scales import MAIN
from shipped import FOUND, WEIGHTS

PUBLISHED = Path(__file__).resolve().parent / "published"
BASE = Path("bases") / MAIN[0]
ANSWERS = {
    ".": (f"answers/{MAIN[0]}/*", "search/*/*", f"tested/{'-'.join(MAIN)}/*/*"),
    "rounds": ("*/*/*/test",),
    "findings": ("answers", "*/*/test"),
}
"""Of the benchmark, and of the experiments of `phantom_rounds`: each part says by which scripts it was made."""
MADE_WITH = "made_with"
NAME = "answers.jsonl"


def has_base(published: Path = PUBLISHED) -> bool:
    """Whether there is a base."""
    return (published / BASE / WEIGHTS).exists()


def take(folder: Path, published: Path = PUBLISHED) -> int:
    """Copies the answers that a folder lacks into it; returns how many splits' answers that were.

    Args:
        folder: Claimed, so that it says what its scripts are.
        published: Where they are.
    """
    own = folder / BASE / WEIGHTS
    if own.exists() and own.read_bytes() != (published / BASE / WEIGHTS).read_bytes():
        return 0
    parts = [part for part in ANSWERS if _same(folder / part / MADE_WITH, published / part / MADE_WITH)]
    taken = 0
    for pattern in _patterns(parts if "." in parts else []):
        for file in sorted(published.glob(f"{pattern}/{NAME}.gz")):
            target = folder / file.parent.relative_to(published)
            if not target.exists():
                part = target.with_name(f"{target.name}.partial")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                (part / NAME).write_bytes(gzip.decompress(file.read_bytes()))
                part.rename(target)
                taken += 1
    return taken


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


def _patterns(parts: Iterable[str]) -> list[str]:
    return [f"{part}/{pattern}" for part in parts for pattern in ANSWERS[part]]


def give(folder: Path, published: Path = PUBLISHED) -> int:
    """Copies the base and every finished answer out of a folder; returns how many splits' answers were new."""
    (published / BASE).mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, FOUND):
        shutil.copyfile(folder / BASE / name, published / BASE / name)
    parts = [part for part in ANSWERS if (folder / part / MADE_WITH).exists()]
    for part in parts:
        (published / part).mkdir(exist_ok=True)
        shutil.copyfile(folder / part / MADE_WITH, published / part / MADE_WITH)
    given = 0
    for pattern in _patterns(parts):
        for file in sorted(folder.glob(f"{pattern}/{NAME}")):
            target = published / file.parent.relative_to(folder) / f"{NAME}.gz"
            if not file.parent.name.endswith(".partial") and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
                given += 1
    return given


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Copies what is finished into the repository.")
    parser.add_argument("folder", type=Path)
    print(f"{give(parser.parse_args().folder)} files of answers are new in {PUBLISHED}")


if __name__ == "__main__":
    main()
