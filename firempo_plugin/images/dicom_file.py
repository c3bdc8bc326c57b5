"""Reading a DICOM file within bounds: nothing in it unpacks to much more than the pixels that its header names."""

import struct
import zlib
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records import RejectedError

BESIDE = 32 * 2**20
"""Bytes that a file may hold beside its pixels: other attributes, previews, what its makers keep there."""

_START = 132 + 12  # the preamble with its mark, and the element that gives the length of the rest of the meta group
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}


class DicomFile:
    """An open DICOM file: its header first, and its pixels once the header is found sound."""

    def __init__(self, path: Path) -> None:
        """Reads the header; a deflated file is inflated as far as that takes, and BESIDE bytes at most.

        Raises:
            Exception: Whatever pydicom raises over a damaged file.
        """
        import pydicom
        from pydicom.filereader import read_dataset

        self.path = path
        self.meta = pydicom.filereader.read_file_meta_info(path)
        self.deflated = self.meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian
        if self.deflated:
            self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            packed = path.read_bytes()[_START + int(self.meta.FileMetaInformationGroupLength) :]
            self._unpacked = self._unpacker.decompress(packed, BESIDE)
            self.header = read_dataset(BytesIO(self._unpacked), False, True, stop_when=_at_pixels)
        else:
            self.header = pydicom.dcmread(path, stop_before_pixels=True, defer_size="1 MB")

    def whole(self, frame: int) -> Any:
        """The whole data set.

        Args:
            frame: Bytes of the image, as its header tells.

        Raises:
            RejectedError: The file is larger than such an image takes, or its compressed image is of another size.
        """
        import pydicom
        from pydicom.filereader import read_dataset

        room = 2 * frame + BESIDE
        size = self.path.stat().st_size
        if self.deflated and size <= room:
            self._unpacked += self._unpacker.decompress(self._unpacker.unconsumed_tail, room + 1 - len(self._unpacked))
            size = len(self._unpacked)
        if size > room:
            raise RejectedError(
                f"DICOM file holds more than its image: {self.path}: more than {room} bytes, and its header tells of "
                f"{frame} bytes of pixels; keep the image alone"
            )
        if not self.deflated:
            return pydicom.dcmread(self.path)
        dataset = read_dataset(BytesIO(self._unpacked), False, True)
        dataset.file_meta = self.meta
        dataset.set_original_encoding(False, True)
        return dataset


def refuse_liars(path: Path, dataset: Any, extended_offsets: Any) -> None:
    """Compares what a compressed image unpacks to with the header, before it is unpacked.

    Raises:
        RejectedError: They differ.
    """
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1, extended_offsets=extended_offsets)
    expected = (int(dataset.Columns), int(dataset.Rows), int(dataset.SamplesPerPixel))
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        most = 2 * expected[0] * expected[1] + 2**16
        if any(_run_length(segment, most) > most for segment in _segments(frame)):
            raise RejectedError(f"compressed image is larger than its header says: {path}: more than {most} pixels")
        return
    found = coded_size(frame)
    if found != expected:
        sizes = [f"{width} x {height} pixels of {samples} samples" for width, height, samples in (found, expected)]
        raise RejectedError(f"compressed image and header differ: {path}: {sizes[0]}, the header says {sizes[1]}")


def coded_size(frame: bytes) -> tuple[int, int, int]:
    """Width, height and samples a pixel of a JPEG, JPEG-LS or JPEG 2000 image, from its own start.

    Raises:
        UserError: It is none of them.
    """
    start = frame.find(_J2K_START)
    if not frame.startswith(b"\xff\xd8") and start >= 0:
        right, lower, left, upper = struct.unpack_from(">4I", frame, start + 8)
        return right - left, lower - upper, struct.unpack_from(">H", frame, start + 40)[0]
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _JPEG_FRAMES:
            height, width, samples = struct.unpack_from(">HHB", frame, place + 5)
            return width, height, samples
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + (0 if marker in _JPEG_BARE else struct.unpack_from(">H", frame, place + 2)[0])
    raise UserError("its compressed image tells no size")


def _segments(frame: bytes) -> list[bytes]:
    """The segments of an RLE image: DICOM PS3.5, annex G."""
    count, *offsets = struct.unpack_from("<16I", frame)
    bounds = [*offsets[: min(count, 15)], len(frame)]
    return [frame[start:end] for start, end in pairwise(bounds)]


def _run_length(segment: bytes, most: int) -> int:
    """Bytes that a segment unpacks to; counting ends beyond `most`."""
    place = total = 0
    while place < len(segment) and total <= most:
        code = segment[place]
        total += code + 1 if code < 128 else (257 - code) % 129  # 128 means nothing
        place += 2 + code if code < 128 else 1 + (code > 128)
    return total


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return tag in _PIXEL_DATA
