"""Pictures in full resolution: every pixel, nothing besides, under names that tell nothing."""

import numpy as np
import pytest
from PIL import Image

from firempo_plugin.pages.viewer import Folder, attributes, script, words_in


@pytest.fixture
def scan(tmp_path):
    """A JPEG file with a patient's name in its name, its EXIF and its comment, turned by its orientation tag."""
    file = tmp_path / "DOE_JANE_1950.jpg"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "DOE JANE", 6
    image.save(file, exif=exif, comment=b"DOE JANE")
    return file


def test_a_picture_is_its_pixels_and_nothing_else(scan, tmp_path):
    from firempo_plugin.images.pixels import decode

    pixels = decode(scan)
    address = Folder(tmp_path / "page_files", "page_files/").add(pixels)
    (file,) = (tmp_path / "page_files").iterdir()
    assert address == f"page_files/{file.name}"
    assert (decode(file) == pixels).all(), "without loss, and not turned: as the trainer sees it"
    assert b"DOE" not in file.read_bytes()
    assert "DOE" not in file.name.upper()


def test_a_name_follows_the_pixels_and_what_no_page_shows_is_removed(tmp_path):
    images = [np.full((4, 4), value, np.uint8) for value in (1, 2, 3)]
    folder = Folder(tmp_path, "")
    first, second = folder.add(images[0]), folder.add(images[1])
    assert first != second
    assert folder.add(images[0].copy()) == first
    before = (tmp_path / first).stat().st_mtime_ns
    (tmp_path / "mine.png").write_bytes(b"not ours")
    again = Folder(tmp_path, "")
    assert again.add(images[0]) == first
    third = again.add(images[2])
    again.sweep()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([first, third, "mine.png"])
    assert (tmp_path / first).stat().st_mtime_ns == before, "what is there is not written again"


def test_the_viewer_has_a_word_in_every_language_for_all_that_it_says():
    import re

    words = words_in("en")
    said = set(re.findall(r'name: "(\w+)"', script())) | set(re.findall(r"words\.(\w+)", script()))
    assert said <= set(words)
    for language in ("ru", "zh", "ko", "ja"):
        assert set(words_in(language)) == set(words)
        assert all(words_in(language).values())
    assert "&quot;" in attributes("ru")
    assert attributes("ru").startswith('lang="ru" data-firempo-words="')
