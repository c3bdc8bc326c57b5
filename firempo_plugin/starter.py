"""`firempo init`: the examples and data templates, out of the wheel or, where the install is editable, the clone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

NAMES = ("examples", "data_templates")
LEFT_OUT = ("board", "phantom", "phantom_language", "phantom_rounds")
"""Of the examples: the README's pictures, and benchmarks that belong to a clone."""


def write(folder: Path) -> int:
    """Writes the examples and templates below a folder; a file that differs is kept and named.

    Returns:
        0.
    """
    written, kept = 0, []
    for source, target in _files(folder):
        if target.exists() and target.read_bytes() != source.read_bytes():
            kept.append(target)
            continue
        written += not target.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for file in kept:
        print(f"kept, since it is not as this version has it: {file}")
    print(f"{written} files written below {folder}: {' and '.join(f'{name}/' for name in NAMES)}")
    print(
        "Next: look at rows with `firempo preview fire_mpo_mixed dataset_dir=data_templates`, then copy an example,\n"
        "set model, dataset and dataset_dir in it, and run `llamafactory-cli train` on it."
    )
    return 0


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every file with the place that it is to have."""
    for name in NAMES:
        packed = Path(__file__).parent / "starter_files" / name
        source = packed if packed.is_dir() else Path(__file__).parents[1] / name
        for file in sorted(source.rglob("*")):
            parts = file.relative_to(source).parts
            if file.is_file() and parts[0] not in LEFT_OUT and "__pycache__" not in parts:
                yield file, folder.joinpath(name, *parts)
