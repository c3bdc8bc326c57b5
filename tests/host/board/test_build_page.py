"""What the tab of pairs asks its board, and when: of the folder and records that the page shows, and of no others."""

import inspect
import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml
from llamafactory.webui import interface

from firempo_plugin.host.board import build_run, build_tab
from firempo_plugin.host.board.build_buttons import COMMANDS
from firempo_plugin.host.board.build_fields import FIELDS, OPTIONS, PLACE, proposed
from firempo_plugin.host.board.build_run import CONFIG
from firempo_plugin.host.board.build_tab import arrive, enter

DEFAULTS = {field.key: field.default for field in FIELDS}
ROW = {"id": "1", "image": "a.png", "question": "Is there a nodule?", "truth": "yes", "response": "Yes."}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What the tab asks, by event."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("board"))
        demo = interface.create_ui()
    of_the_tab = [fn for fn in demo.fns.values() if inspect.getmodule(_function(fn)) is build_tab]
    return {"all": demo.fns, "tab": of_the_tab}


def _function(event):
    return event.fn.func if isinstance(event.fn, partial) else event.fn


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Tables in two folders, the first of which has a build."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    Path("pairs/one").mkdir(parents=True)
    options = yaml.safe_load(proposed("table", Path("one/rows.jsonl")))
    source = {"name": "table", "options": {"file": "one/rows.jsonl", **options}}
    Path("pairs/one", CONFIG).write_text(yaml.safe_dump({"workspace": "pairs/one", "source": source}))
    return DEFAULTS | {PLACE: "two/rows.jsonl"}


def values_of(answer):
    return dict(zip(DEFAULTS, answer[3:], strict=False))


def test_the_page_knows_its_folder_when_the_board_is_started_anew(asked):
    """A board's memory of a page goes with it; a folder that is chosen then is not that of a page just opened."""
    assert len(asked["tab"]) > 10
    for event in asked["tab"]:
        assert not [part for part in (*event.inputs, *event.outputs) if type(part).__name__ == "State"], event.name


def test_a_command_waits_for_what_was_typed_before_its_click(asked):
    runs = [event for event in asked["tab"] if _function(event) is build_tab.run]
    assert len(runs) == len(COMMANDS)
    for event in runs:
        before = asked["all"][event.trigger_after]
        assert (before.fn, event.trigger_only_on_success) == (arrive, True)
        assert [kind for _, kind in before.targets] == ["click"]
        opened = event.inputs[1]
        assert opened is before.inputs[1] is before.outputs[1], "the folder that is shown, not what stands in its field"


def test_a_folder_that_was_typed_just_before_a_click_is_shown_first(folders):
    found = arrive("pairs/one", "pairs/other", "", "en", *folders.values())
    assert found[:2] == ["pairs/one"] * 2
    assert values_of(found)[PLACE] == "one/rows.jsonl", "its own records, not those that the page shows"
    assert found[:-8] == enter("pairs/one", "pairs/other", "en", *folders.values())[:-8]


def test_options_follow_records_that_were_typed_just_before_a_click(folders):
    shown = values_of(enter("pairs/one", "pairs/other", "en", *folders.values()))
    own = enter("pairs/one", "pairs/other", "en", *folders.values())[2]
    assert own == shown[OPTIONS], "as they would be proposed, whatever their order in the file"
    found = arrive("pairs/one", "pairs/one", own, "en", *(shown | {PLACE: "two/rows.jsonl"}).values())
    assert values_of(found)[OPTIONS] == found[2] == proposed("table", Path("two/rows.jsonl"))
    found = arrive("pairs/one", "pairs/one", own, "en", *(shown | {PLACE: "gone/rows.jsonl"}).values())
    assert (values_of(found)[OPTIONS], found[2]) == (shown[OPTIONS], own), "what is said is that it is not there"
    mine = f"{shown[OPTIONS]}kind: report\n"
    found = arrive("pairs/one", "pairs/one", own, "en", *(shown | {OPTIONS: mine}).values())
    assert values_of(found)[OPTIONS] == mine
    same = arrive(" pairs/one ", "pairs/one", own, "en", *shown.values())
    assert yaml.safe_load(values_of(same)[OPTIONS]) == yaml.safe_load(shown[OPTIONS])
    assert len(same) == len(enter("pairs/one", "pairs/other", "en", *shown.values()))


def test_options_of_a_persons_own_are_known_when_a_build_is_opened_anew(folders):
    written = yaml.safe_load(Path("pairs/one", CONFIG).read_text())
    written["source"]["options"]["kind"] = "report"
    Path("pairs/one", CONFIG).write_text(yaml.safe_dump(written))
    assert enter("pairs/one", None, "en", *folders.values())[2] == ""


def test_a_folder_may_begin_as_an_option_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    say = "import sys; print(*sys.argv[2:], sep='\\n')"
    monkeypatch.setattr(build_run, "FIREMPO", (sys.executable, "-S", "-c", say))
    for command, words in build_run.WORDS.items():
        assert build_run.start(Path("-x"), command, "")
        while build_run.look(Path("-x")).running:
            time.sleep(0.02)
        said = Path("-x", build_run.LOG).read_text().splitlines()[len(words) :]
        assert next(Path(word) for word in said if not word.startswith("--")) == Path("-x", CONFIG)
        assert not [word for word in said if word.startswith("-x")]
