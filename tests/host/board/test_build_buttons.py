"""Buttons of the tab of pairs are grey where they can do nothing, and say why; what is wrong with a key's variable."""

import pytest

from firempo_plugin.host.board import texts
from firempo_plugin.host.board.build_buttons import BUTTONS, updates
from firempo_plugin.host.board.build_fields import FIELDS, KEYS, key_trouble
from firempo_plugin.host.board.build_run import Run
from firempo_plugin.host.board.build_state import State
from firempo_plugin.host.board.build_tab import enter, run, warn_of_keys

IDLE, RUNNING = Run("build", 1, running=False), Run("build", 1)
PAUSING = Run("build", 1, pausing=True)
SECRET = "sk-" + "0123456789abcdef" * 2


def grey(found, source="table", where="rows.jsonl", language="en"):
    """The grey buttons, with their reasons."""
    shown = [button.constructor_args for button in updates(found, language, source, where)]
    for button, now in zip(BUTTONS, shown, strict=True):
        name = texts.labels()[f"fire_build_{button}_btn"][language]["value"]
        assert now["value"].startswith(name)
        assert now["interactive"] is (now["value"] == name)
    return {
        button: now["value"].partition(": ")[2]
        for button, now in zip(BUTTONS, shown, strict=True)
        if not now["interactive"]
    }


@pytest.mark.parametrize(
    ("found", "where", "reasons"),
    [
        (
            State(""),
            " ",
            {
                "dry_run": "name the records first",
                "build": "name the records first",
                "export": "there is no pair yet",
                "review": "there is no pair yet",
                "pause": "nothing is running",
            },
        ),
        (State("", IDLE, 0), "x", {"export": "there is no pair yet", "review": "there is no pair yet"}),
        (State("", IDLE, 3), "x", {}),
        (State("", IDLE, None), "x", {}),
        (State("", RUNNING, 3), "", dict.fromkeys(("dry_run", "build", "export", "review"), "something runs")),
        (State("", PAUSING, 3), "x", {"dry_run": "something runs", "pause": "it is being paused"}),
    ],
)
def test_a_button_that_can_do_nothing_is_grey_and_says_why(found, where, reasons):
    shown = grey(found, where=where)
    assert ("pause" in shown) is not (found.run == RUNNING)
    for button, reason in reasons.items():
        assert shown[button].startswith(reason)
    if found.run == IDLE:
        assert set(shown) == {*reasons, "pause"}


def test_a_source_that_is_told_nothing_needs_no_records():
    assert "build" not in grey(State(""), "everyday", "")
    assert "build" in grey(State(""), "a kind that is none", "")


def test_reasons_are_said_in_every_language():
    said = [tuple(grey(State(""), where="", language=language).values()) for language in texts.LANGUAGES]
    assert len({reason for reasons in said for reason in reasons}) == 3 * len(texts.LANGUAGES)


@pytest.mark.parametrize(
    ("name", "held", "trouble"),
    [
        ("", None, None),
        ("BOARD_TEST_NAME", SECRET, None),
        ("BOARD_TEST_NAME", None, "build_key_unset"),
        ("BOARD_TEST_NAME", "  ", "build_key_unset"),
        ("BOARD_TEST_NAME", "clé secrète", "build_key_odd"),
        (SECRET, None, "build_key_itself"),
        ("hf_0123456789abcdef", None, "build_key_itself"),
        ("two words", None, "build_key_itself"),
        ("ab0123456789cdef0123456789abcdef", None, "build_key_itself"),
        ("OPENAI_KEY_FOR_THE_JUDGE_2026", None, "build_key_unset"),
        ("OPENAIKEYFORTHEJUDGE2", None, "build_key_unset"),
        ("ÜBER", None, "build_key_itself"),
    ],
)
def test_a_variable_without_a_key_is_warned_of_at_once_and_shown_nowhere(name, held, trouble, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if held is not None:
        monkeypatch.setenv("BOARD_TEST_NAME", held)
    assert key_trouble(name) == trouble
    values = {field.key: field.default for field in FIELDS} | dict.fromkeys(KEYS, name)
    for language in texts.LANGUAGES:
        told = warn_of_keys(language, name, name)
        assert told.count('role="status"') == (2 if trouble else 0)
        for key in KEYS if trouble else ():
            assert texts.labels()[texts.NAMES[key]][language]["label"].replace("'", "&#x27;") in told
        assert not name or name not in told
        assert held is None or not held.strip() or held not in told
        assert told in enter("pairs/x", "pairs/x", language, *values.values()), "and when a folder is shown"
        assert told in run("build", language, "pairs/x", "data", "", "", *values.values())
