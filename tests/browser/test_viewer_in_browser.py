"""The viewer of images in a browser, from a file: every pixel can be seen, and all of it reached by keys."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from firempo_plugin.images.deep import as_colours
from firempo_plugin.pages.static_page import data_blocks, fill
from firempo_plugin.pages.thumbnails import data_uri, shrink
from firempo_plugin.pages.viewer import Folder

SIZE = (800, 1200)
NODULE = (slice(400, 406), slice(600, 606))
"""Six pixels wide: nothing of its noise is left in a picture of 256 pixels."""
BODY = """<main><div data-firempo-view>
<button class="firempo-open" aria-label="clean"><img data-part="clean" alt="clean" $clean></button>
<button class="firempo-open" aria-label="noised"><img data-part="noised" alt="noised" $noised></button>
<svg viewBox="0 0 1200 800" preserveAspectRatio="none"><path d="M590 390L616 390L616 416L590 416Z"/></svg>
</div><button id="other">other</button></main>"""
START = """
for (const image of document.querySelectorAll("img")) {
  image.replaceWith(drawPicture(image.dataset.part === "clean" ? 0 : 1, image.alt, { ...image.dataset }));
}
listenTo({ d: () => (document.title = "the page heard it") });
"""


@pytest.fixture(scope="module")
def images():
    """A clean image, and its twin whose nodule is a chessboard."""
    clean = np.full(SIZE, 100, np.uint8)
    clean[NODULE] = 150
    noised = clean.copy()
    noised[NODULE] = np.indices((6, 6)).sum(0) % 2 * 60 + 110
    return clean, noised


@pytest.fixture(scope="module")
def deep():
    """Values of the clean image's file: a slope, and in the nodule values that differ by single ones."""
    values = np.broadcast_to(5 * np.arange(SIZE[1], dtype=np.uint16), SIZE).copy()
    values[NODULE] = 30000 + np.arange(36).reshape(6, 6)
    return values


@pytest.fixture
def written(images, deep, tmp_path):
    """The page's file."""
    folder = Folder(tmp_path / "page_files", "page_files/")
    parts, data = {}, []
    for name, pixels in zip(("clean", "noised"), images, strict=True):
        parts[name] = f'data-full="{folder.add(pixels)}" data-width="{SIZE[1]}" data-height="{SIZE[0]}"'
        data.append(data_uri(shrink(pixels, 256)))
    about = {"full": folder.add(as_colours(deep)), "low": 0, "high": 65535, "step": 1, "window": [1000, 1600]}
    parts["clean"] += f" data-deep='{json.dumps({**about, 'negative': False})}'"
    source = tmp_path / "source"
    source.mkdir()
    (source / "page.html").write_text(BODY)
    (source / "own.js").write_text(START)
    text = fill(source, title="t", data=data_blocks("picture", data), styles=(), scripts=("own.js",), **parts)
    (tmp_path / "page.html").write_text(text)
    return tmp_path / "page.html"


@pytest.fixture
def tab(browser, written):
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 700}, reduced_motion="reduce")
    tab = context.new_page()
    errors = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(written.as_uri())
    yield tab
    context.close()
    assert [error for error in errors if "ERR_FILE_NOT_FOUND" not in error] == []


def look(tab, *keys):
    """Opens the viewer, presses keys, and waits until the full resolution is there."""
    tab.locator(".firempo-open").first.click()
    for key in keys:
        tab.keyboard.press(key)
    tab.wait_for_function("!document.querySelector('.firempo-status').textContent.includes('loading')")


def pixels(tab, pane=0):
    """What is seen in a pane, around its middle: 6 by 6 pixels of the image at 8 screen pixels each."""
    tab.wait_for_timeout(150)
    box = tab.locator(".firempo-pane").nth(pane).bounding_box()
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return np.array([[shot.getpixel((round(middle[0] + 8 * x + 4), round(middle[1] + 8 * y + 4)))[0]
                      for x in range(-3, 3)] for y in range(-3, 3)])  # fmt: skip


def at_nodule(tab):
    """Eight screen pixels a pixel, the nodule in the middle of the pane."""
    tab.evaluate("firempoViewer.stage.zoom(8); Object.assign(firempoViewer.stage, {x: 603, y: 403});")
    tab.evaluate("firempoViewer.stage.draw()")


def test_every_pixel_is_seen_clean_noised_and_their_difference(tab, images):
    clean, noised = (image[NODULE].astype(int) for image in images)
    look(tab, "c", "o")
    at_nodule(tab)
    assert (pixels(tab) == clean).all()
    tab.keyboard.press(" ")
    assert (pixels(tab) == noised).all(), "not a blurred 256 pixel picture of it"
    tab.keyboard.press("d")
    gain = 255 / 64
    assert np.abs(pixels(tab) - np.minimum(255, np.abs(clean - noised) * gain)).max() <= 2
    tab.keyboard.press("s")
    tab.evaluate("firempoViewer.stage.draw()")
    assert (pixels(tab, 0) == clean).all()
    assert (pixels(tab, 1) == noised).all()


def test_flicker_shows_them_in_turn(tab):
    def modes():
        seen = set()
        for _ in range(20):
            seen.add(tab.locator(".firempo-viewer").get_attribute("data-mode"))
            tab.wait_for_timeout(100)
        return seen

    look(tab, "f")
    assert modes() == {"clean", "noised"}
    assert tab.locator(".firempo-do-flicker").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("f")
    assert len(modes()) == 1


def test_the_outline_goes_on_and_off_and_stays_with_the_image(tab):
    look(tab, "c")
    at_nodule(tab)
    drawn = tab.locator(".firempo-marks path").first
    box, pane = drawn.bounding_box(), tab.locator(".firempo-pane").first.bounding_box()
    assert abs(box["x"] + box["width"] / 2 - pane["x"] - pane["width"] / 2) < 2
    tab.evaluate("firempoViewer.stage.zoom(16)")
    assert drawn.bounding_box()["width"] == pytest.approx(2 * box["width"], rel=0.02)
    assert tab.locator(".firempo-do-outline").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("o")
    assert not drawn.is_visible()
    assert tab.locator(".firempo-do-outline").get_attribute("aria-pressed") == "false"


def test_zoom_and_pan_by_wheel_drag_keys_and_two_fingers(tab):
    def state():
        return tab.evaluate("(({x, y, scale}) => [x, y, scale])(firempoViewer.stage)")

    look(tab, "c")
    fitted = state()
    box = tab.locator(".firempo-stage").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.move(middle[0] + 100, middle[1])
    tab.mouse.wheel(0, -500)
    tab.wait_for_function(f"firempoViewer.stage.scale > {2 * fitted[2]}")
    x, y, scale = state()
    assert abs((x + 100 / scale) - (fitted[0] + 100 / fitted[2])) < 0.01, "what is under the pointer stays there"
    tab.mouse.down()
    tab.mouse.move(middle[0] + 60, middle[1] - 20, steps=4)
    tab.mouse.up()
    assert np.allclose(state(), (x + 40 / scale, y + 20 / scale, scale))
    tab.keyboard.press("1")
    assert state()[2] == 1
    tab.keyboard.press("ArrowRight")
    assert state()[0] > x + 40 / scale
    tab.keyboard.press("0")
    assert state() == fitted
    tab.evaluate("firempoViewer.stage.pinch([0, 0], [-100, 0], [100, 0])")
    assert state()[2] == pytest.approx(2 * fitted[2])


def test_the_window_follows_keys_drag_and_sliders(tab, images):
    clean = images[0][NODULE].astype(int)
    look(tab, "c", "o")
    at_nodule(tab)
    tab.evaluate("firempoViewer.setWindow(140, 40)")
    assert np.abs(pixels(tab) - (clean - 120) / 40 * 255).max() <= 2
    assert "window 120 – 160" in tab.inner_text(".firempo-status")
    tab.keyboard.press("]")
    assert "window 115 – 165" in tab.inner_text(".firempo-status")
    tab.keyboard.press("w")
    assert "window 0 – 255" in tab.inner_text(".firempo-status")
    box = tab.locator(".firempo-stage").bounding_box()
    tab.mouse.move(box["x"] + 300, box["y"] + 200)
    tab.mouse.down(button="right")
    tab.mouse.move(box["x"] + 200, box["y"] + 200, steps=3)
    tab.mouse.up(button="right")
    assert tab.evaluate("firempoViewer.window().high - firempoViewer.window().low") < 220
    slider = tab.locator(".firempo-slide input").last
    slider.evaluate("slider => { slider.value = 51; slider.dispatchEvent(new Event('input')); }")
    assert tab.evaluate("firempoViewer.window().high - firempoViewer.window().low") == pytest.approx(51)


def test_all_bits_of_a_deep_file_are_seen_through_a_window(tab, deep):
    look(tab, "b", "o")
    assert "window 1000 – 1600" in tab.inner_text(".firempo-status")
    at_nodule(tab)
    tab.evaluate("firempoViewer.setWindow(30020, 40)")
    assert np.abs(pixels(tab) - (deep[NODULE] - 30000.0) / 40 * 255).max() <= 2, "one of 65,536 values is 6 of grey"
    tab.keyboard.press("w")
    assert "window 1000 – 1600" in tab.inner_text(".firempo-status")
    tab.keyboard.press("0")
    tab.evaluate("firempoViewer.setWindow(3000, 6000)")
    tab.wait_for_timeout(150)
    box = tab.locator(".firempo-pane").first.bounding_box()
    shot = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L")).astype(int)
    row = shot[int(box["y"] + 0.4 * box["height"]), int(box["x"]) + 60 : int(box["x"] + box["width"]) - 60]
    assert (np.diff(row) >= 0).all(), "a picture made smaller mixes no upper bits with lower ones"


def test_keys_are_told_focus_is_kept_and_given_back_and_the_page_hears_nothing(tab):
    look(tab)
    tab.keyboard.press("?")
    help_text = tab.inner_text(".firempo-help")
    for word in ("Side by side", "Flicker", "Difference", "Outline", "Narrower window", "Move left", "Close"):
        assert word in help_text
    tab.keyboard.press("Escape")
    assert tab.locator(".firempo-viewer").is_visible(), "it was the help that closed"
    for _ in range(30):
        tab.keyboard.press("Tab")
        assert tab.evaluate("!document.activeElement.closest('main')"), "what lies below has no focus"
    tab.keyboard.press("d")
    assert tab.title() == "t"
    tab.keyboard.press("Escape")
    expect(tab.locator(".firempo-viewer")).to_have_count(0)
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "clean"


def test_a_page_without_its_folder_shows_small_pictures_and_says_so(tab, written):
    for file in (written.parent / "page_files").iterdir():
        file.unlink()
    look(tab, "c")
    assert "Only the small picture is here" in tab.inner_text(".firempo-status")
    assert tab.locator(".firempo-pixels canvas:visible").first.evaluate("canvas => canvas.width") == 256
