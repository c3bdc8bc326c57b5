"""A real LLaMA-Board in a real browser. Without Chromium these tests are skipped; FIREMPO_CHROMIUM may name one."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from board_page import KEY, BoardPage
from places import TEMPLATES_DIR

CHROMIUM = os.environ.get("FIREMPO_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # a route of playwright's would turn the cache off
    "--no-proxy-server",
    "--process-per-site",  # so a second tab of the board compiles its scripts no second time
]
STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, ::before, ::after { animation: none !important; transition: none !important; }";
  document.head.append(style);
});"""
"""Signs of loading and lists that fly in, drawn by the processor, would be a fifth of what a page costs."""
START = 600
"""Seconds; on a quiet machine it takes ten."""
SCRIPTS = Path(sys.executable).parent
READY = "create a public link"
"""What Gradio offers once it has reached its own server."""
STARTS = 3
"""On a very busy machine Gradio now and then ends, since it does not reach it within seconds."""


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def board_folder(tmp_path_factory) -> Path:
    """Where the board runs: its data, its saved arguments and its runs."""
    folder = tmp_path_factory.mktemp("board")
    shutil.copytree(TEMPLATES_DIR, folder / "data")
    return folder


class Server:
    """A board, started as a user starts it.

    Attributes:
        url: Its address, the same after a new start.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._environment = os.environ | {
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "BROWSER": "true",
            "PYTHONUNBUFFERED": "1",
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "BOARD_TEST_KEY": KEY,
        }

    def start(self) -> None:
        log = self._folder / "board.log"
        for _ in range(STARTS):
            with open(log, "w") as output:
                self._process = subprocess.Popen(
                    [SCRIPTS / "llamafactory-cli", "webui"],
                    cwd=self._folder,
                    env=self._environment,
                    stdout=output,
                    stderr=output,
                )
            if _is_ready(log, self._process):
                return
            self._process.kill()
            self._process.wait()
        pytest.fail(f"the board did not start:\n{log.read_text()[-3000:]}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextmanager
    def training_at_rest(self):
        """Holds the run that the board has started: it is there, and takes nothing."""
        (run,) = (child for child in psutil.Process(self._process.pid).children() if "train" in child.cmdline())
        run.suspend()
        try:
            yield
        finally:
            run.resume()


@pytest.fixture(scope="session")
def board_server(browser, board_folder):
    server = Server(board_folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def board_url(board_server):
    """The address of the board."""
    return board_server.url


def _is_ready(log: Path, server: subprocess.Popen) -> bool:
    """Waits for the board; False where it has ended, or takes too long."""
    for _ in range(START * 2):
        if server.poll() is not None:
            return False
        if READY in log.read_text():
            return True
        time.sleep(0.5)
    return False


@pytest.fixture(scope="session")
def window(browser):
    """One window for all tabs."""
    window = browser.new_context(
        viewport={"width": 1400, "height": 1000}, device_scale_factor=1, reduced_motion="reduce"
    )
    window.add_init_script(STILL)
    return window


@contextmanager
def tabs_of(window, url: str):
    """Gives a function that opens the board in a new tab. At the end, no tab may have logged an error."""
    tabs = []

    def open_tab() -> BoardPage:
        tabs.append(BoardPage(window.new_page(), url))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        errors = tab.errors
        tab.page.close()
        assert errors == []


@pytest.fixture
def open_board(window, board_url):
    """Opens tabs of one test."""
    with tabs_of(window, board_url) as open_tab:
        yield open_tab


@pytest.fixture(scope="module")
def open_shared_board(window, board_url):
    """Opens tabs that several tests use: each takes three seconds of a core."""
    with tabs_of(window, board_url) as open_tab:
        yield open_tab
