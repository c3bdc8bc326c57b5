"""The stage in LLaMA-Board, in a browser."""

import json
import re
import time

import pytest
import yaml
from playwright.sync_api import expect

from firempo_plugin.host.board.texts import listed
from firempo_plugin.host.train.verdicts import ENOUGH
from firempo_plugin.objectives.table import OBJECTIVES

TEMPLATE = "qwen3_vl_nothink"
RECIPE = "FiRe-MPO and its ablations · fire_mpo"
HOSTILE = "<img src=x onerror=alert(1)>"
ON_THE_CPU = {"optim": "adamw_torch", "use_cpu": True, "preprocessing_num_workers": None}
"""What a run on this machine needs of the extra arguments."""


@pytest.fixture(scope="module")
def board(open_shared_board, checkpoint, demo_data):
    """A board with a model, the stage and the demo's pairs chosen, which every test leaves as it found it."""
    tab = open_shared_board()
    expect(tab.page.locator("#fire_card")).to_be_hidden()
    tab.choose_model(checkpoint("qwen3_vl"), TEMPLATE)
    tab.choose_pairs("firempo_demo", demo_data)
    tab.choose("Compute type", "fp32")
    return tab


def test_the_stage_stands_in_the_list_and_opens_its_section(board):
    stages = board.options("Stage")
    assert stages.index("FiRe-MPO") == stages.index("KTO") + 1
    section = board.page.locator("#fire_tab")
    board.choose("Stage", "DPO")
    expect(section).to_be_hidden()
    expect(board.button("RLHF configurations")).to_be_visible()
    board.choose_pairs("firempo_demo")
    expect(section).to_be_visible()
    expect(board.button("RLHF configurations")).to_have_count(0)
    expect(board.page.get_by_role("button", name="Preview dataset").locator("visible=true")).to_have_count(1)
    expect(section).to_contain_text("YAML: fire_alpha")


def test_only_what_the_objective_uses_can_be_filled_in(board):
    used = ("Visual weight (γ)", "KL weight (α)", "Forward KL share (λ)")
    for label in used:
        expect(board.field(label)).to_be_enabled()
    for label in ("Phrase weight (k)", "Target margin", "Length weight (a)", "Label smoothing (e)"):
        expect(board.field(label)).to_be_disabled()
    board.choose("Objective", "Fine-grained text · rrpo")
    expect(board.field("KL weight (α)")).to_be_enabled()
    expect(board.field("Visual weight (γ)")).to_be_disabled()
    expect(board.field("Forward KL share (λ)")).to_be_disabled()
    board.choose("Objective", "Whole responses · dpo")
    for label in used:
        expect(board.field(label)).to_be_disabled()
    command = board.command()
    assert command["fire_objective"] == "dpo"
    assert not {"fire_alpha", "fire_gamma", "fire_lambda", "fire_kl_scope"} & set(command)
    assert {"pref_beta", "pref_ftx", "fire_skip_invalid"} <= set(command)
    board.choose("Objective", RECIPE)


def test_objectives_are_listed_by_group_and_the_chosen_one_is_told_of(board):
    about = board.page.locator("#fire_about")
    expect(about).to_contain_text("Where to start")
    expect(about).to_contain_text(OBJECTIVES["fire_mpo"].formula)
    assert board.options("Objective") == [label for label, _ in listed("en")]
    board.choose("Objective", "With images · copo")
    expect(about).to_contain_text("a noised image in every row")
    board.choose("Objective", RECIPE)
    expect(about).to_contain_text("Where to start")


def test_the_section_speaks_the_hosts_languages(board):
    """Chinese is seen in test_board_builds_in_browser.py."""
    section, about = board.page.locator("#fire_tab"), board.page.locator("#fire_about")
    for language, label in {"ko": "목적 함수", "ja": "目的関数", "ru": "Целевая функция"}.items():
        board.speak(language)
        expect(board.field(label)).to_be_visible()
        expect(section).to_contain_text("YAML: fire_objective")
        expect(board.page.locator("html")).to_have_attribute("lang", language)
    board.choose(label, "С изображениями · copo")
    expect(about).to_contain_text("зашумлённое изображение в каждой строке")
    assert board.options(label) == [name for name, _ in listed(language)]
    board.speak("en")
    expect(about).to_contain_text("a noised image in every row")
    expect(board.field("Objective")).to_have_value("With images · copo")
    board.choose("Objective", RECIPE)
    help_line = section.get_by_text("YAML: fire_gamma")
    grey = re.findall(r"\d+", help_line.evaluate("line => getComputedStyle(line).color"))[:3]
    assert contrast_to_white(*map(int, grey)) >= 4.5
    expect(section).to_contain_text("FiRe-MPO configurations")


def contrast_to_white(*colour):
    """As WCAG 2 computes it."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 1.05 / (0.05 + 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def test_the_command_holds_the_papers_defaults(board):
    command = board.command()
    assert command["stage"] == "fire_mpo"
    expected = {
        "fire_objective": "fire_mpo",
        "pref_beta": "0.1",
        "fire_gamma": "0.1",
        "fire_alpha": "0.01",
        "fire_lambda": "0.5",
        "fire_kl_scope": "phrase",
        "pref_ftx": "0.0",
        "fire_skip_invalid": "False",
        "fire_vision_cache_gb": "20.0",
    }
    assert {key: command[key] for key in expected} == expected
    assert not {"fire_pass_tokens", "fire_group_by_image", "fire_reference_cache", "pref_loss"} & set(command)


def test_what_is_saved_and_loaded_again_gives_the_same_command(board, open_board, board_folder, tmp_path):
    odd = {
        "Beta (β)": "1e-3",
        "Visual weight (γ)": "0",
        "KL weight (α)": "0.0",
        "Forward KL share (λ)": "1",
        "NLL weight": "2.5",
        "Tokens per pass": "1",
        "Rows per image": "2",
        "Reference cache": str(tmp_path / "the cache"),
        "Vision cache": "Изображения",
        "Vision cache limit": "0.25",
        "Learning rate": "1e-6",
    }
    found_so = board.command()
    save(board, "as_found.yaml")
    for label, text in odd.items():
        board.fill(label, text)
    board.choose("Objective", "FiRe-MPO and its ablations · fire_mpo_v1")
    board.choose("KL scope", "response")
    board.field("Skip invalid rows").check()
    board.choose("DeepSpeed stage", "3")
    before = board.command()
    found = {key: before[key] for key in ("fire_gamma", "fire_alpha", "fire_lambda", "fire_skip_invalid")}
    assert found == {"fire_gamma": "0.0", "fire_alpha": "0.0", "fire_lambda": "1.0", "fire_skip_invalid": "True"}
    assert before["deepspeed"].endswith("ds_z3_config.json")
    save(board, "odd.yaml")
    saved = yaml.safe_load((board_folder / "llamaboard_config" / "odd.yaml").read_text())
    assert (saved["train.fire_alpha"], saved["train.fire_skip_invalid"]) == ("0.0", True)

    other = open_board()
    load(other, "odd.yaml")
    expect(other.field("Objective")).to_have_value("FiRe-MPO and its ablations · fire_mpo_v1")
    assert other.command() == before
    other.field("Skip invalid rows").uncheck()
    without = other.command()
    assert without == {**before, "fire_skip_invalid": "False"}

    board.page.bring_to_front()  # a page behind another one draws no frames, which all waiting counts
    load(board, "as_found.yaml")
    assert board.command() == found_so


def save(tab, name):
    tab.fill("Config path", name)
    tab.press("Save arguments")


def load(tab, name):
    tab.fill("Config path", name)
    tab.press("Load arguments")
    tab.settle()


def test_a_start_that_is_refused_says_why_and_leads_to_its_field(board, board_folder):
    wrong = (
        ("Beta (β)", "0,1", "Beta (β) must be a number; found: '0,1'"),
        ("Tokens per pass", "10.5", "Tokens per pass must be a whole number"),
        ("Rows per image", "1", "Rows per image must be a whole number of at least 2"),
        ("KL weight (α)", "-1", "KL weight (α) must be a number >= 0; found: -1.0"),
    )
    card, runs = board.page.locator("#fire_card"), set(board_folder.glob("saves/**/training_args.yaml"))
    for label, text, reason in wrong:
        before = board.field(label).input_value()
        board.fill(label, text)
        board.press("Start")
        expect(card).to_contain_text("Training was not started")
        expect(card.locator("p")).to_contain_text(reason)
        board.picture("card", board.button("Preview command"))
        board.press("Go to the field")
        expect(board.field(label)).to_be_focused()
        board.fill(label, before)
    board.command()
    expect(card).to_be_hidden()

    board.button("Extra configurations").click()
    before = board.field("Extra arguments").input_value()
    board.fill("Extra arguments", '{"optim": ')
    board.button("Extra configurations").click()
    board.press("Start")
    expect(card).to_contain_text("JSON")
    board.press("Go to the field")
    expect(board.field("Extra arguments")).to_be_focused()
    board.fill("Extra arguments", before)
    board.button("Extra configurations").click()
    assert set(board_folder.glob("saves/**/training_args.yaml")) == runs


@pytest.fixture
def broken(write_dataset, demo_data):
    """120 pairs over real scans; every hundredth has equal responses, and row 44 names a missing image."""
    images = [str(path) for path in sorted(demo_data.rglob("*.png"))]
    assert images
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>Which side is it on, {number}?"}],
            "chosen": {"from": "gpt", "value": "The nodule is on the left."},
            "rejected": {"from": "gpt", "value": f"The nodule is on the {'right' if number % 100 else 'left'}."},
            "images": [images[number % len(images)] if number != 44 else f"{HOSTILE}.png"],
            "rejected_images": [],
        }
        for number in range(120)
    ]
    return write_dataset(rows)


def test_a_run_over_unusable_rows_leads_to_them_among_all_others(board, broken, demo_data):
    page, card = board.page, board.page.locator("#fire_card")
    board.button("Extra configurations").click()
    before = board.field("Extra arguments").input_value()
    board.fill("Extra arguments", json.dumps(ON_THE_CPU | {"max_steps": 2}))
    board.choose("Stage", "DPO")  # which forgets the pairs
    board.choose_pairs("pairs", broken)
    board.fill("Output dir", "broken")
    board.button("Start").click()
    expect(card).to_contain_text("Training ended with an error", timeout=300_000)
    expect(card.locator("p")).to_contain_text("3 of 120 rows cannot be used")
    expect(card.locator("p")).to_contain_text(HOSTILE)
    expect(page.locator("[data-testid='toast-body']", has_text="The reason stands above the log.")).to_be_visible()
    board.take_notes_away()
    expect(card.locator("pre")).to_be_hidden()
    card.locator("summary").click()
    expect(card.locator("pre")).to_contain_text("Exit code: 1")
    assert page.get_by_text("Exit code: 1").locator("visible=true").count() == 1, "the log stands in the card alone"
    card.locator("summary").click()
    board.press("Show the rows that cannot be used")
    status, rows = page.locator("#fire_status"), page.locator("#fire_rows")
    expect(status).to_contain_text("All rows are checked: 120; cannot be used: 3.", timeout=300_000)
    expect(rows.locator(".firempo-row")).to_have_count(3)
    expect(board.field("Rows shown")).to_have_value("Rows that cannot be used (3)")
    expect(rows).to_contain_text("chosen and rejected are equal")
    for text in ("pairs, row 0", "pairs, row 100"):
        expect(rows).to_contain_text(text)
    board.settle()
    missing = next(text for text in board.options("Rows shown") if text.startswith("1 ×"))
    board.choose("Rows shown", missing)
    expect(rows).to_contain_text("pairs, row 44")
    expect(rows.locator(".firempo-row")).to_have_count(1)
    board.choose("Rows shown", "All rows (120)")
    expect(rows.locator(".firempo-row")).to_have_count(5)
    board.field("Page (of 24)").fill("24")
    board.field("Page (of 24)").press("Enter")
    expect(rows).to_contain_text("pairs, row 119")
    board.press("Next")
    expect(board.field("Page (of 24)")).to_have_value("24")
    board.press("Prev")
    expect(rows).to_contain_text("pairs, row 110")
    board.press("Close")
    expect(rows).to_be_hidden()
    board.choose("Stage", "DPO")
    board.choose_pairs("firempo_demo", demo_data)
    board.fill("Extra arguments", before)
    board.button("Extra configurations").click()


def test_phrases_are_shown_as_they_are_scored_and_images_in_full_resolution_in_a_dialog(board, demo_data):
    page, box = board.page, board.page.locator("#fire_pairs")
    board.button("Preview dataset").click()
    shown = box.locator(".firempo-row")
    expect(shown.first).to_be_visible(timeout=300_000)
    expect(box).to_have_attribute("aria-modal", "true")
    expect(shown.first.locator("img")).to_have_count(3)
    first = json.loads((demo_data / "pairs.json").read_text())[0]
    for side in ("chosen", "rejected"):
        response = shown.first.locator(f".firempo-{side} .firempo-tokens")
        pieces = response.locator("span:not(.firempo-template)").all_inner_texts()
        assert "".join(pieces) == first[side]["value"]
        assert 0 < response.locator(".firempo-phrase").count() < len(pieces)
    drawn = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert shown.first.locator("img").evaluate_all(drawn)
    expect(page.locator("#fire_status")).to_contain_text("rows are checked", timeout=300_000)
    board.picture("pairs")

    board.settle()
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#fire_pairs') !== null"), "the focus stays in the window"
    small = box.locator("img").first
    width = int(small.get_attribute("data-width"))
    small.click()
    page.wait_for_function("document.querySelector('.firempo-pixels img')?.src.includes('file=')")
    full = page.locator(".firempo-pixels img:visible").first
    assert full.evaluate("image => image.naturalWidth") == width > 0
    address = full.evaluate("image => image.src")
    page.keyboard.press("d")
    expect(page.locator(".firempo-viewer")).to_have_attribute("data-mode", "difference")
    board.picture("viewer")
    page.keyboard.press("Escape")
    expect(page.locator(".firempo-viewer")).to_have_count(0)
    expect(box).to_be_visible()
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(page.locator("#fire_preview_btn")).to_be_focused()
    board.settle()
    assert page.request.get(address).status == 403, "the images are gone with the window"


def test_the_look_at_pairs_says_why_it_cannot_be_had(board, checkpoint, tmp_path):
    status = board.page.locator("#fire_status")
    board.fill("KL weight (α)", "abc")
    board.press("Preview dataset")
    expect(status).to_contain_text("KL weight (α) must be a number; found: 'abc'")
    board.press("Close")
    board.fill("KL weight (α)", "0")
    board.fill("Model path", str(tmp_path / "nowhere"))
    board.press("Preview dataset")
    expect(status).to_contain_text("nowhere cannot be read", timeout=60_000)
    board.press("Close")
    expect(status).to_be_hidden()
    board.fill("KL weight (α)", "0.01")
    board.fill("Model path", str(checkpoint("qwen3_vl")))


def wait_for_entries(log, number):
    end = time.monotonic() + 300
    while not log.is_file() or log.read_text().count("\n") < number:
        assert time.monotonic() < end, f"{log} has no {number} entries"
        time.sleep(0.05)


def test_a_run_draws_its_terms_is_taken_up_by_a_reloaded_page_and_aborted(board, board_server, board_folder):
    """The last of the board's tab. That a run ends by itself is shown in tests/host/train/test_runs.py."""
    board.picture("section", board.page.locator("#fire_tab"))
    board.fill("Output dir", "aborted")
    board.fill("Learning rate", "1e-3")
    board.button("Extra configurations").click()
    extra = {"max_steps": 5000, "save_strategy": "no", "logging_steps": 1}
    board.fill("Extra arguments", json.dumps(ON_THE_CPU | extra))
    run = board_folder / "saves" / "Custom" / "lora" / "aborted"
    log = run / "trainer_log.jsonl"
    board.button("Start").click()
    curves = board.page.locator("#fire_curves figure")
    verdict, picture = curves.first.locator("figcaption"), curves.first.locator("img")
    wait_for_entries(log, 1)
    with board_server.training_at_rest():
        expect(curves.first).to_be_visible(timeout=300_000)
        titles = curves.locator("b").all_inner_texts()
        assert {"loss", "terms/rank", "terms/visual", "rewards/accuracies", "rewards/margins"} <= set(titles)
        first = picture.get_attribute("src")
    wait_for_entries(log, ENOUGH)
    with board_server.training_at_rest():
        expect(verdict).not_to_contain_text("Too early to say", timeout=300_000)
        expect(picture).not_to_have_attribute("src", first)  # it follows the run
        said = verdict.inner_text()[2:].strip()
        expect(picture).to_have_attribute("alt", re.compile(rf"^loss: {said[:5]}"))
        expect(board.page.locator("[data-testid='matplotlib']").locator("visible=true")).to_have_count(0)

        board.page.reload()
        board.errors.clear()  # a reload breaks off what the page was waiting for
        expect(board.page.get_by_text("Running").first).to_be_visible(timeout=300_000)
        expect(curves.first).to_be_visible()
        board.settle()  # the host's reactions to what it has put in
        expect(board.field("Chat template")).to_have_value(TEMPLATE)
        expect(board.page.get_by_text("firempo_demo", exact=True).first).to_be_visible()
    board.button("Abort").click()
    expect(board.page.get_by_text("Finished.").last).to_be_visible(timeout=300_000)
    board.picture("run", board.button("Preview command"))
    assert (run / "adapter_model.safetensors").is_file(), "what was trained so far is kept"
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"terms/rank", "terms/visual", "rewards/margins"} <= set(logged[0])
    assert 0 < logged[-1]["current_steps"] < 5000
