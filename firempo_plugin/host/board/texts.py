"""The board's words in the host's five languages, kept as data beside this file."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from ...objectives.guide import grouped, needs_of
from ...objectives.table import OBJECTIVES
from .fields import FIELDS

LANGUAGES = ("en", "ru", "zh", "ko", "ja")

AS_THE_HOST_SAYS = {
    "fire_preview_btn": "data_preview_btn",
    "fire_page": "page_index",
    "fire_prev_btn": "prev_btn",
    "fire_next_btn": "next_btn",
    "fire_close_btn": "close_btn",
}
"""Our elements that say the same as one of the host's."""


def extend_locales(module: Any) -> None:
    """Adds the words of our elements to the host's table, which a change of language goes through."""
    module.LOCALES |= labels()
    for ours, hosts in AS_THE_HOST_SAYS.items():
        module.LOCALES[ours] = module.LOCALES[hosts]


def labels() -> dict[str, dict[str, dict[str, str]]]:
    """Label and help line by element and language; the help line of a field names its YAML key."""
    table = _read("texts.yaml")
    for field in FIELDS:
        for words in table[field.name].values():
            words["info"] = f"{words['info']} YAML: {field.key}"
    for language, words in table["fire_objective"].items():
        words["choices"] = listed(language)
    return {**table, "fire_note": {language: {"value": say("note", language)} for language in LANGUAGES}}


def say(name: str, language: str, **values: Any) -> str:
    """A message in a language, filled in."""
    return str(_messages()[name][language]).format(**values)


def listed(language: str) -> list[tuple[str, str]]:
    """The objectives as a list offers them, group by group: what is read and what is written."""
    return [(f"{_said(group, language)} · {row.name}", row.name) for group, rows in grouped().items() for row in rows]


def about(objective: str, language: str) -> str:
    """What is said of a chosen objective, as Markdown: when to take it, its formula, what it needs of a row."""
    row = OBJECTIVES[objective]
    needs = needs_of(row)
    return say(
        "about",
        language,
        use=_said(row.use, language),
        formula=row.formula,
        needs="; ".join(_said(need, language) for need in needs.of_a_row),
        reference="" if needs.reference else say("no_reference", language),
        source=row.source,
    )


def _said(text: str, language: str) -> str:
    """Words of the table of objectives in a language; as they stand where nobody has translated them yet."""
    return _objectives().get(text, {}).get(language, text)


@lru_cache(maxsize=1)
def _objectives() -> dict[str, dict[str, str]]:
    return _read("objectives.yaml")


@lru_cache(maxsize=1)
def _messages() -> dict[str, dict[str, str]]:
    return _read("messages.yaml")


def _read(name: str) -> Any:
    return yaml.safe_load(files(__package__).joinpath(name).read_text(encoding="utf-8"))
