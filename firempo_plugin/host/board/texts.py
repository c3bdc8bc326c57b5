"""The board's words in the host's five languages, kept as data beside this file."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from ...objectives.guide import grouped, needs_of
from ...objectives.table import OBJECTIVES
from ..train.verdicts import Verdict
from .build_fields import EXTRA
from .build_fields import FIELDS as BUILD_FIELDS
from .fields import FIELDS

LANGUAGES = ("en", "ru", "zh", "ko", "ja")

NAMES = {field.key: field.name for field in FIELDS} | {field.key: field.name for field in BUILD_FIELDS}
"""Our elements by the key that each writes."""
AS_THE_HOST_SAYS = {
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


@lru_cache(maxsize=1)
def labels() -> dict[str, dict[str, dict[str, str]]]:
    """Label and help line by element and language; the help line of a field names its YAML key."""
    elements = read("texts.yaml") | read("build_texts.yaml")
    for key, name in NAMES.items():
        for words in elements[name].values() if key != EXTRA else ():
            words["info"] = f"{words['info']} YAML: {key}"
    for language, words in elements["fire_objective"].items():
        words["choices"] = listed(language)
    return {**elements, "fire_note": {language: {"value": say("note", language)} for language in LANGUAGES}}


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


def listing(name: str, language: str) -> list[str]:
    """Words of a kind in a language, in their order."""
    return list(_messages()[name][language])


def table(name: str) -> dict[str, Any]:
    """A message that is a table of its own."""
    return dict(_messages()[name])


def say_verdict(verdict: Verdict, language: str) -> str:
    """What a verdict says under its curve."""
    words = _verdicts()
    advice = str(words["advice"][verdict.name][language]).format(**verdict.values) if verdict.name else ""
    if verdict.course is None:
        return advice
    numbers = {"start": f"{verdict.start:.3g}", "now": f"{verdict.now:.3g}"}
    course = words["course"][verdict.course][language].format(**numbers)
    healthy = words["healthy"].get(verdict.healthy, {}).get(language, verdict.healthy)
    judged = words["judged"][verdict.level if healthy else "plain"][language]
    return str(judged.format(course=course, healthy=healthy, advice=advice))


def _said(text: str, language: str) -> str:
    """Words of the table of objectives in a language; as they stand where nobody has translated them yet."""
    return _objectives().get(text, {}).get(language, text)


@lru_cache(maxsize=1)
def _objectives() -> dict[str, dict[str, str]]:
    return read("objectives.yaml")


@lru_cache(maxsize=1)
def _verdicts() -> dict[str, dict[str, dict[str, str]]]:
    return read("verdicts.yaml")


@lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    return {**read("messages.yaml"), **read("build_messages.yaml")}


def read(name: str) -> Any:
    """A file of words beside this one."""
    return yaml.safe_load(files(__package__).joinpath(name).read_text(encoding="utf-8"))
