"""Refusals of the tab of pairs: in the page's language, under the page's labels, and of sentences that a build says."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import firempo_plugin
from firempo_plugin.errors import UserError
from firempo_plugin.host.board import refusals, texts
from firempo_plugin.host.board.build_fields import FIELDS
from firempo_plugin.pairs.exporters.images import REMEDY
from firempo_plugin.settings import MissingSettingError, WrongSettingError

PACKAGE = Path(firempo_plugin.__file__).parent
SENTENCES = texts.read("refusals.yaml")["sentences"]
SAID_BY = ("settings.py", "files.py", "endpoint", "sources", "pairs", "host/board")
PLAIN = 10
"""So many letters of its own a sentence of the sources must have to tell it from others."""


def templates():
    """The sentences of the sources, each as what stands around the words that are filled in."""
    for path in (path for place in SAID_BY for path in sorted([PACKAGE / place, *(PACKAGE / place).rglob("*.py")])):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield (node.value,)
            if isinstance(node, ast.JoinedStr):
                yield tuple(part.value for part in node.values if isinstance(part, ast.Constant))


def holds(english, parts):
    place = 0
    for part in parts:
        place = english.find(part, place) + len(part)
        if place < len(part):
            return False
    return True


def test_every_sentence_is_one_that_the_sources_say_and_is_said_in_every_language():
    known = {parts for parts in templates() if len("".join(parts)) >= PLAIN}
    for english, words in SENTENCES.items():
        assert any(holds(english, parts) for parts in known), english
        assert "choose another export.name" not in english or REMEDY in english
        assert set(words) - {"en"} == set(texts.LANGUAGES) - {"en"}, english
        filled = set(re.findall(r"{(\w+)}", english))
        for said in words.values():
            assert set(re.findall(r"{(\w+)}", said)) <= filled, said


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_labels_stand_in_the_place_of_keys(language):
    labels = texts.labels()

    def label(key):
        return labels[texts.NAMES[key]][language]["label"]

    blur = "noise.corruption: blur has no effect without masks; name them with segment.by, or write noise.whole_image: "
    blur += "true"
    said = refusals.say_build_refusal(UserError(blur), language)
    for key in ("noise.corruption", "segment.by", "noise.whole_image"):
        assert label(key) in said
        assert key not in said
    unknown = "edit.endpoint.model is odd in source.options.columns; see max_cost, /data/noise.sigma/x and respond.file"
    said = refusals.say_build_refusal(UserError(unknown), language)
    assert label("edit.endpoint.model") in said
    assert f"{label('source.options')}: columns" in said
    assert label("max_cost") in said
    assert "/data/noise.sigma/x and respond.file" in said, "no path, and no key that has no field"
    assert said.startswith(texts.say("in_english", language, error="")[:-1])
    assert refusals.label_of("source.options.folder", language) == label("source.options.file")
    assert refusals.label_of("edit.how", language) == f"{label('extra')}: edit.how"
    assert labels["fire_build_folder"][language]["label"] in refusals.say_build_refusal(
        UserError("workspace is missing; write where the build keeps its work and what it reads"), language
    )


@pytest.mark.parametrize("language", texts.LANGUAGES[1:])
@pytest.mark.parametrize(
    "wanted",
    [
        "a number (at least 0, at most 2) or null",
        "a whole number (at least 1)",
        "one of a, b",
        "true or false",
        "a list, each a number or null",
        "a number (above 0, at most 1)",
        "a path without ~, which only a shell replaces",
    ],
)
def test_what_a_key_takes_is_said_in_the_pages_language(wanted, language):
    said = refusals.say_build_refusal(WrongSettingError("edit.max_share", wanted, "7"), language)
    assert wanted not in said
    assert not re.search(r"\b(number|list|each|least|above)\b", said)
    assert all(number in said for number in re.findall(r"\d", wanted))


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_what_the_system_or_a_library_says_is_told_to_be_english(language):
    mark = texts.say("in_english", language, error="Input/output error")
    for said in ("data/x cannot be written: {}", "board.yaml is not readable YAML: {}", "a.json is not valid JSON: {}"):
        assert mark in refusals.say_build_refusal(UserError(said.format("Input/output error")), language)
    known = refusals.say_build_refusal(UserError("data/x cannot be written: File exists"), language)
    assert ("File exists" in known) is (language == "en")
    assert texts.say("in_english", "zh", error="") not in known


def test_what_was_found_may_hold_braces_and_brackets():
    for error in (
        WrongSettingError("export.most.{x}", "a number", "[{y}]"),
        MissingSettingError("edit.{x}", "[key]"),
        UserError("{x} cannot be read: [max_cost] {y}"),
        UserError("[x] {y}"),
    ):
        for language in texts.LANGUAGES:
            assert "{" in refusals.say_build_refusal(error, language)


def test_every_message_of_the_tab_is_said_in_every_language():
    words = texts.read("build_messages.yaml")
    for name, by_language in words.items():
        assert set(by_language) == set(texts.LANGUAGES), name
        names = {language: set(re.findall(r"{\w+}", str(said))) for language, said in by_language.items()}
        assert len(set(map(frozenset, names.values()))) == 1, name
    assert {field.name for field in FIELDS} < set(yaml.safe_load((PACKAGE / "host/board/build_texts.yaml").read_text()))
