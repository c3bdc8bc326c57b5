"""Writes docs/models.yaml, to which a test holds LLaMA-Factory's templates, into the tables of docs/models.md.

    python -m docs.models

What stands outside the two marks of the page is by hand and stays.
"""

from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).with_name("models.md")
SEEN = Path(__file__).with_name("models.yaml")
BEGIN = "<!-- From here on written by `make docs`, from docs/models.yaml. -->\n"
END = "<!-- From here on by hand. -->\n"
PATHS = {"trees": "trees", "images": "shared images", "plain": "plain"}


def rows() -> list[dict[str, Any]]:
    """The rows of the table, in its order."""
    return yaml.safe_load(SEEN.read_text(encoding="utf-8"))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def tables() -> str:
    """What can be trained, and what is refused."""
    lines = [_line("model", "`template`", "`model_type`", "plug-in", "path"), _line(*["---"] * 5)]
    for row in rows():
        if "refused" not in row:
            cells = (
                row["model"],
                _names(row["templates"]),
                f"`{row['type']}`",
                f"`{row['plugin']}`",
                PATHS[row["path"]],
            )
            lines.append(_line(*cells))
    lines += [
        "",
        "### Refused",
        "",
        _line("model", "`template`", "`model_type`", "what the run says"),
        _line(*["---"] * 4),
    ]
    for row in rows():
        if "refused" in row:
            lines.append(_line(row["model"], _names(row["templates"]), f"`{row['type']}`", f"... {row['refused']} ..."))
    return "\n".join([*lines, ""])


def page(text: str) -> str:
    """The page with its tables as the rows have them."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """The command."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
