"""A run of the stage that cannot start, or fails, in a browser: one card that says why and leads there."""

import json

import pytest
from playwright.sync_api import expect

TEMPLATE = "qwen3_vl_nothink"


@pytest.fixture(scope="module")
def board(open_shared_board, checkpoint, demo_data):
    tab = open_shared_board()
    tab.choose_model(checkpoint("qwen3_vl"), TEMPLATE)
    tab.choose_pairs("firempo_demo", demo_data)
    tab.choose("Compute type", "fp32")
    return tab


@pytest.fixture
def broken(write_dataset, demo_data):
    """Six pairs over a real scan: one has equal responses, one a missing image of a hostile name."""
    image = str(next(demo_data.rglob("*.png")))
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>Which side is it on, {number}?"}],
            "chosen": {"from": "gpt", "value": "The nodule is on the left."},
            "rejected": {"from": "gpt", "value": f"The nodule is on the {'right' if number else 'left'}."},
            "images": [image if number != 4 else "<img src=x onerror=alert(1)>.png"],
            "rejected_images": [],
        }
        for number in range(6)
    ]
    return write_dataset(rows)


def test_a_start_that_is_refused_leads_to_its_field(board):
    card = board.page.locator("#fire_card")
    expect(card).to_be_hidden()
    before = board.field("KL weight (α)").input_value()
    board.fill("KL weight (α)", "-1")
    board.press("Start")
    expect(card).to_contain_text("Training was not started")
    expect(card.locator("p")).to_contain_text("KL weight (α) must be a number >= 0; found: -1.0")
    board.picture("card", board.button("Preview command"))
    board.press("Go to the field")
    expect(board.field("KL weight (α)")).to_be_focused()
    board.fill("KL weight (α)", before)
    board.command()
    expect(card).to_be_hidden()

    board.button("Extra configurations").click()
    board.fill("Extra arguments", '{"optim": ')
    board.button("Extra configurations").click()
    board.press("Start")
    expect(card).to_contain_text("JSON")
    board.press("Go to the field")
    expect(board.field("Extra arguments")).to_be_focused()


def test_a_run_over_unusable_rows_leads_to_them(board, broken, demo_data):
    page, card = board.page, board.page.locator("#fire_card")
    extra = {"optim": "adamw_torch", "use_cpu": True, "max_steps": 2, "preprocessing_num_workers": None}
    board.fill("Extra arguments", json.dumps(extra))
    board.choose("Stage", "DPO")  # which forgets the pairs
    board.choose_pairs("pairs", broken)
    board.fill("Output dir", "broken")
    board.button("Start").click()
    expect(card).to_contain_text("Training ended with an error", timeout=300_000)
    expect(card.locator("p")).to_contain_text("2 of 6 rows cannot be used")
    expect(card.locator("p")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("[data-testid='toast-body']", has_text="The reason stands above the log.")).to_be_visible()
    expect(card.locator("pre")).to_be_hidden()
    card.locator("summary").click()
    expect(card.locator("pre")).to_contain_text("Exit code: 1")
    assert page.get_by_text("Exit code: 1").locator("visible=true").count() == 1, "the log stands in the card alone"
    card.locator("summary").click()
    board.press("Show the rows that cannot be used")
    rows = page.locator("#fire_rows .firempo-row")
    expect(page.locator("#fire_status")).to_contain_text("All rows are checked: 6", timeout=300_000)
    expect(rows).to_have_count(2)
    expect(board.field("Rows shown")).to_have_value("Rows that cannot be used (2)")
    board.press("Close")
