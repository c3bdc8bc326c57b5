"""Folders of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
TEMPLATES_DIR = ROOT / "data_templates"
EXAMPLES_DIR = ROOT / "examples"
SAMPLES_DIR = ROOT.parent / "shared" / "data"
