"""Writes the keys of every configuration, as the code has them, into docs/commands.md.

    python -m docs.commands

What stands outside the two marks of the page is by hand and stays.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firempo_plugin.align.config import AlignConfig
from firempo_plugin.evaluate.config import config_class
from firempo_plugin.evaluate.registry import MEASURES
from firempo_plugin.images.corruptions import CORRUPTIONS
from firempo_plugin.pairs.config import BuildConfig
from firempo_plugin.pairs.exporters.registry import FORMATS
from firempo_plugin.pairs.segmenters.registry import SEGMENTERS
from firempo_plugin.settings import describe, describe_options
from firempo_plugin.sources.registry import SOURCES

PAGE = Path(__file__).with_name("commands.md")
BEGIN = "<!-- From here on written by `make docs`, from the code. -->\n"
END = "<!-- From here on by hand. -->\n"


def _sections() -> Iterator[tuple[str, list[str]]]:
    """Headings with their lines."""
    yield "## `firempo build CONFIG.yaml`", describe(BuildConfig)
    yield "### Sources", describe_options("source.options of each source:", SOURCES)
    same: Any = lambda segmenter: segmenter  # noqa: E731
    yield "### Segmenters", describe_options("segment.options of each segmenter:", SEGMENTERS, same)
    yield "### Corruptions", describe_options("noise.options of each corruption:", CORRUPTIONS)
    yield "### Formats", describe_options("export.options of each format:", FORMATS)
    yield "## `firempo evaluate CONFIG.yaml`", describe(config_class())
    yield "### Measures", describe_options("options of each measure:", MEASURES)
    yield "## `firempo align CONFIG.yaml`", describe(AlignConfig)


def tables() -> str:
    """All of it."""
    parts = ["\n".join([head, "", "```", *lines, "```", ""]) for head, lines in _sections()]
    return "\n".join(parts) + "\n"


def page(text: str) -> str:
    """The page with its tables written anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
