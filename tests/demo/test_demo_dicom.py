"""What a DICOM file looks like on screen."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from firempo_plugin.demo.dicom import Window, read

EXAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def save(path: Path, stored: list[list[int]], **header: Any) -> Path:
    """Writes a grey image of signed 16-bit values."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    values = np.array(stored, dtype="<i2")
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel, file.PixelRepresentation = 1, 1
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PhotometricInterpretation = "MONOCHROME2"
    file.PixelData = values.tobytes()
    for name, value in header.items():
        setattr(file, name, value)
    file.save_as(path)
    return path


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.dcm",
        [[0, 50, 100]],
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=0.5,
        WindowWidth=201,
    )
    assert read(path)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_values_outside_the_window_are_black_and_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", [[-1000, -21, -20, 80, 81, 1000]])
    grey = read(path, Window(center=30.5, width=101))[0, :, 0]
    assert grey.tolist() == [0, 0, 0, 255, 255, 255]


def test_first_of_several_windows(tmp_path: Path) -> None:
    one = save(tmp_path / "one.dcm", [[0, 10, 60]], WindowCenter=40, WindowWidth=100)
    two = save(tmp_path / "two.dcm", [[0, 10, 60]], WindowCenter=[40, 5], WindowWidth=[100, 6])
    assert np.array_equal(read(one), read(two))


def test_whole_range_without_a_window(tmp_path: Path) -> None:
    grey = read(save(tmp_path / "a.dcm", [[-7, 93]]))[0, :, 0]
    assert grey.tolist() == [0, 255]


def test_monochrome1_is_the_negative(tmp_path: Path) -> None:
    stored = [[0, 30, 99]]
    positive = read(save(tmp_path / "a.dcm", stored))
    negative = read(save(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(negative, 255 - positive)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("examples_palette.dcm", (350, 800, 3)),
        ("examples_ybr_color.dcm", (240, 320, 3)),  # 30 frames
        ("examples_rgb_color.dcm", (240, 320, 3)),
    ],
)
def test_colour(name: str, shape: tuple[int, ...]) -> None:
    image = read(EXAMPLES / name)
    assert image.shape == shape
    assert image.dtype == np.uint8
    assert (image[..., 0] != image[..., 2]).any()


@pytest.mark.parametrize("interpretation", ["ODD", "CMYK"])
def test_unknown_interpretation_is_refused(tmp_path: Path, interpretation: str) -> None:
    path = save(tmp_path / "odd.dcm", [[1, 2]], PhotometricInterpretation=interpretation)
    with pytest.raises(ValueError, match=interpretation):
        read(path)
