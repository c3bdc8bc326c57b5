"""All values of a deep image: through the window that the file has, they are the 8-bit image that is read of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_dicom import save as save_dicom
from test_images import RAMP, tiff_bytes

from firempo_plugin.images.deep import Deep, as_colours, read
from firempo_plugin.images.pixels import decode

STORED = [[-1000, -400, 40], [60, 300, 1900]]


def through_its_window(deep: Deep) -> np.ndarray:
    black, white = deep.window
    grey = np.rint(255 * np.clip((deep.low + deep.step * deep.stored - black) / (white - black), 0, 1))
    return 255 - grey if deep.negative else grey


def files(folder: Path) -> dict[str, Path]:
    made = {name: folder / name for name in ("a.png", "float.tif", "negative.tif")}
    Image.fromarray(RAMP.astype(np.uint16)).save(made["a.png"])
    Image.fromarray((RAMP / 1000).astype(np.float32)).save(made["float.tif"])
    made["negative.tif"].write_bytes(tiff_bytes(RAMP, photometric=0))
    window = {"RescaleSlope": 1, "RescaleIntercept": -24, "WindowCenter": 40, "WindowWidth": 400}
    made["ct.dcm"] = save_dicom(folder / "ct.dcm", STORED, **window)
    exact = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}
    made["exact.dcm"] = save_dicom(folder / "exact.dcm", STORED, **exact)
    made["none.dcm"] = save_dicom(folder / "none.dcm", STORED, PhotometricInterpretation="MONOCHROME1")
    return made


@pytest.mark.parametrize("name", ["a.png", "float.tif", "negative.tif", "ct.dcm", "exact.dcm", "none.dcm"])
def test_through_its_own_window_it_is_the_image_that_is_read(tmp_path: Path, name: str) -> None:
    file = files(tmp_path)[name]
    deep = read(file)
    assert deep is not None
    assert np.abs(through_its_window(deep) - decode(file)).max() <= (name == "float.tif")
    colours = as_colours(deep.stored).astype(int)
    assert (256 * colours[..., 0] + colours[..., 1] == deep.stored).all()


def test_whole_values_are_kept_as_they_are(tmp_path: Path) -> None:
    made = files(tmp_path)
    ct, fine = read(made["ct.dcm"]), read(made["float.tif"])
    assert (ct.low + ct.step * ct.stored).tolist() == (np.array(STORED) - 24).tolist(), "Hounsfield units"
    assert np.abs(fine.low + fine.step * fine.stored - RAMP / 1000).max() < 1e-4


def test_what_has_8_bits_has_no_more(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png") is None
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": bytes(6)}
    assert read(save_dicom(tmp_path / "a.dcm", STORED, **eight)) is None
