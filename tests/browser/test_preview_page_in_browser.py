"""The static page of rows in a browser, from a file, with no server and no network."""

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
    assert errors == []


def places(page):
    return page.locator("#rows .firempo-place").all_inner_texts()


def test_rows_are_paged_filtered_found_and_jumped_to(page):
    assert places(page) == [f"pairs, row {number}" for number in range(20)]
    page.keyboard.press("ArrowRight")
    assert places(page)[0] == "pairs, row 20"
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
