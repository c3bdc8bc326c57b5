"""Images as the trainer sees them: every kind of file, every way to fail, identity and lossless writing."""

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import SHARED, SMALL, Samples

from firempo_plugin.images import pixels as images
from firempo_plugin.images.masks import read_mask
from firempo_plugin.images.pixels import MAX_PIXELS, content_id, decode, inside, pixel_id, write_png
from firempo_plugin.records import RejectedError

ORIENTATION = 0x0112
SIZES = [(1, 1), (7, 5), (64, 33)]


def colours(width: int = 23, height: int = 17, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(width * height).integers(0, 256, shape, dtype=np.uint8)


def seen_by_trainer(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def as_rgb(array: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(array).convert("RGB"))


def assert_as_trainer(path: Path, grey: bool) -> None:
    array = decode(path)
    assert array.dtype == np.uint8
    assert array.ndim == (2 if grey else 3)
    assert np.array_equal(as_rgb(array), seen_by_trainer(path))


def odd_image(mode: str) -> Image.Image:
    """An image of a mode, whose every band is random."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    if mode == "1":
        return Image.fromarray(colours(channels=1)).convert("1")
    if mode == "P":
        return Image.fromarray(colours()).quantize(50)
    return Image.merge(mode, [Image.fromarray(colours(channels=1) + band) for band in range(bands)])


def save(path: Path, image: Image.Image, **settings: object) -> Path:
    image.save(path, **settings)
    return path


KINDS = [
    ("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
] + [
    ("jpg", mode) for mode in ("L", "RGB", "CMYK")
] + [
    ("tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB")
] + [
    ("bmp", mode) for mode in ("1", "L", "P", "RGB", "RGBA")
] + [
    ("gif", mode) for mode in ("1", "L", "P", "RGB")
] + [
    ("webp", mode) for mode in ("RGB", "RGBA")
] + [
    ("jp2", mode) for mode in ("L", "LA", "RGB", "RGBA")
] + [
    ("ppm", mode) for mode in ("1", "L", "RGB")
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_8_bit_files_are_what_the_trainer_sees(tmp_path: Path, suffix: str, mode: str) -> None:
    path = save(tmp_path / f"a.{suffix}", odd_image(mode))
    assert_as_trainer(path, grey=mode in ("1", "L", "LA"))


@pytest.mark.parametrize("settings", [{"quality": 95}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
def test_every_jpeg_is_what_the_trainer_sees(tmp_path: Path, settings: dict[str, object]) -> None:
    assert_as_trainer(save(tmp_path / "a.jpg", odd_image("RGB"), **settings), grey=False)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_every_tiff_is_what_the_trainer_sees(tmp_path: Path, compression: str) -> None:
    assert_as_trainer(save(tmp_path / "a.tif", odd_image("RGB"), compression=compression), grey=False)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_is_shown(tmp_path: Path, mode: str) -> None:
    transparent = (1, 2, 3) if mode == "RGB" else 5
    path = save(tmp_path / "a.png", odd_image(mode), transparency=transparent)
    assert_as_trainer(path, grey=mode == "L")


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    palette = Image.fromarray(colours(channels=1) % 16, mode="P")
    palette.putpalette([level * 16 for level in range(16) for _ in range(3)])
    array = decode(save(tmp_path / "a.png", palette))
    assert array.shape == (17, 23)
    assert np.array_equal(as_rgb(array), seen_by_trainer(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_as_the_trainer_sees_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / f"a.{suffix}", odd_image("RGB"), exif=exif)
    assert_as_trainer(path, grey=False)
    if suffix != "tif":
        assert decode(path).shape == (17, 23, 3)


def test_16_bit_colour_is_what_the_trainer_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(23, 17, 16, 2, colours(channels=6).tobytes()))
    assert_as_trainer(path, grey=False)


def test_a_photograph_with_previews_is_its_first_image(tmp_path: Path) -> None:
    first, preview = odd_image("RGB"), odd_image("RGB").resize((5, 5))
    path = save(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[preview])
    assert_as_trainer(path, grey=False)


def test_content_and_not_the_name_decides(tmp_path: Path) -> None:
    assert_as_trainer(save(tmp_path / "a.jpg", odd_image("L"), format="PNG"), grey=True)
    assert_as_trainer(save(tmp_path / "no_suffix", odd_image("RGB"), format="PNG"), grey=False)


def test_the_trainer_sees_the_same_pixels(tmp_path: Path) -> None:
    """LLaMA-Factory's own image code, over files that PIL could show in more than one way."""
    from llamafactory.data import mm_plugin

    exif = Image.Exif()
    exif[ORIENTATION] = 6
    files = [
        save(tmp_path / "a.jpg", odd_image("RGB"), exif=exif),
        save(tmp_path / "b.png", odd_image("RGBA")),
        save(tmp_path / "c.jpg", odd_image("CMYK")),
        save(tmp_path / "d.png", odd_image("LA")),
        save(tmp_path / "e.tif", odd_image("RGB"), exif=exif),
    ]
    plugin = mm_plugin.get_mm_plugin("base", image_token="<image>")
    shown = plugin._regularize_images([str(file) for file in files], image_max_pixels=10**9, image_min_pixels=1)
    for file, image in zip(files, shown["images"], strict=True):
        assert np.array_equal(as_rgb(decode(file)), np.array(image)), file.name


def test_real_images_are_what_the_trainer_sees(real: Samples) -> None:
    files = [file for file in sorted(real.folder.rglob("*")) if file.suffix in (".png", ".jpg")]
    assert len(files) > {SMALL: 40, SHARED: 100}[real.name]
    for file in files:
        with Image.open(file) as image:
            assert_as_trainer(file, grey=image.mode == "L")


def deep_files(folder: Path, values: np.ndarray) -> dict[str, Path]:
    """One grey image in every deep format that PIL writes or reads; values are 0..65535."""
    wide = Image.fromarray(values.astype(np.uint16))
    files = {
        "png": save(folder / "a.png", wide),
        "tiff": save(folder / "a.tif", wide),
        "tiff_32_bit": save(folder / "b.tif", Image.fromarray(values.astype(np.int32))),
        "tiff_float": save(folder / "c.tif", Image.fromarray(values.astype(np.float32))),
        "jpeg_2000": save(folder / "a.jp2", wide, irreversible=False),
        "tiff_big_endian": folder / "d.tif",
        "pgm": folder / "a.pgm",
    }
    files["tiff_big_endian"].write_bytes(tiff_bytes(values, photometric=1, order=">"))
    height, width = values.shape
    files["pgm"].write_bytes(f"P5 {width} {height} 65535\n".encode() + values.astype(">u2").tobytes())
    return files


def png_bytes(width: int, height: int, bits: int, colour_type: int, raw: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = len(raw) // height
    lines = b"".join(b"\0" + raw[start : start + row] for start in range(0, len(raw), row))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def tiff_bytes(values: np.ndarray, photometric: int, order: str = "<") -> bytes:
    """An uncompressed TIFF of 16-bit grey values."""
    height, width = values.shape
    data = values.astype(f"{order}u2").tobytes()
    entries = [(256, width), (257, height), (258, 16), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    table = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    table += struct.pack(f"{order}HHII", 279, 4, 1, len(data))
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries) + 1) + table + b"\0\0\0\0"
    return start + struct.pack(f"{order}I", 8 + len(data)) + data + directory


RAMP = np.array([[1000, 1051, 1102], [2000, 3000, 3550]])
KINDS_OF_DEPTH = ("png", "tiff", "tiff_32_bit", "tiff_float", "jpeg_2000", "tiff_big_endian", "pgm")


@pytest.mark.parametrize("kind", KINDS_OF_DEPTH)
def test_deep_images_go_from_smallest_to_largest(tmp_path: Path, kind: str) -> None:
    # (value - 1000) / 2550 * 255: a tenth of the distance from 1000
    assert decode(deep_files(tmp_path, RAMP)[kind]).tolist() == [[0, 5, 10], [100, 200, 255]]


@pytest.mark.parametrize("kind", KINDS_OF_DEPTH)
def test_deep_images_go_through_a_window(tmp_path: Path, kind: str) -> None:
    # (value - 1051) / 510 * 255: half the distance from 1051, and everything from 1561 on is white
    assert decode(deep_files(tmp_path, RAMP)[kind], window=(1051, 1561)).tolist() == [[0, 0, 26], [255, 255, 255]]


def test_the_window_does_not_touch_8_bit_images(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", odd_image("L"))
    assert np.array_equal(decode(path, window=(100, 120)), decode(path))


def test_an_even_deep_image_is_black(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(np.full((4, 4), 900, dtype=np.uint16)))
    assert not decode(path).any()


def test_a_deep_tiff_whose_zero_is_white_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(RAMP, photometric=0))
    assert decode(path).tolist() == [[255, 250, 245], [155, 55, 0]]


@pytest.mark.parametrize("window", [(5, 5), (9, 3), (float("nan"), 1)])
def test_an_empty_window_is_refused(tmp_path: Path, window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="black below white") as caught:
        decode(save(tmp_path / "a.png", odd_image("L")), window=window)
    assert not isinstance(caught.value, RejectedError)


def refuse(path: Path, reason: str, **arguments: object) -> None:
    with pytest.raises(RejectedError, match=reason) as caught:
        decode(path, **arguments)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_foreign_files_are_rejected(tmp_path: Path) -> None:
    refuse(tmp_path / "none.png", "not found")
    refuse(tmp_path, "not a file")
    (tmp_path / "empty.png").touch()
    refuse(tmp_path / "empty.png", "is empty")
    (tmp_path / "text.png").write_text("this is no image")
    refuse(tmp_path / "text.png", "format is not known")
    (tmp_path / "a.dcm").write_text("this is no DICOM")
    refuse(tmp_path / "a.dcm", "no DICOM file")
    os.mkfifo(tmp_path / "pipe.png")
    refuse(tmp_path / "pipe.png", "not a file")
    refuse(tmp_path / ("long" * 100 + ".png"), "not found")


def test_a_file_that_cannot_be_opened_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_open(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "a.png", odd_image("L"))
    monkeypatch.setattr(Path, "open", refuse_to_open)
    refuse(path, "cannot be read: .*: Permission denied")


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "disk")], ids=repr
)
def test_what_the_machine_lacks_is_no_files_fault(tmp_path: Path, error: Exception, monkeypatch) -> None:
    """A rejection would be stored for good."""
    path = save(tmp_path / "a.png", odd_image("L"))

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(type(error)):
        decode(path)
    with pytest.raises(type(error)):
        read_mask(path, (10, 10))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "bmp", "webp", "jp2"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_are_rejected(tmp_path: Path, suffix: str, share: float) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(colours(200, 150)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refuse(path, "cannot be decoded|format is not known")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "bmp", "webp", "jp2"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_files_are_decoded_or_rejected_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    """Flips bytes at random places; whatever a decoder raises must come out as a rejection."""
    path = save(tmp_path / f"a.{suffix}", odd_image("RGB"))
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    draw = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        damaged = whole.copy()
        places = draw.integers(0, min(len(whole), 400), 3)
        damaged[places] = draw.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            assert decode(path, max_pixels=10**6).dtype == np.uint8
        except RejectedError:
            rejected += 1
    assert rejected > 0


def test_a_decompression_bomb_is_rejected(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_bytes(20_000, 9_000, 1, 0, bytes(2_500 * 9_000)))
    assert bomb.stat().st_size < 30_000
    assert MAX_PIXELS < 20_000 * 9_000
    refuse(bomb, "too large: .*180000000")


def test_the_limit_of_pixels_can_be_lower(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", odd_image("L"))
    refuse(path, "too large: .*23 x 17 pixels, limit 390", max_pixels=390)
    assert decode(path, max_pixels=391).size == 391


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_several_frames_are_rejected(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(colours(20, height)) for height in (10, 10, 10)]
    frames[1].putpixel((0, 0), (0, 0, 0))
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    refuse(path, "several frames")


def test_pixels_that_are_no_numbers_are_rejected(tmp_path: Path) -> None:
    values = np.ones((4, 4), dtype=np.float32)
    values[0, 0] = np.nan
    refuse(save(tmp_path / "a.tif", Image.fromarray(values)), "no numbers")


def test_formats_that_run_other_programs_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    refuse(tmp_path / "a.eps", "format is not known")


def test_content_id_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert content_id(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(RejectedError, match=r"cannot be read: .*none: No such file"):
        content_id(tmp_path / "none")


def test_pixel_id_is_of_the_pixels() -> None:
    grey, colour = colours(channels=1), colours()
    assert pixel_id(colour) == pixel_id(colour.copy()) == pixel_id(np.asfortranarray(colour))
    assert pixel_id(grey) == pixel_id(np.stack([grey] * 3, axis=-1))
    other = colour.copy()
    other[3, 4, 2] ^= 1
    distinct = [colour, other, colour[..., 0], grey, grey.T, grey.reshape(23, 17)]
    assert len({pixel_id(array) for array in distinct}) == len(distinct)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [np.copy, np.asfortranarray, lambda array: array[::-1, ::-1]])
def test_written_pixels_come_back(
    tmp_path: Path, width: int, height: int, channels: int, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    array = layout(colours(width, height, channels))
    write_png(array, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.array(image), array)
    assert np.array_equal(decode(tmp_path / "a.png"), array)


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_png(np.zeros((4, 4), dtype=np.uint8), tmp_path / "a.png")
    write_png(np.ones((4, 4), dtype=np.uint8), tmp_path / "a.png")
    assert decode(tmp_path / "a.png").all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(np.zeros((4, 4), dtype=np.uint8), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_png(np.ones((4, 4), dtype=np.uint8), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), dtype=np.uint16),
        np.zeros((4, 4), dtype=np.bool_),
        np.zeros((4, 4, 1), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4,), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
    ],
)
def test_what_is_no_image_is_not_written(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no 8-bit image"):
        write_png(array, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_paths_inside_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for relative in ("a.png", "sub/a.png", "./sub/../a.png", str(tmp_path / "a.png"), "图/a.png"):
        assert inside(tmp_path, relative) == (tmp_path / relative).resolve()


def test_paths_that_leave_a_folder_are_refused_unless_allowed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    secret = save(tmp_path / "secret.png", odd_image("L"))
    (root / "link.png").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    (tmp_path / "root_too").mkdir()
    for relative in ("../secret.png", "link.png", "up/secret.png", str(secret), "a/../../secret.png", "../root_too/a"):
        with pytest.raises(RejectedError, match=r"leaves its folder: .*allow_outside"):
            inside(root, relative)
        assert inside(root, relative, allow_outside=True) == (root / relative).resolve()


def test_a_folder_reached_by_a_link_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.png") == tmp_path.resolve() / "real" / "a.png"


def test_paths_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for relative in ("a\0b", "loop/a.png"):
        with pytest.raises(RejectedError, match=r"cannot be followed|not found"):
            decode(inside(tmp_path, relative, allow_outside=True))
