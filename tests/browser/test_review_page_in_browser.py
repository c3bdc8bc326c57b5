"""The review page in a browser, from a file: pairs are marked by keys and found by words."""

import json
from dataclasses import replace

import pytest
from places import TEMPLATES_DIR
from playwright.sync_api import expect

from firempo_plugin.pages.book import PAGE
from firempo_plugin.pairs.pair import Pair
from firempo_plugin.pairs.review import decisions
from firempo_plugin.pairs.review.page import write_page
from firempo_plugin.records import Finding

CLEAN, NOISED = (str(TEMPLATES_DIR / "images" / name) for name in ("frontal.png", "frontal_noised.png"))
PAIR = Pair(
    id="0", question="Which <b>side</b>, 0?", chosen="left lung", rejected="right lung", truth="left", kind="vqa",
    chosen_spans=((0, 4),), rejected_spans=((0, 5),), images=(CLEAN,), rejected_images=(NOISED,), masks=(None,),
    weight=1.0, language="en", was_correct=True, judge="rules", target="lung", noise_path="lesion", sigma=45.0,
)  # fmt: skip


@pytest.fixture
def window(browser):
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def open_tab(window):
    """Returns a function that opens a file in a tab; none may log an error."""
    errors = []

    def open_file(file):
        tab = window.new_page()
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(file.as_uri())
        return tab

    yield open_file
    assert errors == []


@pytest.fixture
def file(tmp_path):
    """The page of 30 pairs."""
    return write(tmp_path / "review.html", 30)


def reload(tab):
    """As somebody does it: on a busy machine a browser hands what a page has just stored over a moment later."""
    tab.wait_for_timeout(1000)
    tab.reload()


def write(file, number):
    write_page([replace(PAIR, id=str(n), question=f"Which <b>side</b>, {n}?") for n in range(number)], file)
    return file


@pytest.fixture
def page(open_tab, file):
    return open_tab(file)


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
    reload(page)
    expect(page.locator("#counts")).to_have_text("1 accepted, 2 rejected, 27 undecided")
    assert page.inner_text("#question") == "Which <b>side</b>, 0?", "the first that is undecided"
    page.keyboard.press("a")
    reload(page)
    expect(page.locator("#question")).to_have_text("Which <b>side</b>, 3?")


def test_pictures_are_drawn_and_phrases_marked(page):
    drawn = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size > 50"
    expect(page.locator("canvas")).to_have_count(2)
    for canvas in page.locator("canvas").all():
        page.wait_for_function(drawn, arg=canvas.element_handle())
    assert page.inner_text("#chosen mark") == "left"
    assert page.inner_text("#rejected mark") == "right"


def test_two_tabs_lose_no_mark_and_know_of_each_other(open_tab, file):
    one, other = open_tab(file), open_tab(file)
    for tab in (one, other):
        expect(tab.locator("#message")).to_contain_text("open in another tab")
    one.keyboard.press("a")
    other.keyboard.press("r")
    for tab in (one, other):
        expect(tab.locator("#counts")).to_have_text("0 accepted, 1 rejected, 29 undecided")
    expect(one.locator("#message")).to_contain_text("From another tab: 0 is now rejected.")
    for _ in range(10):
        other.keyboard.press("n")
    for _ in range(5):
        one.keyboard.press("a")
        other.keyboard.press("r")
    for tab in (one, other):
        expect(tab.locator("#counts")).to_have_text("5 accepted, 6 rejected, 19 undecided")
    reload(one)
    expect(one.locator("#counts")).to_have_text("5 accepted, 6 rejected, 19 undecided")


def test_a_mark_that_was_taken_back_stays_so_in_every_tab(open_tab, file):
    one = open_tab(file)
    one.keyboard.press("a")
    other = open_tab(file)
    expect(other.locator("#counts")).to_contain_text("1 accepted")
    one.keyboard.press("p")
    one.keyboard.press("u")
    expect(other.locator("#counts")).to_contain_text("0 accepted")
    other.keyboard.press("r")
    expect(one.locator("#counts")).to_contain_text("0 accepted, 1 rejected")


def test_marks_of_an_earlier_page_are_read(page):
    key = json.loads(page.evaluate("JSON.stringify(page.store)"))
    record = page.evaluate("records[2]")
    old = {"2": {"mark": "reject", "reason": "blurred", "digest": record["digest"]}, "gone": {"mark": "accept"}}
    old["3"] = {"mark": "accept", "reason": "", "digest": "of another text"}
    # By the page that reads them: what another one has just written, a busy browser may not hand over at once.
    page.add_init_script(f"localStorage.setItem({json.dumps(key)}, {json.dumps(json.dumps(old))})")
    reload(page)
    expect(page.locator("#counts")).to_have_text("0 accepted, 1 rejected, 29 undecided")
    assert "pairs that have changed or are gone" in page.inner_text("#message")
    page.keyboard.press("a")
    stored = json.loads(page.evaluate("key => localStorage.getItem(key)", key))
    assert stored["3"] == old["3"], "a mark that is not used now is kept"
    assert stored["2"][0] == "r"


def test_files_of_two_reviewers_become_one_that_the_export_reads(page, tmp_path):
    page.keyboard.press("a")
    page.keyboard.press("r")
    digests = page.evaluate("records.map((record) => record.digest)")
    later = {"mark": "reject", "reason": "no nodule", "digest": digests[0], "version": 9e12}
    earlier = {"mark": "accept", "reason": "", "digest": digests[1], "version": 1}
    unmarked = {"mark": "reject", "reason": "", "digest": digests[2]}
    changed = {"mark": "reject", "reason": "", "digest": "another"}
    theirs = tmp_path / "theirs.json"
    marks = {"0": later, "1": earlier, "2": unmarked, "3": changed}
    theirs.write_text(json.dumps({"format": decisions.FORMAT, "title": "", "marks": marks}))
    for key in "napu":  # pair 3, marked and taken back
        page.keyboard.press(key)
    page.locator("#file").set_input_files(theirs)
    said = page.locator("#message")
    expect(said).to_contain_text("4 marks read, 1 new, 0 as here")
    expect(said).to_contain_text("1 newer than here and taken over: 0; 1 older than here and left: 1")
    expect(said).to_contain_text("1 of other or changed pairs")
    with page.expect_download() as download:
        page.locator("#export").click()
    assert download.value.suggested_filename == "review.marks.json"
    read = decisions.read(download.value.path())
    assert {name: decision.mark for name, decision in read.items()} == dict.fromkeys("012", "reject")
    assert read["0"].reason == "no nodule"
    assert list(json.loads(download.value.path().read_text())["undone"]) == ["3"]


def test_a_review_of_several_pages_shows_how_far_it_is(open_tab, tmp_path):
    index = open_tab(write(tmp_path / "review.html", PAGE + 2))
    assert index.inner_text("#go-on") == "Go on with page 1 of 2."
    index.locator("#pages a").nth(1).click()
    assert index.inner_text("#parts").startswith("page 2 of 2")
    index.keyboard.press("a")
    index.keyboard.press("r")
    assert "Every pair of this page is decided" in index.inner_text("#message")
    index.locator("#parts a").first.click()
    expect(index.locator("#counts")).to_have_text("1 accepted, 1 rejected, 2,000 undecided")
    assert index.locator("#pages tr").nth(1).inner_text().split("\t") == ["page 2 of 2", "2", "1", "1", "0"]
    with index.expect_download() as download:
        index.locator("#export").click()
    assert {name: each.mark for name, each in decisions.read(download.value.path()).items()} == {
        "2000": "accept",
        "2001": "reject",
    }


def test_on_a_telephone_everything_can_be_read_and_pressed(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("accept", "reject", "next", "previous", "show-list"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["height"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844, "without scrolling"
    page.locator("#show-list").click()
    assert page.locator("#list").bounding_box()["width"] > 350
    assert page.locator("#list").bounding_box()["height"] > 300
    page.locator(".row").nth(4).click()
    assert page.inner_text("#question") == "Which <b>side</b>, 4?"
    assert not page.locator("#list").is_visible()
    assert page.locator(".frame").first.bounding_box()["width"] > 150


def test_states_are_said_to_who_does_not_see_them(page):
    assert page.locator("#undo").get_attribute("aria-pressed") == "true"
    page.keyboard.press("R")
    assert page.locator("#reject").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    chosen = page.get_by_role("listbox", name="pairs").get_by_role("option", selected=True)
    assert chosen.get_attribute("aria-posinset") == "1"
    assert chosen.get_attribute("aria-setsize") == "30"
    assert page.locator("html").get_attribute("lang") == "en"


def test_the_findings_of_a_report_are_shown_apart_and_lead_to_each_other(open_tab, tmp_path):
    right = ("No effusion.", "The heart is normal.", "Clear <b>lungs</b>.")
    findings = [Finding(number, 4, text, f"not: {text}") for number, text in enumerate(right, 1)]
    pairs = [replace(PAIR, id=f"7#{finding.number}", kind="report", finding=finding) for finding in findings]
    write_page([PAIR, *pairs, replace(PAIR, id="8#1", finding=replace(findings[0], among=1))], tmp_path / "review.html")
    page = open_tab(tmp_path / "review.html")
    expect(page.locator("#findings")).to_be_hidden()
    page.keyboard.press("n")
    strip = page.locator("#findings")
    expect(strip).to_contain_text("finding 1 of 4")
    expect(strip).to_contain_text("1 not on this page")
    expect(strip.locator("button")).to_have_text([f"{number} · {text}" for number, text in enumerate(right, 1)])
    strip.locator("button").nth(2).click()
    expect(page.locator("#facts")).to_contain_text("7#3")
    page.keyboard.press("u")
    page.keyboard.press("r")
    page.keyboard.press("p")
    expect(strip.locator("button").nth(2)).to_have_text("3 ✗ Clear <b>lungs</b>.")
    expect(strip.locator("[aria-current]")).to_have_text("3 ✗ Clear <b>lungs</b>.")
    page.keyboard.press("/")
    page.keyboard.type("7#3")
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_have_text("1 of 5 pairs")
    strip.get_by_label("finding 1, undecided: No effusion.").click()
    expect(page.locator("#found")).to_have_text("5 of 5 pairs")
    expect(page.locator("#place")).to_have_text("2 of 5")


def test_images_open_in_full_resolution(page):
    page.keyboard.press("v")
    page.wait_for_function("document.querySelector('.firempo-pixels img')?.src.endsWith('.png')")
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    assert page.inner_text("#counts") == "0 accepted, 0 rejected, 30 undecided", "the page below heard nothing"
