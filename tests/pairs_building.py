"""A build over a small table of one's own, written and run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.config import load
from firempo_plugin.pairs.progress import Progress
from firempo_plugin.store.workspace import Workspace

QUESTIONS = [
    ("Is there a pleural effusion?", "No", "No, there is no pleural effusion."),
    ("Is the heart enlarged?", "Yes", "No, the heart is not enlarged."),
    ("Which lung is affected, left or right?", "Left", "The left lung is affected."),
    ("What imaging modality was used?", "CT", "This is an MRI scan."),
    ("Is there a fracture?", "Yes", "Yes, there is a fracture."),
    ("What disease does the patient have?", "Sarcoidosis", "The patient suffers from old age."),
]
"""Question, truth and response; the built-in judge reads all but the last."""
FIELDS = ("id", "image", "question", "truth", "response", "kind")


def written(folder: Path, rows: list[tuple[str, ...]], **sections: Any) -> Path:
    """Writes records (question, truth, response and, where it is a report, kind) over one image, and their build."""
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (32, 40), dtype=np.uint8)).save(folder / "scan.png")
    filled = [dict(zip(FIELDS, (number, "scan.png", *row), strict=False)) for number, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"kind": "vqa", **row}) + "\n" for row in filled))
    options = {
        "file": str(folder / "rows.jsonl"),
        "image_root": str(folder),
        "columns": {name: name for name in FIELDS},
    }
    config = {"workspace": str(folder / "work"), "source": {"name": "table", "options": options}, **sections}
    path = folder / "build.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def built(path: Path, *overrides: str, **how: Any) -> Progress:
    """Runs a build, as `firempo build` does before it exports."""
    config = load(path, list(overrides))
    workspace = Workspace(Path(config.workspace))
    try:
        return with_pairs(run(config, workspace, **how))
    finally:
        workspace.close()


def with_pairs(progress: Progress) -> Progress:
    """The same with its pairs in memory, for when its store is closed."""
    progress.pairs = list(progress.pairs)
    return progress


def write_questions(folder: Path, questions: Sequence[tuple[str, str, str]] = QUESTIONS, **changes: Any) -> Path:
    """Writes records (question, truth, response) with an image each, and a configuration of their build."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    rows = []
    for number, (question, truth, response) in enumerate(questions):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 200, (64, 80), dtype=np.uint8)).save(images / name)
        rows.append({"id": number, "image": name, "question": question, "answer": truth, "response": response})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"id": "id", "image": "image", "question": "question", "truth": "answer", "response": "response"}
    config = {
        "workspace": str(folder / "work"),
        "source": {
            "name": "table",
            "options": {"file": str(folder / "rows.jsonl"), "image_root": str(images), "columns": columns},
        },
        **changes,
    }
    path = folder / "build.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
