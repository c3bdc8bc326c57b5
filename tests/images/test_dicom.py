"""What a DICOM file looks like on screen."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from firempo_plugin.images.pixels import decode, write_png
from firempo_plugin.records import RejectedError

EXAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def save(path: Path, stored: Any, *, big_endian: bool = False, **header: Any) -> Path:
    """Writes a grey image of signed 16-bit values, or what else the header says of them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian
    file = FileDataset(
        path, {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=not big_endian
    )
    values = np.array(stored, dtype=">i2" if big_endian else "<i2")
    file.Rows, file.Columns = values.shape[-2:]
    file.SamplesPerPixel, file.PixelRepresentation = 1, 1
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PhotometricInterpretation = "MONOCHROME2"
    file.PixelData = values.tobytes()
    for name, value in header.items():
        setattr(file, name, value)
    file.save_as(path)
    return path


def table(entries: list[int], first: int, bits: int, kind: str) -> list[Dataset]:
    """A value-of-interest table, as numbers (US) or as bytes (u1) or as words of either order (<u2, >u2)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    words = kind != "US"
    packed = np.array(entries, dtype=kind).tobytes() if words else b""
    item.add_new("LUTData", "OW" if words else "US", packed + bytes(len(packed) % 2) if words else entries)
    return [item]


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.dcm",
        [[0, 50, 100]],
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=0.5,
        WindowWidth=201,
    )
    assert decode(path).tolist() == [[0, 128, 255]]


def test_a_given_window_is_of_rescaled_values(tmp_path: Path) -> None:
    settings = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 80}
    path = save(tmp_path / "a.dcm", [[0, 1003, 1004, 1104, 1105, 3000]], **settings)
    assert decode(path, window=(-20, 80)).tolist() == [[0, 0, 0, 255, 255, 255]]
    assert decode(path, window=(-21, 81)).tolist() == [[0, 0, 2, 252, 255, 255]]  # 255 / 102 a value


def test_first_of_several_windows(tmp_path: Path) -> None:
    one = save(tmp_path / "one.dcm", [[0, 10, 60]], WindowCenter=40, WindowWidth=100)
    two = save(tmp_path / "two.dcm", [[0, 10, 60]], WindowCenter=[40, 5], WindowWidth=[100, 6])
    assert np.array_equal(decode(one), decode(two))


@pytest.mark.parametrize(
    ("function", "levels"),
    [
        # centre 100, width 50, values 60, 75, 100, 125, 140
        ("LINEAR", [0, 0, 130, 255, 255]),  # (value - 99.5) / 49 + 0.5
        ("LINEAR_EXACT", [0, 0, 128, 255, 255]),  # (value - 100) / 50 + 0.5
        ("SIGMOID", [10, 30, 128, 225, 245]),  # 1 / (1 + exp(-4 (value - 100) / 50))
    ],
)
def test_window_functions(tmp_path: Path, function: str, levels: list[int]) -> None:
    window = {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": function}
    assert decode(save(tmp_path / "a.dcm", [[60, 75, 100, 125, 140]], **window)).tolist() == [levels]


@pytest.mark.parametrize(
    "window",
    [{}, {"WindowCenter": None, "WindowWidth": None}, {"WindowCenter": 5, "WindowWidth": 0}, {"WindowCenter": 5}],
)
def test_smallest_to_largest_without_a_window(tmp_path: Path, window: dict[str, Any]) -> None:
    assert decode(save(tmp_path / "a.dcm", [[-7, 43, 93]], **window)).tolist() == [[0, 128, 255]]


def test_an_even_image_is_black(tmp_path: Path) -> None:
    assert decode(save(tmp_path / "a.dcm", [[900, 900]])).tolist() == [[0, 0]]


def test_a_width_of_one_is_a_step(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", [[8, 9, 10, 11]], WindowCenter=10, WindowWidth=1)
    assert decode(path).tolist() == [[0, 0, 255, 255]]


@pytest.mark.parametrize("kind", ["US", "<u2", ">u2"])
def test_a_table_goes_before_a_window(tmp_path: Path, kind: str) -> None:
    tables = table([0, 1000, 4095], first=10, bits=12, kind=kind)
    path = save(
        tmp_path / "a.dcm",
        [[5, 10, 11, 12, 700]],
        big_endian=kind == ">u2",
        VOILUTSequence=tables,
        WindowCenter=5,
        WindowWidth=3,
    )
    assert decode(path).tolist() == [[0, 0, 62, 255, 255]]
    assert decode(path, window=(0, 12)).tolist() == [[106, 212, 234, 255, 255]]


def test_a_table_of_bytes_with_more_entries_than_levels(tmp_path: Path) -> None:
    tables = table([entry // 16 for entry in range(4096)], first=0, bits=8, kind="<u2")
    path = save(tmp_path / "a.dcm", [[0, 1600, 4095]], VOILUTSequence=tables)
    assert decode(path).tolist() == [[0, 100, 255]]


@pytest.mark.parametrize("count", [256, 255])
def test_a_table_of_one_byte_an_entry(tmp_path: Path, count: int) -> None:
    tables = table(list(range(count)), first=0, bits=8, kind="u1")
    path = save(tmp_path / "a.dcm", [[0, 100, 200]], VOILUTSequence=tables)
    assert decode(path).tolist() == [[0, 100, 200]]


def test_an_unknown_window_function_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", [[0, 1]], WindowCenter=5, WindowWidth=3, VOILUTFunction="CUBIC")
    with pytest.raises(RejectedError, match="CUBIC: expected LINEAR, LINEAR_EXACT, SIGMOID"):
        decode(path)


def test_monochrome1_is_the_negative(tmp_path: Path) -> None:
    positive = decode(save(tmp_path / "a.dcm", [[0, 30, 99]]))
    negative = decode(save(tmp_path / "b.dcm", [[0, 30, 99]], PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(negative, 255 - positive)


def test_the_content_and_not_the_suffix_decides(tmp_path: Path) -> None:
    path = save(tmp_path / "IM000001", [[0, 50, 100]])
    assert decode(path).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("examples_palette.dcm", (350, 800, 3)),
        ("examples_rgb_color.dcm", (240, 320, 3)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100, 3)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100, 3)),  # YBR_FULL
        ("SC_rgb_rle_16bit.dcm", (100, 100, 3)),
        ("SC_rgb_rle_32bit.dcm", (100, 100, 3)),
        ("SC_rgb_small_odd_big_endian.dcm", (3, 3, 3)),
    ],
)
def test_colour(name: str, shape: tuple[int, ...]) -> None:
    image = decode(EXAMPLES / name)
    assert image.shape == shape
    assert image.dtype == np.uint8
    assert (image[..., 0] != image[..., 2]).any()


def test_encodings_of_one_colour_chart_agree() -> None:
    chart = decode(EXAMPLES / "SC_rgb_rle.dcm").astype(int)
    assert np.array_equal(decode(EXAMPLES / "SC_rgb_rle_16bit.dcm"), chart)
    assert np.array_equal(decode(EXAMPLES / "SC_rgb_rle_32bit.dcm"), chart)
    for lossy in ("SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"):
        assert np.abs(decode(EXAMPLES / lossy) - chart).mean() < 10, lossy


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
def test_grey(name: str) -> None:
    image = decode(EXAMPLES / name)
    assert image.ndim == 2
    assert image.std() > 25


def test_transfer_syntaxes_of_one_image_agree() -> None:
    plain = decode(EXAMPLES / "MR_small.dcm")
    for name in ("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"):
        assert np.array_equal(decode(EXAMPLES / name), plain), name


def test_a_decoded_file_survives_as_png(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "examples_palette.dcm"):
        write_png(decode(EXAMPLES / name), tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert np.array_equal(np.array(image), decode(EXAMPLES / name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("examples_ybr_color.dcm", "several frames: .*: 30, one is needed"),
        ("rtdose.dcm", "several frames"),
        ("rtplan.dcm", "has no image"),
        ("test-SR.dcm", "has no image"),
        ("MR_truncated.dcm", "cannot be decoded"),
        ("rtplan_truncated.dcm", "cannot be decoded|has no image"),
        ("no_meta.dcm", "no DICOM file"),
    ],
)
def test_files_without_one_whole_image_are_rejected(name: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason) as caught:
        decode(EXAMPLES / name)
    assert str(EXAMPLES / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("interpretation", ["ODD", "CMYK", "MONOCHROME3"])
def test_unknown_interpretation_is_rejected(tmp_path: Path, interpretation: str) -> None:
    path = save(tmp_path / "odd.dcm", [[1, 2]], PhotometricInterpretation=interpretation)
    with pytest.raises(RejectedError, match=interpretation):
        decode(path)


def test_too_many_pixels_are_rejected_from_the_header_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", [[1, 2]], Rows=60_000, Columns=60_000)
    with pytest.raises(RejectedError, match=r"too large: .*60000 x 60000"):
        decode(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.dcm", [[1, 2]])
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"pip install 'firempo-plugin\[dicom\]'") as raised:
        decode(path)
    assert not isinstance(raised.value, RejectedError)  # which would be kept, and hold after the installation


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_are_decoded_or_rejected_and_nothing_else(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rejected = 0
    for name in ("CT_small.dcm", "examples_palette.dcm", "MR_small_RLE.dcm"):
        whole = np.frombuffer((EXAMPLES / name).read_bytes(), dtype=np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            places = draw.integers(132, 3000, 4)
            damaged[places] = draw.integers(0, 256, 4)
            (tmp_path / "a.dcm").write_bytes(damaged.tobytes())
            rejected += is_rejected(lambda: decode(tmp_path / "a.dcm", max_pixels=10**6))
    assert rejected > 0


def is_rejected(action: Callable[[], np.ndarray]) -> bool:
    try:
        assert action().dtype == np.uint8
    except RejectedError:
        return True
    return False


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_example_is_decoded_or_rejected() -> None:
    decoded = 0
    for path in sorted(EXAMPLES.glob("*.dcm")):
        decoded += not is_rejected(lambda path=path: decode(path))
    assert decoded > 30
