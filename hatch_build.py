"""What only a release knows: the repository's address, of which links and pictures on the package index are.

`FIREMPO_REPOSITORY=https://github.com/OWNER/NAME python -m build` makes the README's relative links absolute, at the
version's tag, and names the project's pages. Without it both stay as they are.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


class Release(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Changes the project's metadata in place.

        Raises:
            ValueError: The address is none.
        """
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if address := os.environ.get("FIREMPO_REPOSITORY", "").rstrip("/"):
            if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", address):
                raise ValueError(f"FIREMPO_REPOSITORY must be https://HOST/OWNER/NAME, found {address}")
            text = absolute(text, address, f"v{version(Path(self.root))}")
            metadata["urls"] = {
                "Repository": address,
                "Issues": f"{address}/issues",
                "Changelog": f"{address}/blob/main/CHANGELOG.md",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def version(root: Path) -> str:
    """The package's version."""
    found = re.search(r'__version__ = "([^"]+)"', (root / "firempo_plugin/__init__.py").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError("firempo_plugin/__init__.py has no __version__")
    return found[1]


def absolute(text: str, address: str, tag: str) -> str:
    """Markdown whose links and pictures are found from anywhere."""
    return LINK.sub(
        lambda link: f"{link[1]}[{link[2]}]({address}/{'raw' if link[1] else 'blob'}/{tag}/{link[3]})", text
    )
