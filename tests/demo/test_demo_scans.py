"""The scans, their regions and the lesion noise."""

import subprocess
import sys

import numpy as np
import pytest

from firempo_plugin.demo import scans
from firempo_plugin.demo.scans import LONG_SIDE, SCANS, Scan, fill, load

BY_NAME = {scan.name: scan for scan in SCANS}


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.name)
def test_scan_shows_something(scan: Scan) -> None:
    image = load(scan)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert 64 <= max(image.shape[:2]) <= LONG_SIDE
    assert image.min() < 30
    assert image.max() > 220
    assert image.std() > 25


@pytest.mark.parametrize(
    ("scan", "region", "low", "high"),
    [  # mean grey level that the anatomy must have
        ("ct_chest", "lung", 0, 30),
        ("ct_chest", "aorta", 150, 255),
        ("ct_head", "sinus", 0, 90),
        ("ct_head", "cerebellum", 60, 140),
        ("mr_abdomen", "kidneys", 150, 255),
        ("mr_abdomen", "aorta", 150, 255),
        ("mr_abdomen", "liver", 60, 150),
    ],
)
def test_region_lies_on_its_anatomy(scan: str, region: str, low: float, high: float) -> None:
    image = load(BY_NAME[scan])
    inside = fill(BY_NAME[scan].regions[region], *image.shape[:2])
    assert low <= image[inside].mean() <= high


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.name)
def test_regions_are_parts_of_the_image(scan: Scan) -> None:
    height, width = load(scan).shape[:2]
    for name, region in scan.regions.items():
        assert 0.001 < fill(region, height, width).mean() < 0.5, name


def test_fill_of_a_rectangle() -> None:
    region = (((0, 0), (0.25, 0), (0.25, 0.5), (0, 0.5)),)
    mask = fill(region, 100, 200)
    assert mask.shape == (100, 200)
    assert mask[:50, :50].all()
    assert not mask[52:].any()
    assert not mask[:, 52:].any()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "SCANS", (Scan("x", "no_such_package", "x.dcm", {}),))
    assert scans.missing_packages() == ["no_such_package"]
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load(scans.SCANS[0])


def test_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"pydicom has no data/nothing\.dcm"):
        load(Scan("x", "pydicom", "data/nothing.dcm", {}))


def test_scans_and_pairs_need_no_torch() -> None:
    code = "import sys, firempo_plugin.demo.pairs, firempo_plugin.demo.run; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
