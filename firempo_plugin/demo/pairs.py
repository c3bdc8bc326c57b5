"""Writes the demo's pairs, with their clean and noised images, as LLaMA-Factory reads them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ..images.corruptions import Corruption
from ..images.noise import corrupt, seed_of
from .questions import PAIRS, WHOLE, Pair
from .scans import SCANS, Mask, Pixels, fill, load

NOISE = Corruption("noise", sigma=45.0)

_COLUMNS = ("chosen", "rejected", "images", "rejected_images", "chosen_spans", "rejected_spans")
DATASET_INFO: dict[str, object] = {
    "firempo_demo": {
        "file_name": "pairs.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", **{column: column for column in _COLUMNS}},
    }
}

_REGIONS = {scan.name: scan.regions for scan in SCANS}


def write(folder: Path) -> None:
    """Writes `images/*.png`, `pairs.json` and `dataset_info.json` into a folder, which is made if need be.

    Raises:
        ModuleNotFoundError: pydicom or scikit-image is not installed.
        FileNotFoundError: One of them is installed without an image this demo needs.
    """
    images = {scan.name: load(scan) for scan in SCANS}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / clean_file(name))
    for pair in PAIRS:
        for scan, file in noised_files(pair).items():
            mask = noise_mask(pair, scan, images[scan])
            noised = corrupt(images[scan], mask, NOISE, seed_of(file, 0, NOISE))
            Image.fromarray(noised).save(folder / file)
    for file, content in (("pairs.json", [row(pair) for pair in PAIRS]), ("dataset_info.json", DATASET_INFO)):
        (folder / file).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def row(pair: Pair) -> dict[str, object]:
    """The pair as one row of `pairs.json`; image files are relative to the folder of `pairs.json`."""
    chosen, chosen_spans = pair.side(0)
    rejected, rejected_spans = pair.side(1)
    return {
        "conversations": [{"from": "human", "value": "<image>" * len(pair.scans) + pair.question}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": [clean_file(scan) for scan in pair.scans],
        "rejected_images": list(noised_files(pair).values()) or None,
        "chosen_spans": chosen_spans if pair.marked else None,
        "rejected_spans": rejected_spans if pair.marked else None,
    }


def clean_file(scan: str) -> str:
    """The file of a scan's clean image."""
    return f"images/{scan}.png"


def noised_files(pair: Pair) -> dict[str, str]:
    """The pair's noised image file for each of its scans; empty where the pair has no noised image."""
    return {scan: f"images/{pair.name}_{scan}_noised.png" for scan in pair.scans} if pair.noise else {}


def noise_mask(pair: Pair, scan: str, image: Pixels) -> Mask:
    """[height, width], true where the noise of a pair goes in one of its scans, whose clean image is given."""
    height, width = image.shape[:2]
    if pair.noise == WHOLE:
        return np.ones((height, width), dtype=np.bool_)
    return fill(_REGIONS[scan][str(pair.noise)], height, width)
