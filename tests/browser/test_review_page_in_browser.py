"""The review page in a browser, from a file: pairs are marked by keys and found by words."""

from dataclasses import replace

import pytest
from places import TEMPLATES_DIR

from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.review.page import write_page

CLEAN, NOISED = (str(TEMPLATES_DIR / "images" / name) for name in ("frontal.png", "frontal_noised.png"))
PAIR = Pair(
    id="0", question="Which <b>side</b>, 0?", chosen="left lung", rejected="right lung", truth="left", kind="vqa",
    chosen_spans=((0, 4),), rejected_spans=((0, 5),), images=(CLEAN,), rejected_images=(NOISED,), masks=(None,),
    weight=1.0, language="en", was_correct=True, judge="rules", target="lung", noise_path="lesion", sigma=45.0,
)  # fmt: skip


@pytest.fixture
def page(browser, tmp_path):
    """The page of 30 pairs."""
    file = tmp_path / "review.html"
    write_page([replace(PAIR, id=str(number), question=f"Which <b>side</b>, {number}?") for number in range(30)], file)
    context = browser.new_context(offline=True)
    tab = context.new_page()
    errors = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(file.as_uri())
    yield tab
    context.close()
    assert errors == []


def test_pairs_are_marked_by_keys_and_found_by_words(page):
    page.keyboard.press("n")
    page.keyboard.press("a")
    page.keyboard.press("r")
    assert page.inner_text("#counts") == "1 accepted, 1 rejected, 28 undecided"
    assert page.inner_text("#question") == "Which <b>side</b>, 3?"
    page.keyboard.press("/")
    page.keyboard.type("a 7?")
    assert page.inner_text("#found") == "3 of 30 pairs", "and no pair was accepted by the word"
    page.keyboard.press("Escape")
    page.locator("#reject").click()
    assert page.inner_text("#counts") == "1 accepted, 2 rejected, 27 undecided"
    page.reload()
    assert page.inner_text("#counts") == "1 accepted, 2 rejected, 27 undecided", "marks stay in this browser"


def test_pictures_are_drawn_and_phrases_marked(page):
    sizes = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(sizes) == 2
    assert min(sizes) > 100
    assert page.inner_text("#chosen mark") == "left"
    assert page.inner_text("#rejected mark") == "right"
