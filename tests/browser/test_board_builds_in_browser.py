"""From records to a data set that training offers, in the board's tab of pairs."""

import io
import json
import os
import re
import shutil
import signal
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from board_page import KEY
from pairs_server import PairsServer, well
from PIL import Image
from playwright.sync_api import expect

from firempo_plugin.host.board.build_run import look

ROWS = [
    ("Is there a nodule?", "yes", "Yes, there is a nodule."),
    ("Is the heart enlarged?", "no", "Yes, the heart is enlarged."),
    ("Is the nodule on the left or the right?", "left", "It is on the left."),
    ("Is there an effusion?", "no", "No, there is no effusion."),
    ("Is it a CT?", "yes", ""),
]
STATE = "#fire_build_state"


def picture() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (64, 80), dtype=np.uint8)).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """An archive of five records over one image, of which one has no answer."""
    names = ("question", "truth", "response")
    rows = [
        {"id": str(number), "image": "images/scan.png", **dict(zip(names, row, strict=True))}
        for number, row in enumerate(ROWS)
    ]
    archive = tmp_path_factory.mktemp("records") / "records.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        content.writestr("images/scan.png", picture())
    return archive


@pytest.fixture(autouse=True)
def no_builds(board_folder):
    """A page that is opened shows the last build and what it was given."""
    shutil.rmtree(board_folder / "pairs", ignore_errors=True)


def opened(open_board):
    tab = open_board()
    tab.page.get_by_role("tab", name="Pairs").click()
    tab.settle()
    return tab


def choose_folder(tab, folder):
    tab.fill("Build folder", folder)
    tab.settle()


def grey(tab, name):
    """A button that says why it is grey."""
    return tab.page.get_by_role("button", name=name, exact=True)


def upload(tab, records):
    tab.page.locator("#fire_build_tab input[type=file]").first.set_input_files(records)
    expect(tab.field("Records")).not_to_have_value("")
    tab.settle()


def test_uploaded_records_become_a_data_set_that_training_offers(open_board, board_folder, records):
    tab = opened(open_board)
    state = tab.page.locator(STATE)
    choose_folder(tab, "pairs/first")
    expect(state).to_contain_text("No build was begun")
    for name in ("Dry run: name the records first", "Export: there is no pair yet", "Pause: nothing is running"):
        expect(grey(tab, name)).to_be_disabled()
    upload(tab, records)
    expect(tab.field("Records")).to_have_value("pairs/first/records/rows.jsonl")
    left = [path for path in (board_folder / "uploads").rglob("*") if path.is_file() and path.stat().st_size]
    assert not left, "no copy of an image stays where uploads come to"
    options = yaml.safe_load(tab.field("Options of the records").input_value())
    columns = {name: name for name in ("id", "image", "question", "truth", "response")}
    assert options == {"image_root": "pairs/first/records", "columns": columns}

    tab.fill("Noise level (σ)", "-1")
    tab.button("Build pairs").click()
    told = "Noise level (σ) must be a number (at least 0); found: -1.0."
    expect(tab.page.get_by_role("alert").last).to_contain_text(f"Not started: {told}")
    expect(tab.page.get_by_label("Noise level")).to_be_visible()
    expect(tab.page.get_by_text(f"⚠️ {told}")).to_be_visible()
    assert not (board_folder / "pairs/first/board.yaml").exists()
    tab.fill("Noise level (σ)", "45")
    tab.fill("Name of the data set", "from_the_board")

    tab.button("Dry run").click()
    expect(state).to_contain_text("Nothing is running. Last: Dry run")
    expect(state).to_contain_text("5 records, 0 rows left aside")
    tab.button("Build pairs").click()
    expect(state).to_contain_text("Nothing is running. Last: Build pairs")
    expect(state).to_contain_text("Records: 5; rows left aside: 0; pairs: 4.")
    expect(state.locator("li")).to_have_count(1)
    expect(state).to_contain_text("The data set from_the_board lies in data")
    tab.picture("builds", tab.page.locator("#fire_build_tab"))
    tab.picture("built", tab.button("Dry run"))

    tab.button("Prepare the review").click()
    expect(state).to_contain_text("Nothing is running. Last: Prepare the review")
    with tab.page.expect_popup() as found:
        state.get_by_role("link", name="Open the review page").click()
    review = found.value
    expect(review.get_by_text(ROWS[0][0]).first).to_be_visible()
    beside = review.url.rpartition("/review/")[0]
    assert review.request.get(f"{beside}/review/review.html").ok
    assert review.request.get(f"{beside}/store.sqlite").status == 403, "the review is served, and nothing beside it"
    review.close()

    tab.page.get_by_role("tab", name="Train").click()
    tab.choose("Stage", "FiRe-MPO")
    tab.choose("Dataset", "from_the_board")
    rows = json.loads((board_folder / "data" / "from_the_board.json").read_text())
    assert [row["id"] for row in rows] == [f"table:{number}" for number in range(4)]


def test_a_killed_build_a_missing_key_and_another_window_are_told(open_board, board_folder, records):
    """By what the page says at once, in the page's language, without a look at the log."""
    gate, folder = threading.Event(), board_folder / "pairs/my set"
    with PairsServer(lambda call: (call.before == 0 or gate.wait(300)) and well("Yes.")) as server:
        tab = opened(open_board)
        state = tab.page.locator(STATE)
        choose_folder(tab, "pairs/my set")
        expect(tab.field("Name of the data set")).to_have_value("my_set")
        upload(tab, records)
        tab.choose("Answers", "endpoint")
        tab.fill("Address for answers", server.url)
        tab.fill("Model for answers", "a-model")
        tab.fill("Key variable for answers", "NO_SUCH_VARIABLE")
        expect(tab.page.get_by_role("status")).to_contain_text("no variable of this name is set")
        tab.fill("Key variable for answers", "BOARD_TEST_KEY")
        expect(tab.page.get_by_role("status")).to_have_count(0)
        tab.fill("More settings", "respond: {endpoint: {concurrency: 1}}")
        other = opened(open_board)
        choose_folder(other, "pairs/my set")
        tab.page.bring_to_front()  # a page behind another one is seldom drawn
        tab.button("Build pairs").click()
        expect(state.get_by_role("row", name="respond")).to_have_text(re.compile(r"respond\s*1\s*0\s*4\s*0"))
        other.page.evaluate("window.dispatchEvent(new Event('focus'))")
        expect(other.button("Pause")).to_be_enabled()
        os.kill(look(folder).pid, signal.SIGKILL)
        for page in (tab.page, other.page):
            expect(page.locator(STATE).get_by_role("alert")).to_contain_text("Build pairs stopped without ending")
            expect(page.get_by_role("button", name="Pause: nothing is running")).to_be_disabled()
        other.page.close()
        gate.set()
        tab.button("Build pairs").click()
        expect(state).to_contain_text("The data set my_set lies in data")
        assert len(server.calls) <= len(ROWS) + 1, "the one that was under way is asked again"
    tab.speak("zh")
    try:
        expect(tab.page.locator("html")).to_have_attribute("lang", "zh")
        expect(state).to_contain_text("日志（英文）")
        expect(grey(tab, "暂停: 没有任务在运行")).to_be_disabled()
        tab.fill("噪声强度", "-1")
        grey(tab, "试算").click()
        expect(tab.page.get_by_role("alert").last).to_have_text("未启动：噪声强度 (σ) 须为不小于 0 的数，现为：-1.0。")
    finally:
        tab.speak("en")


def test_a_running_build_is_found_again_by_a_reloaded_page_and_by_a_board_started_anew(
    open_board, board_server, board_folder, records
):
    """Started once, paused in order, and gone on with: no question is asked twice, and the key is seen nowhere."""
    gate, folder = threading.Event(), board_folder / "pairs/second"
    with PairsServer(lambda call: (call.before == 0 or gate.wait(300)) and well("Yes.")) as server:
        tab = opened(open_board)
        state = tab.page.locator(STATE)
        choose_folder(tab, "pairs/second")
        upload(tab, records)
        tab.choose("Answers", "endpoint")
        tab.fill("Address for answers", server.url)
        tab.fill("Model for answers", "a-model")
        tab.fill("Key variable for answers", "BOARD_TEST_KEY")
        tab.fill("More settings", "respond: {endpoint: {concurrency: 1}}")
        tab.button("Build pairs").click()
        expect(state).to_contain_text("Running: Build pairs")
        answered = state.get_by_role("row", name="respond")
        expect(answered).to_have_text(re.compile(r"respond\s*1\s*0\s*4\s*0"))
        found = look(folder)

        for again in (lambda: None, board_server.restart):
            again()
            tab.page.reload()
            tab.page.get_by_role("tab", name="Pairs").click()
            expect(tab.field("Build folder")).to_have_value("pairs/second")
            expect(tab.field("Address for answers")).to_have_value(server.url)
            expect(state).to_contain_text("Running: Build pairs")
            expect(answered).to_have_text(re.compile(r"respond\s*1\s*0\s*4\s*0"))
            tab.errors.clear()  # a reload breaks off what the page was waiting for
            assert look(folder) == found
        expect(grey(tab, "Build pairs: something runs in this folder")).to_be_disabled()
        words = Path(f"/proc/{found.pid}/cmdline").read_text()
        tab.button("Pause").click()
        expect(state).to_contain_text("Pausing: Build pairs")
        gate.set()
        expect(state).to_contain_text("Nothing is running. Last: Build pairs")
        assert len(server.calls) < len(ROWS)
        tab.button("Build pairs").click()
        expect(state).to_contain_text("The data set second lies in data")
        assert len(server.calls) == len(ROWS)
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {KEY}"}
    kept = [path for place in (folder, board_folder / "data") for path in place.rglob("*") if path.is_file()]
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]
    assert KEY not in words + tab.page.content()
