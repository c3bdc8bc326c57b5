"""A page that is one HTML file, without server or network.

Everything from data goes into JSON data blocks, never into markup; a content security policy lets the page run its
own script only.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from string import Template
from typing import Any


def fill(template: str, *, title: str, style: str, script: str, **blocks: str) -> str:
    """The page of a template.

    Args:
        template: HTML with `$title`, `$policy`, `$style`, `$script` and the names of the blocks.
        title: Text.
        style: Its one style sheet.
        script: Its one script.
        blocks: Markup that is safe as it is, such as `data_json`.
    """
    return Template(template).substitute(
        title=html.escape(title), policy=html.escape(_policy(style, script)), style=style, script=script, **blocks
    )


def data_json(value: Any) -> str:
    """JSON in which nothing can end the script element that holds it."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_lines(values: Iterable[Any]) -> str:
    """The same for a list, a value a line."""
    return "[\n" + ",\n".join(data_json(value) for value in values) + "\n]"


def _policy(style: str, script: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script))
    style_hash, script_hash = hashes
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'"
