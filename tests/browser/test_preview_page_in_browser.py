"""The static page of rows in a browser, from a file, with no server and no network."""

import shutil

import pytest
from PIL import Image
from playwright.sync_api import expect

from firempo_plugin import cli

SIDE = 700


@pytest.fixture
def page(browser, write_dataset, tmp_path):
    """The page of 45 rows, of which row 7 and row 30 cannot be used."""
    image = str(tmp_path / "scan.png")
    Image.effect_noise((SIDE, SIDE), 40).save(image)
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>Which side, {number}?"}],
            "chosen": {"from": "gpt", "value": "On the left <b>side</b>."},
            "rejected": {"from": "gpt", "value": "On the right side." if number not in (7, 30) else ""},
            "images": [image],
            "rejected_images": [],
        }
        for number in range(45)
    ]
    written = tmp_path / "rows.html"
    assert cli.main(["preview", "pairs", f"dataset_dir={write_dataset(rows)}", "--page", str(written)]) == 1
    context = browser.new_context(offline=True)
    tab = context.new_page()
    errors = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(written.as_uri())
    yield tab
    context.close()
    assert [error for error in errors if "ERR_FILE_NOT_FOUND" not in error] == []


def places(page):
    return page.locator("#rows .firempo-place").all_inner_texts()


def test_rows_are_paged_filtered_found_and_jumped_to(page):
    assert places(page) == [f"pairs, row {number}" for number in range(10)]
    page.keyboard.press("ArrowRight")
    assert places(page)[0] == "pairs, row 10"
    for _ in range(3):
        page.locator("#next").click()
    assert places(page) == [f"pairs, row {number}" for number in range(40, 45)]
    page.locator("#filter").select_option(index=1)
    assert places(page) == ["pairs, row 7", "pairs, row 30"]
    expect(page.locator(".firempo-problem").first).to_be_visible()
    page.locator("#filter").select_option(index=0)
    page.locator("#search").fill("side, 33")
    expect(page.locator("#rows .firempo-row")).to_have_count(1)
    assert places(page) == ["pairs, row 33"]
    page.locator("#search").fill("")
    page.locator("#jump").fill("44")
    page.locator("#jump").press("Enter")
    assert "pairs, row 44" in places(page)


def test_pictures_are_drawn_and_text_is_text(page):
    first = page.locator("#rows .firempo-row").first
    expect(first.locator("canvas")).to_have_count(1)
    assert page.wait_for_function("document.querySelector('canvas').width === 256")
    expect(first.locator(".firempo-chosen")).to_contain_text("On the left <b>side</b>.")
    assert first.locator(".firempo-chosen b").count() == 0


PAINTED = "[...document.querySelectorAll('canvas')].map(canvas => canvas.width)"


def painted(page):
    """The numbers of the rows whose picture takes memory, once none of them changes."""
    before = None
    while (now := page.evaluate(PAINTED)) != before:
        before = now
        page.wait_for_timeout(500)
    return [number for number, width in enumerate(now) if width]


def test_only_pictures_near_the_window_are_in_memory(page):
    top = painted(page)
    assert {0, 9} & set(top) == {0}
    height = page.locator("#rows").bounding_box()["height"]
    page.locator(".firempo-row").last.scroll_into_view_if_needed()
    assert {0, 9} & set(painted(page)) == {9}
    assert page.locator("#rows").bounding_box()["height"] == height, "a picture that is dropped keeps its place"
    page.keyboard.press("Home")
    assert painted(page) == top


def test_a_row_far_from_the_window_is_seen_in_the_viewer_without_the_folder(page, tmp_path):
    shutil.rmtree(tmp_path / "rows_files")
    page.locator(".firempo-open").first.click()
    for _ in range(9):
        page.keyboard.press("PageDown")
    small = page.locator(".firempo-pixels canvas:visible")
    expect(small).to_have_attribute("width", "256")
    colours = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, 256, 256).data).size"
    assert small.evaluate(colours) > 50
    assert 9 not in painted(page)


def test_images_are_seen_in_full_resolution_row_by_row(page):
    openers = page.locator(".firempo-open")
    openers.first.focus()
    page.keyboard.press("Enter")
    seen = page.locator(".firempo-pixels img:visible")
    page.wait_for_function("document.querySelector('.firempo-pixels img')?.src.endsWith('.png')")
    assert seen.evaluate("image => image.naturalWidth") == SIDE
    page.keyboard.press("PageDown")
    page.keyboard.press("Escape")
    expect(openers.nth(1)).to_be_focused()
