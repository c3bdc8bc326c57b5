"""The project's prompts: Markdown files, versioned, that a run may replace by files of its own."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from ...errors import UserError

_HEAD = re.compile(r"version:[ \t]*(\S+)[ \t]*\r?\n\s*\n?")


@dataclass(frozen=True)
class Prompt:
    """A prompt as it is in its file.

    Attributes:
        name: Of its file, such as "vqa_edit".
        version: From its first line.
        text: The rest; `$name` stands for a value.
    """

    name: str
    version: str
    text: str


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """Reads a prompt: `<name>.md` of the folder if it has one, else the project's own.

    Raises:
        UserError: There is no such prompt, the file cannot be read, or its first line is no `version: ...`.
    """
    own = folder / f"{name}.md" if folder is not None else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"the prompts folder {folder} does not exist; make it, or leave the key out")
    source = own if own is not None and own.is_file() else files(__name__) / f"{name}.md"
    if not source.is_file():
        known = ", ".join(sorted(path.name[:-3] for path in files(__name__).iterdir() if path.name.endswith(".md")))
        raise UserError(f"there is no prompt {name!r}; the prompts are {known}")
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the prompt {source} cannot be read: {error}") from error
    head = _HEAD.match(text)
    if head is None:
        raise UserError(f"the prompt {source} must begin with a line such as `version: 1`, found {text[:40]!r}")
    return Prompt(name, head[1], text[head.end() :].strip())


def render(prompt: Prompt, **values: str | list[str]) -> str:
    """Fills a prompt's variables in, each as a JSON string, or a list of such.

    So every text of a record is one quoted line, whatever quotes, line breaks or instructions it holds, and a judge
    can tell it from the prompt. Values that the prompt does not ask for are left out.

    Raises:
        UserError: The prompt asks for a variable that has no value, or has a `$` that stands for nothing.
    """
    template = Template(prompt.text)
    if not template.is_valid():
        raise UserError(f"the prompt {prompt.name} has a $ that names no variable; write $$ for the sign itself")
    missing = [name for name in template.get_identifiers() if name not in values]
    if missing:
        known = ", ".join(sorted(values)) or "none"
        raise UserError(f"the prompt {prompt.name} asks for ${missing[0]}, which has no value here; known: {known}")
    return template.substitute({name: json.dumps(value, ensure_ascii=False) for name, value in values.items()})
