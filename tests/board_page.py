"""LLaMA-Board's training tab as a person uses it."""

import os
import re
import time
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, TimeoutError, expect

KEY = "sk-nobody-may-see-this-key-0123456789"
"""Of a model, in the board's environment under BOARD_TEST_KEY."""
SETTLE = 120
"""Seconds."""
QUIET, STREAM_QUIET = 4, 60
"""Looks, each two frames of the page, a thirtieth of a second; a stream of answers may stay open after its last one."""
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
"""A page that is busy with an answer takes longer over them."""

expect.set_options(timeout=60_000)


class BoardPage:
    """The board in one browser tab.

    Attributes:
        page: Playwright's.
        errors: What the page logged as an error; what fails because it lies on the internet does not count.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self._asked: set[Request] = set()
        page.on("console", self._note)
        page.on("request", lambda request: self._asked.add(request) if "heartbeat" not in request.url else None)
        page.on("requestfinished", lambda request: self._asked.discard(request))
        page.on("requestfailed", lambda request: self._asked.discard(request))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._open(url)
        expect(self.field("Language")).to_have_value("en")
        self.settle()

    def _open(self, url: str) -> None:
        """On a busy machine Gradio's page now and then stays at its loading sign for good; it is then opened anew."""
        for patience in (30_000, 30_000, 60_000):
            self.errors.clear()
            self.page.goto(url)
            try:
                self.button("Preview command").wait_for(timeout=patience)
            except TimeoutError:
                continue
            return
        raise TimeoutError(f"the board at {url} does not get beyond its loading sign")

    def _note(self, message: ConsoleMessage) -> None:
        outside = "ERR_NAME_NOT_RESOLVED" in message.text or "fonts.googleapis.com" in message.text
        if message.type == "error" and not outside:
            self.errors.append(message.text)

    def settle(self) -> None:
        """Waits until the server has answered everything, and nothing more is asked."""
        quiet, end = 0, time.monotonic() + SETTLE
        while time.monotonic() < end:
            self.page.evaluate(FRAMES)
            only_streams = all("queue/data" in request.url for request in self._asked)
            quiet = quiet + 1 if only_streams else 0
            if quiet == (STREAM_QUIET if self._asked else QUIET):
                return
        raise TimeoutError(f"still waiting for {[request.url for request in self._asked]}")

    def field(self, label: str) -> Locator:
        """An input by its label, which its help line may follow."""
        return self.page.get_by_label(re.compile(rf"^\s*{re.escape(label)}")).locator("visible=true").first

    def button(self, name: str) -> Locator:
        """A button, or the head of an accordion, by its name."""
        return (
            self.page.get_by_role("button", name=re.compile(rf"^\s*{re.escape(name)}\s*[▼◀]?$"))
            .locator("visible=true")
            .first
        )

    def choose(self, label: str, option: str) -> None:
        """Chooses from a list; one that takes several gets one more."""
        self.field(label).click()
        self.settle()
        self.field(label).fill(option)
        self.page.get_by_role("option", name=option, exact=True).first.click()
        self.settle()
        if self.page.get_by_role("option").locator("visible=true").count():  # a list that takes several stays open
            self.field(label).press("Escape")  # elsewhere it would close the box around a list that is just fading
            self.settle()

    def options(self, label: str) -> list[str]:
        """What a list offers."""
        self.field(label).click()
        self.settle()
        found = self.page.get_by_role("option").all_inner_texts()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Tab")
        return [text.replace("✓", "").strip() for text in found]

    def fill(self, label: str, text: str) -> None:
        self.field(label).fill(text)
        self.field(label).press("Tab")

    def press(self, name: str) -> None:
        self.button(name).click()
        self.settle()

    def speak(self, language: str) -> None:
        """Chooses the board's language, which the board remembers."""
        self.page.locator("input").first.click()
        self.page.get_by_role("option", name=language, exact=True).first.click()
        self.settle()

    def take_notes_away(self) -> None:
        """Closes the board's notes, which for ten seconds lie over what stands below them."""
        self.page.locator(".toast-close").evaluate_all("notes => notes.forEach(note => note.click())")

    def picture(self, name: str, top: Locator | None = None) -> None:
        """Keeps what is seen, where FIREMPO_SCREENSHOTS names a folder: so the README's pictures are made."""
        if folder := os.environ.get("FIREMPO_SCREENSHOTS"):
            if top is not None:
                top.evaluate("element => element.scrollIntoView()")
            self.take_notes_away()
            self.page.mouse.move(0, 0)
            self.page.wait_for_timeout(500)
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def choose_model(self, checkpoint: Path, template: str) -> None:
        self.choose("Model name", "Custom")
        self.fill("Model path", str(checkpoint))
        self.choose("Chat template", template)

    def choose_pairs(self, dataset: str, folder: Path | None = None, stage: str = "FiRe-MPO") -> None:
        self.choose("Stage", stage)
        if folder is not None:
            self.fill("Data dir", str(folder))
        self.choose("Dataset", dataset)

    def command(self) -> dict[str, str]:
        """The command that the board shows, by key; the folder of the run, which names the time, is left out."""
        self.press("Preview command")
        code = self.page.locator("code").filter(has_text="llamafactory-cli train").last
        expect(code).to_be_visible()
        found = re.findall(r"--(\S+) (.*?) *\\?$", code.inner_text(), re.M)
        return {key: value for key, value in found if key != "output_dir"}
