"""Writes what is read of the table of objectives: symbols and tables of objectives.md, and an example of each.

    python -m docs.objectives

What stands outside the two marks of the page is by hand and stays. An example whose objective is gone is removed.
"""

import re
from pathlib import Path
from string import Template
from textwrap import dedent

from firempo_plugin.host.arguments import HOST_OPTIONS, OPTIONS
from firempo_plugin.objectives import terms
from firempo_plugin.objectives.guide import grouped, needs_of
from firempo_plugin.objectives.table import OBJECTIVES
from firempo_plugin.objectives.terms import Objective

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "objectives.md"
TEMPLATE = ROOT / "docs" / "example.yaml"
EXAMPLES = ROOT / "examples" / "objectives"
BEGIN = "<!-- From here on written by `make docs`, from firempo_plugin/objectives/table.py. -->\n"
END = "<!-- From here on by hand. -->\n"
HEAD = ("objective", "when to take it", "loss of a row", "needs of a row", "reference", "keys and defaults", "source")


def keys_of(row: Objective) -> dict[str, str]:
    """The keys that act on a method's terms with the defaults that it gives them; `pref_ftx` where it brings one."""
    own = {*row.reads, *row.defaults}
    return {each.key: f"{each.default_of(row)}" for each in (*HOST_OPTIONS, *OPTIONS) if each.setting in own}


def cells(row: Objective) -> list[str]:
    """What the page says of a method, under `HEAD`."""
    needs = needs_of(row)
    return [
        f"[`{row.name}`](../examples/objectives/{row.name}.yaml)",
        row.use,
        f"`{row.formula}`",
        "; ".join(needs.of_a_row),
        "yes" if needs.reference else "none",
        ", ".join(f"`{key}` {default}" for key, default in keys_of(row).items()),
        re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", row.source),
    ]


def tables() -> str:
    """What the symbols mean, and every group with the table of its methods."""
    symbols = dedent((terms.__doc__ or "").split("Formulas are written with\n\n")[1]).rstrip()
    lines = ["```", symbols, "```", ""]
    for group, rows in grouped().items():
        lines += [f"### {group}", ""]
        for line in (HEAD, ["---"] * len(HEAD), *map(cells, rows)):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables as the table of objectives has them."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def example(row: Objective) -> str:
    """The training YAML of a method."""
    keys = ", ".join(f"{key} {default}" for key, default in keys_of(row).items())
    about = [
        f"{row.source}.",
        f"Loss of a row: {row.formula}",
        f"Needs of a row: {'; '.join(needs_of(row).of_a_row)}. Keys at their defaults: {keys}.",
        "Symbols, and the other objectives: docs/objectives.md",
    ]
    text = TEMPLATE.read_text(encoding="utf-8")
    return Template(text).substitute(name=row.name, use=row.use, about="\n# ".join(about))


def files() -> dict[Path, str]:
    """All that is written."""
    examples = {EXAMPLES / f"{name}.yaml": example(row) for name, row in OBJECTIVES.items()}
    return {PAGE: page(PAGE.read_text(encoding="utf-8")), **examples}


def main() -> None:
    """The command."""
    EXAMPLES.mkdir(exist_ok=True)
    written = files()
    for gone in set(EXAMPLES.glob("*.yaml")) - set(written):
        gone.unlink()
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
