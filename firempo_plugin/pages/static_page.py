"""A page that is one HTML file, without server or network.

Everything from data goes into JSON data blocks, never into markup; a content security policy lets the page run its
own script only. Small pictures lie in the page, each in a block that is read when it is to be seen; those in full
resolution lie in a folder beside it, which `viewer.Folder` writes.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from typing import Any

from . import viewer

_SHARED = files(__package__)


def fill(
    parts: Traversable,
    *,
    title: str,
    data: Mapping[str, str],
    body: str = "page.html",
    styles: Iterable[str] = ("page.css",),
    scripts: Iterable[str] = ("page.js",),
    **markup: str,
) -> str:
    """A page: what all pages have, the viewer of images among it, then its own body, style and script.

    Args:
        parts: The folder of its files.
        title: Text.
        data: By the id of the element that holds it, text of `data_json` or `data_lines`.
        body: Name of the file with its body, which has `$title` and the names of `markup`.
        styles, scripts: Names of files, in their order.
        markup: HTML that is safe as it is.
    """

    def joined(shared: Iterable[str], own: Iterable[str]) -> str:
        every = (*map(_SHARED.joinpath, shared), *map(parts.joinpath, own))
        return "\n".join(file.read_text(encoding="utf-8") for file in every)

    style, script = joined(("page.css", viewer.STYLE), styles), joined(("page.js", *viewer.SCRIPTS), scripts)
    blocks = (f'<script type="application/json" id="{name}">{text}</script>' for name, text in data.items())
    title = html.escape(title)
    own = Template(parts.joinpath(body).read_text(encoding="utf-8")).substitute(title=title, **markup)
    return Template((_SHARED / "page.html").read_text(encoding="utf-8")).substitute(
        title=title,
        policy=html.escape(_policy(style, script)),
        style=style,
        script=script,
        viewer=viewer.attributes(),
        body=own,
        data="\n".join(blocks),
    )


def data_json(value: Any) -> str:
    """JSON in which nothing can end the script element that holds it."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_blocks(name: str, values: Iterable[Any]) -> dict[str, str]:
    """Data blocks for `fill`, a value each; the page's script finds one by name and number, such as "picture-0"."""
    return {f"{name}-{number}": data_json(value) for number, value in enumerate(values)}


def data_lines(values: Iterable[Any]) -> str:
    """The same for a list, a value a line."""
    return "[\n" + ",\n".join(data_json(value) for value in values) + "\n]"


def _policy(style: str, script: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script))
    style_hash, script_hash = hashes
    sources = f"style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'"
    return f"default-src 'none'; img-src data: 'self' file:; {sources}"
