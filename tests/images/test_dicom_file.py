"""Compressed DICOM files whose image is not what their header says, and files that hold more than an image."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pairs_memory
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from firempo_plugin.images import dicom_file
from firempo_plugin.images.dicom_file import coded_size
from firempo_plugin.images.pixels import decode
from firempo_plugin.records import RejectedError

JPEG_LS = b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x20\x00\x30\x01\x01\x11\x00"


def coded(width: int, height: int, mode: str = "L", **settings: object) -> bytes:
    file = BytesIO()
    Image.new(mode, (width, height)).save(file, **settings)
    return file.getvalue()


def compressed(path: Path, frame: bytes, syntax: str) -> Path:
    """A grey file of 48 x 32 pixels, as its header says, that holds this compressed frame."""
    dataset = pydicom.dcmread(pairs_memory.dicom(path, np.zeros((32, 48), dtype=np.uint8)))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


def run_lengths(*segments: bytes) -> bytes:
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (coded(48, 32, format="JPEG"), (48, 32, 1)),
        (coded(48, 32, "RGB", format="JPEG", progressive=True), (48, 32, 3)),
        (coded(48, 32, "CMYK", format="JPEG"), (48, 32, 4)),
        (coded(48, 32, format="JPEG2000", no_jp2=True), (48, 32, 1)),
        (coded(48, 32, "RGB", format="JPEG2000"), (48, 32, 3)),
        (JPEG_LS, (48, 32, 1)),
        (JPEG_LS.replace(b"\xff\xf7", b"\xff\xff\xf7"), (48, 32, 1)),
    ],
)
def test_a_compressed_image_tells_its_size(frame, size):
    assert coded_size(frame) == size


@pytest.mark.parametrize("frame", [b"", b"\xff\xd8", b"no image at all", coded(48, 32, format="JPEG")[:20]])
def test_what_tells_no_size_is_refused(frame):
    with pytest.raises(ValueError, match="tells no size"):
        coded_size(frame)


@pytest.mark.parametrize(
    ("frame", "syntax"),
    [
        (coded(49, 32, format="JPEG"), JPEGBaseline8Bit),
        (coded(48, 33, format="JPEG"), JPEGBaseline8Bit),
        (coded(48, 32, "RGB", format="JPEG"), JPEGBaseline8Bit),
        (coded(4800, 32, format="JPEG2000", no_jp2=True), JPEG2000Lossless),
        (JPEG_LS.replace(b"\x00\x30", b"\xff\x30"), JPEGLSLossless),
    ],
)
def test_a_header_that_lies_is_refused_before_decoding(tmp_path, frame, syntax):
    with pytest.raises(RejectedError, match=r"compressed image and header differ: .*the header says 48 x 32 pixels"):
        decode(compressed(tmp_path / "a.dcm", frame, syntax))


def test_headers_that_tell_the_truth_are_read(tmp_path):
    for frame, syntax in (
        (coded(48, 32, format="JPEG"), JPEGBaseline8Bit),
        (coded(48, 32, format="JPEG2000", no_jp2=True), JPEG2000Lossless),
        (run_lengths(b"\x81\x00" * 12), RLELossless),
        (run_lengths(b"\x80" + (b"\x7f" + bytes(128)) * 12), RLELossless),
    ):
        assert decode(compressed(tmp_path / "a.dcm", frame, syntax)).shape == (32, 48)


def test_run_lengths_beyond_the_image_are_refused_before_decoding(tmp_path):
    most = 2 * 48 * 32 + 2**16
    compressed(tmp_path / "a.dcm", run_lengths(b"\x81\x00" * (most // 128)), RLELossless)
    assert decode(tmp_path / "a.dcm").shape == (32, 48), "padding is not a lie"
    compressed(tmp_path / "a.dcm", run_lengths(b"\x81\x00" * (most // 128 + 1)), RLELossless)
    with pytest.raises(RejectedError, match=f"larger than its header says: .*more than {most} pixels"):
        decode(tmp_path / "a.dcm")


def test_a_file_holds_little_beside_its_image(tmp_path, monkeypatch):
    path = pairs_memory.dicom(tmp_path / "a.dcm", np.zeros((64, 64), dtype=np.uint16))
    room = 2 * 64 * 64 * 2 + 2**16
    monkeypatch.setattr(dicom_file, "BESIDE", 2**16)
    with path.open("ab") as file:
        file.truncate(room)
    decode(path)
    with path.open("ab") as file:
        file.truncate(room + 1)
    with pytest.raises(RejectedError, match=rf"more than its image: .*more than {room} bytes, .* 8192 bytes of pixels"):
        decode(path)


def test_a_deflated_file_is_read(tmp_path):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    plain = pairs_memory.dicom(tmp_path / "a.dcm", values)
    dataset = pydicom.dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert np.array_equal(decode(tmp_path / "b.dcm"), decode(plain))


@pytest.mark.parametrize(("stored", "share"), [(np.uint8, 1), (np.uint16, 21 / 12)])
def test_deeper_colour_may_have_fewer_pixels(tmp_path, stored, share):
    path = pairs_memory.dicom(tmp_path / "a.dcm", np.zeros((10, 12, 3), dtype=stored))
    decode(path, max_pixels=round(share * 120))
    with pytest.raises(RejectedError, match=r"too large"):
        decode(path, max_pixels=round(share * 120) - 1)
