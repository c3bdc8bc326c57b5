"""The front door and its pages: every link leads somewhere, every command is there, and both languages say the same."""

import re
import shlex

import pytest
import yaml
from places import ROOT

from firempo_plugin import cli

FRONT = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_zh.md")}
PAGES = sorted(
    path
    for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "*.md"), (ROOT / "examples", "*/README.md"))
    for path in folder.glob(pattern)
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
COMMAND = re.compile(r"^((?:firempo|llamafactory-cli|make) [^#\n]*?)\s*(?:#.*)?$", re.M)


def commands(text: str) -> list[str]:
    return [line for kind, block in BLOCK.findall(text) if kind == "bash" for line in COMMAND.findall(block)]


def headings(path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_the_front_door_fits_one_sitting():
    assert all(len(text.splitlines()) <= 150 for text in FRONT.values())


def test_both_languages_have_the_same_headings_commands_links_and_numbers():
    english, chinese = FRONT.values()
    for of in (
        lambda text: [len(level) for level in re.findall(r"^(#+) ", text, re.M)],
        commands,
        lambda text: [block for kind, block in BLOCK.findall(text) if kind != "bash"],
        lambda text: sorted(re.findall(r"\]\(([^)\s]+)\)", text.replace("README_zh.md", "").replace("README.md", ""))),
        lambda text: sorted(re.findall(r"\d[\d.]*\d|\b1e-\d|\d+ GB", text)),
    ):
        assert of(english) == of(chinese)


@pytest.mark.parametrize("command", sorted({line for path in PAGES for line in commands(path.read_text("utf-8"))}))
def test_every_command_that_is_shown_is_one(command):
    words = shlex.split(command.rstrip("\\"))
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+(?: [\w-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(" ".join(targets).split()), command
    if words[0] == "firempo" and words[1] in vars(cli) | {"check-noise": None}:
        for word in words[2:]:
            if word.startswith("examples/"):
                assert (ROOT / word).exists(), word
    elif words[0] == "firempo":
        assert words[1] in {*cli.STEP_HELP, "--help"} or words[1].isupper(), command


def test_the_site_lists_every_page_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [page for part in site["nav"] for pages in part.values() for page in pages]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
