"""Measures what reading one image takes, in a process of its own; run as a script with a folder to write to.

Prints JSON: by case, the bytes that the process grew by at most, for each pixel of the image.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 2000
BOMB = 400_000_000
"""Bytes that the deflated DICOM file inflates to; its header tells of 64 x 64 pixels."""


def dicom(path: Path, stored: np.ndarray, **header: object) -> Path:
    """A DICOM file of these values, in grey or, with three samples, in colour."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * stored.dtype.itemsize
    file.Rows, file.Columns = stored.shape[:2]
    file.SamplesPerPixel, file.PixelRepresentation = stored[0, 0].size, 0
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, bits, bits - 1
    file.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        file.PlanarConfiguration = 0
    file.PixelData = stored.tobytes()
    for name, value in header.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path


def deflated_bomb(path: Path) -> Path:
    """A deflated DICOM file whose small header is followed by far more than its pixels."""
    import pydicom

    plain = dicom(path, np.zeros((64, 64), dtype=np.uint16)).read_bytes()
    start = 132 + 12 + pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength
    head = plain[: plain.rindex(b"\xe0\x7f\x10\x00")]
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + BOMB.to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(head[start:] + pixels) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(10**7)) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    body += zeros * (BOMB // 10**7)
    # The two syntaxes differ in length by four characters; the meta group's length follows.
    meta = head[144:start].replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x001.2.840.10008.1.2.1.99")
    length = (int.from_bytes(head[140:144], "little") + 2).to_bytes(4, "little")
    path.write_bytes(head[:140] + length + meta + body + packer.flush())
    return path


def files(folder: Path) -> dict[str, Path]:
    """An image of each kind whose memory once went beyond its bounds."""
    grey = np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE)
    colour = np.stack([grey % 251, grey % 241, grey % 239], axis=-1).astype(np.uint8)
    Image.fromarray((grey % 60_000).astype(np.uint16)).save(folder / "deep.png", compress_level=1)
    Image.fromarray(grey.astype(np.float32)).save(folder / "float.tif")
    Image.fromarray(colour).save(folder / "colour.png", compress_level=1)
    return {
        "deep": folder / "deep.png",
        "float": folder / "float.tif",
        "colour": folder / "colour.png",
        "dicom": dicom(folder / "deep.dcm", (grey % 4000).astype(np.uint16), RescaleSlope=2, RescaleIntercept=-9),
        "dicom_colour": dicom(folder / "colour.dcm", colour, PhotometricInterpretation="YBR_FULL"),
        "bomb": deflated_bomb(folder / "bomb.dcm"),
    }


def main(folder: Path) -> None:
    from firempo_plugin.host.data.reasons import RowError
    from firempo_plugin.host.data.row_images import open_images
    from firempo_plugin.images.corruptions import CORRUPTIONS, Corruption, corruption
    from firempo_plugin.images.masks import read_mask
    from firempo_plugin.images.noise import corrupt
    from firempo_plugin.images.pixels import decode, pixel_id, write_png
    from firempo_plugin.records import RejectedError

    where = files(folder)
    none = np.zeros((SIDE, SIDE), dtype=np.bool_)
    row = {"_images": [str(where["colour"])], "_rejected_images": [str(where["colour"])]}
    how = Corruption("noise", 45)
    labels = [(level, 1, 2) for level in range(20)]
    cases = {name: lambda name=name: decode(where[name]) for name in where}
    cases |= {
        "identity": lambda: pixel_id(decode(where["colour"])),
        "labels": lambda: read_mask(where["colour"], (SIDE, SIDE), labels),
        "noised": lambda: write_png(
            corrupt(decode(where["colour"]), None, Corruption("noise", 45), 1), folder / "n.png"
        ),
        "row": lambda: open_images(row, ""),
    }
    for name in CORRUPTIONS:
        chosen = corruption(name, 45, {})
        cases[name] = lambda chosen=chosen: corrupt(decode(where["colour"]), ~none, chosen, 1)
    small = np.zeros((8, 8, 3), dtype=np.uint8)
    write_png(corrupt(small, None, how, 1), folder / "small.png")
    decode(folder / "small.png")
    decode(dicom(folder / "small.dcm", small))  # what the first call imports does not count
    grown = {}
    for name, case in cases.items():
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        try:
            case()
        except (RejectedError, RowError):
            assert name in ("bomb", "row"), name
        grown[name] = (memory("VmHWM") - before) / SIDE**2
    print(json.dumps(grown))


def memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
