"""Collects, where there is a network, the wheels that a bare machine lacks.

    python benchmarks/gpu/pack.py

writes them to benchmarks/gpu/wheels, in the versions of requirements/lock.txt and checked against its digests,
for CPython 3.12 on x86-64 Linux, whatever runs this. What the machine has beside them is in `packages`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.packages import LEFT_OUT, MOST_BYTES, PACKED, PLATFORMS, PYTHON, canonical

HERE = Path(__file__).resolve().parent
LOCK = HERE.parents[1] / "requirements" / "lock.txt"
WHEELS = HERE / "wheels"
TAGS = ("--only-binary=:all:", "--implementation", "cp", "--python-version", ".".join(map(str, PYTHON)))
REQUIREMENT = re.compile(r"([\w.-]+)==[^\s;]+")


def main(arguments: list[str] | None = None) -> int:
    """Collects the wheels; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WHEELS, help="folder, emptied of wheels (default: %(default)s)")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    download(requirements(LOCK.read_text("utf-8"), PACKED), folder)
    for package, pattern in LEFT_OUT.items():
        for wheel in folder.glob(f"{package}-*.whl"):
            leave_out(wheel, re.compile(pattern))
    try:
        total = check(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(PACKED)} wheels in {folder}: {total / 1e6:.1f} MB of at most {MOST_BYTES / 1e6:.0f}")
    return 0


def requirements(lock: str, packages: Iterable[str]) -> list[str]:
    """The entries of a lock file for some packages, digests included, in the order of the packages.

    Raises:
        ValueError: The lock file has no entry, or several, for one of them.
    """
    entries: dict[str, list[str]] = {}
    for entry in re.split(r"\n(?=[\w])", re.sub(r"(?m)^\s*#.*\n", "", lock)):
        found = REQUIREMENT.match(entry)
        if found:
            entries.setdefault(canonical(found[1]), []).append(entry.strip())
    for package in packages:
        count = len(entries.get(package, ()))
        if count != 1:
            raise ValueError(f"the lock file has {count} entries for {package}, expected one: run `make lock`")
    return [entries[package][0] for package in packages]


def download(entries: list[str], folder: Path) -> None:
    """Downloads the wheels of a lock file's entries, for the machine.

    Raises:
        subprocess.CalledProcessError: A wheel is not to be had; pip has said which.
    """
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(entries) + "\n")
        file.flush()
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            *TAGS,
            *platforms,
        ]
        subprocess.run([*command, "--dest", str(folder), "--requirement", file.name], check=True)


def leave_out(wheel: Path, pattern: re.Pattern[str]) -> None:
    """Rewrites a wheel without the files whose names match, and without their lines in its record."""
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            if pattern.search(Path(item.filename).name):
                continue
            content = source.read(item)
            if item.filename.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if not pattern.search(Path(line.split(",")[0]).name)).encode()
            target.writestr(item, content)
    partial.replace(wheel)


def check(folder: Path) -> int:
    """The bytes of a folder's wheels together.

    Raises:
        ValueError: There is not exactly one wheel of every package, or they are too large together.
    """
    found = sorted(canonical(wheel.name.split("-")[0]) for wheel in folder.glob("*.whl"))
    if found != sorted(PACKED):
        raise ValueError(
            f"{folder} has wheels of {', '.join(found) or 'nothing'}; expected {', '.join(sorted(PACKED))}"
        )
    total = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    if total > MOST_BYTES:
        raise ValueError(f"the wheels in {folder} take {total / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}")
    return total


if __name__ == "__main__":
    sys.exit(main())
