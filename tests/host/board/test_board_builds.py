"""The tab of pairs without a browser: its fields are keys of a build, and one command of a folder runs at a time."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
import yaml
from pairs_building import written
from places import TEMPLATES_DIR

from firempo_plugin.host.board import build_run, build_state, refusals, texts
from firempo_plugin.host.board.build_fields import (
    EXTRA,
    FIELDS,
    OPTIONS,
    PLACE,
    given,
    name_after,
    place_of,
    problem,
    proposed,
    shown,
)
from firempo_plugin.host.board.build_state import state
from firempo_plugin.host.board.build_tab import enter, follow, look_again, propose, run, see, take_marks, take_records
from firempo_plugin.host.board.build_upload import keep, place
from firempo_plugin.pairs.commands import build
from firempo_plugin.pairs.config import BuildConfig
from firempo_plugin.settings import WrongSettingError, checked
from firempo_plugin.sources.registry import SOURCES

DEFAULTS = {field.key: field.default for field in FIELDS}
BOARD = {"workspace": "pairs/one", "export.folder": "data", "export.options.template": "llava"}


@pytest.fixture
def table(tmp_path):
    """The values of the fields for a table of one record."""
    rows = written(tmp_path, [("Is there a nodule?", "yes", "Yes, there is a nodule.")]).parent / "rows.jsonl"
    return DEFAULTS | {PLACE: str(rows), OPTIONS: proposed("table", rows)}


def test_every_field_speaks_every_language():
    labels = texts.labels()
    names = [name for name in labels if name.startswith("fire_build_")]
    assert {field.name for field in FIELDS} < set(names)
    for name in names:
        assert set(labels[name]) == set(texts.LANGUAGES)
        assert len({tuple(words) for words in labels[name].values()}) == 1
        infos = {words.get("info", language) for language, words in labels[name].items()}
        assert len(infos) == len(texts.LANGUAGES), f"{name}: a language repeats another"
    for field in FIELDS:
        if field.key != EXTRA:
            assert labels[field.name]["en"]["info"].endswith(f"YAML: {field.key}")
    for language in texts.LANGUAGES:
        assert len(texts.listing("build_columns", language)) == 5


def test_a_look_before_a_folder_is_shown_changes_nothing(tmp_path):
    """A page's first look may be answered after `enter`, with what the folder of a fresh page is like."""
    import gradio as gr

    assert look_again(None, "en", "table", "") == [gr.skip()] * len(see(str(tmp_path), "en", "table", ""))
    assert look_again(str(tmp_path), "en", "table", "")[0] == see(str(tmp_path), "en", "table", "")[0]


def test_fields_that_nobody_touched_write_the_builds_defaults():
    config = checked(BuildConfig, given(DEFAULTS, {}))
    config.source.name = ""
    assert config == BuildConfig()


def test_what_was_written_is_shown_again(table):
    values = table | {
        "edit.judge": "endpoint",
        "edit.endpoint.model": "größte",
        "noise.sigma": "30.5",
        "noise.whole_image": True,
        "max_cost": "2.5",
        EXTRA: "respond: {samples: 2}\nexport: {options: {file_format: parquet}}",
    }
    config = given(values, BOARD)
    assert config["respond"]["samples"] == 2
    assert config["export"]["options"] == {"file_format": "parquet", "template": "llava"}
    again = shown(yaml.safe_load(yaml.safe_dump(config)))
    assert given(again, BOARD) == config
    assert {key: again[key] for key in ("edit.endpoint.model", "noise.sigma", "noise.whole_image")} == {
        "edit.endpoint.model": "größte",
        "noise.sigma": "30.5",
        "noise.whole_image": True,
    }
    mine = given(values | {EXTRA: "export: {options: {template: qwen2_vl}}"}, BOARD)
    assert mine["export"]["options"]["template"] == "qwen2_vl", "what a person writes stays"


@pytest.mark.parametrize(
    "written",
    [
        "edit: {judge: foo}",
        "noise: {whole_image: maybe}",
        "source: {name: [a]}",
        "source: {name: {a: b}}",
        "segment: {by: 3}",
    ],
)
def test_what_a_field_cannot_hold_is_left_to_the_other_settings_and_refused(written, table, tmp_path, monkeypatch):
    """Gradio answers nothing that reads a list with a value that it does not offer: the page could not be left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs/one").mkdir(parents=True)
    (tmp_path / "pairs/one" / build_run.CONFIG).write_text(written)
    values = dict(zip(DEFAULTS, enter("pairs/one", "another", "en", *table.values())[3:], strict=False))
    for field in FIELDS:
        assert field.kind != "choice" or values[field.key] in field.choices
        assert field.kind != "switch" or isinstance(values[field.key], bool)
    assert yaml.safe_load(values[EXTRA]) == yaml.safe_load(written), "nothing is lost"
    for command in ("build", "export"):
        assert "More settings must be keys that have no field of their own" in str(
            run(command, "en", "pairs/one", "data", "", "", *values.values())
        )


@pytest.mark.parametrize("nested", ["[" * 3000, "{x: " * 3000, "a: &a {b: *a}", "noise: &a {x: *a}"])
def test_settings_that_stand_in_themselves_or_too_deep_are_refused(nested, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Not started" in str(run("build", "en", "pairs/one", "data", "", "", *(table | {EXTRA: nested}).values()))
    assert not Path("pairs").exists()
    Path("pairs/one").mkdir(parents=True)
    Path("pairs/one", build_run.CONFIG).write_text(nested)
    assert enter("pairs/one", "another", "en", *table.values())[0] == "pairs/one"
    assert "Not started" in str(run("export", "en", "pairs/one", "data", "", "", *table.values()))


def test_a_file_that_a_person_has_broken_is_not_written_over(table, tmp_path, monkeypatch):
    """The page still shows what another folder was given, and a start there would be the end of the file."""
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(build_run, "start", lambda folder, command, config: started.append(command) or True)
    config = Path("pairs/one", build_run.CONFIG)
    config.parent.mkdir(parents=True)
    config.write_text("edit: {max_words: 5\n")
    for command in ("dry_run", "build", "export"):
        told = run(command, "en", "pairs/one", "data", "", "", *table.values())
        assert "Not started: pairs/one/board.yaml is not readable YAML" in str(told)
    assert started == [], "which writes it"
    config.write_text("edit: {max_words: 5}\n")
    assert "Not started" not in str(run("build", "en", "pairs/one", "data", "", "", *table.values()))
    assert started == ["build"]


def test_a_whole_build_is_not_refused(table):
    assert problem(given(table, BOARD)) is None


@pytest.mark.parametrize(
    ("changes", "key", "wanted"),
    [
        ({"noise.sigma": "-1"}, "noise.sigma", "a number (at least 0)"),
        ({"noise.sigma": ""}, "noise.sigma", "a number"),
        ({"noise.sigma": "1_0"}, "noise.sigma", "a number"),
        ({"max_cost": "-2"}, "max_cost", "a number (at least 0) or null"),
        ({"edit.endpoint.price_in": "-2"}, "edit.endpoint.price_in", "a number (at least 0) or null"),
        ({OPTIONS: "[1, 2]"}, OPTIONS, "keys and values"),
        ({EXTRA: "noise: {sigma: 3}"}, EXTRA, "keys that have no field of their own"),
        ({EXTRA: "noise: 3"}, EXTRA, "keys that have no field of their own"),
        ({PLACE: ""}, PLACE, None),
        ({"export.decisions": "nowhere.json"}, "export.decisions", None),
        ({"export.decisions": __file__}, "export.decisions", None),
        ({"export.decisions": str(TEMPLATES_DIR / "dataset_info.json")}, "export.decisions", None),
        ({"edit.judge": "endpoint"}, "edit.endpoint.model", None),
        ({PLACE: "nowhere.jsonl"}, PLACE, None),
        ({OPTIONS: "columns: {truth: truth}"}, OPTIONS, None),
        ({"noise.corruption": "blur"}, "noise.corruption", None),
        ({"segment.by": "file", "segment.options": "folder: nowhere"}, "segment.options", None),
        ({"edit.endpoint.price_in": "2"}, "edit.endpoint.price_in", None),
        ({EXTRA: "edit: {max_share: 3}"}, EXTRA, None),
        ({EXTRA: "edti: {max_share: 3}"}, EXTRA, None),
        ({"export.name": "a,b"}, "export.name", None),
        ({EXTRA: "respond: {samples: 2}"}, "respond.backend", None),
        ({PLACE: "images"}, PLACE, None),
        ({"edit.endpoint.base_url": "nowhere"}, "edit.endpoint.base_url", None),
    ],
)
def test_what_a_build_would_refuse_is_said_at_its_field(changes, key, wanted, table):
    try:
        found = problem(given(table | changes, BOARD))
    except WrongSettingError as error:
        found = error, error.key
    assert found is not None
    assert found[1] == key
    assert wanted is None or found[0].wanted == wanted
    assert_translated(found[0])


def assert_translated(error):
    said = [refusals.say_build_refusal(error, language) for language in texts.LANGUAGES]
    assert len(set(said)) == len(texts.LANGUAGES)
    for text, language in zip(said[1:], texts.LANGUAGES[1:], strict=True):
        assert not text.startswith(texts.say("in_english", language, error=""))


def test_a_key_is_neither_written_nor_said(table, tmp_path, monkeypatch):
    secret, odd = "sk-" + "0123456789abcdef" * 2, "ab0123456789cdef0123456789abcdef"
    monkeypatch.chdir(tmp_path)
    for key, text in (
        ("edit.endpoint.key_env", secret),
        ("respond.endpoint.key_env", secret),
        ("edit.endpoint.key_env", odd),
        ("edit.endpoint.base_url", f"http://me:{secret}@host/v1"),
        ("noise.sigma", secret),
        (OPTIONS, secret),
        (EXTRA, f"key: {secret}: {secret}"),
        ("segment.options", f"{{url: 'http://server/', key_env: {odd}}}"),
    ):
        values = table | {key: text, "segment.by": "http" if key == "segment.options" else "none"}
        shown_now = run("build", "en", "pairs/one", "data", "", "", *values.values())
        assert secret not in str(shown_now)
        assert odd not in str(shown_now)
        assert "Not started" in str(shown_now)
    assert not (tmp_path / "pairs" / "one").exists()


def test_a_data_set_of_another_making_is_refused_before_anything_is_built(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/dataset_info.json").write_text(json.dumps({"taken": {"file_name": "theirs.json"}}))
    error, key = problem(given(table | {"export.name": "taken"}, BOARD))
    assert key == "export.name"
    assert "another dataset 'taken'" in str(error)
    assert_translated(error)


@pytest.mark.parametrize("folder", ["rows.jsonl/data", "rows.jsonl", "a" * 300])
def test_a_data_folder_that_cannot_be_written_is_said_before_the_start(folder, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").touch()
    error, key = problem(given(table, BOARD | {"export.folder": folder}))
    assert key == "export.folder"
    assert_translated(error)
    told = run("build", "en", "pairs/one", folder, "", "", *table.values())
    assert "choose another “Data dir”" in str(told)
    assert not Path("pairs").exists()
    assert problem(given(table, BOARD | {"export.folder": "not/there/yet"})) is None
    assert not Path("not").exists()


def test_a_data_folder_of_others_is_not_writable(table, tmp_path, monkeypatch):
    """Root may write anywhere, so that the system's word is put in its mouth."""
    monkeypatch.setattr("os.access", lambda place, how: Path(place) != tmp_path)
    for folder in (tmp_path, tmp_path / "new"):
        assert problem(given(table, BOARD | {"export.folder": str(folder)}))[1] == "export.folder"


def test_the_place_of_every_source_is_a_file_or_a_folder():
    assert {place_of(name) for name in SOURCES} == {f"{OPTIONS}.file", f"{OPTIONS}.folder"}


def test_a_folder_shows_what_its_build_made_in_every_language(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path("pairs/one")
    folder.mkdir(parents=True)
    (folder / build_run.CONFIG).write_text(yaml.safe_dump(given(table | {"export.name": "mine"}, BOARD)))
    (folder / "board.run").write_text(json.dumps({"command": "build", "pid": 1, "running": True, "pausing": False}))
    (folder / build_run.LOG).write_text("<b>the log</b>\n")
    assert "step" not in state(folder, "en").told
    assert state(folder, "en").pairs == 0
    assert build(folder / build_run.CONFIG, []) == 0
    (folder / build_run.ENDED).touch()
    for language in texts.LANGUAGES:
        found = state(folder, language)
        told = found.told
        assert (found.run.running, found.pairs) == (False, 1)
        assert 'role="alert"' not in told
        assert texts.say("build_log", language) in told
        assert texts.say("build_counts", language, records=1, aside=0, pairs=1) in told
        assert texts.say("build_dataset", language, dataset="mine", folder="data") in told
        assert "&lt;b&gt;the log" in told
    folder, opened, _, *values = enter("pairs/other", None, "en", *DEFAULTS.values())
    assert folder == opened == "pairs/one", "a page that was opened anew shows the last build"
    assert dict(zip(DEFAULTS, values, strict=False))["export.name"] == "mine"


def test_a_store_that_answers_slowly_holds_up_no_other_folder(table, tmp_path, monkeypatch):
    answered, folders = Event(), [tmp_path / "slow", tmp_path / "quick"]
    for folder in folders:
        folder.mkdir()
        (folder / build_run.CONFIG).write_text(yaml.safe_dump(given(table, BOARD | {"workspace": str(folder)})))
        (folder / build_run.RUN).write_text('{"command": "build", "pid": 1, "running": true, "pausing": false}')
    waits = {str(folders[0]): answered.wait, str(folders[1]): lambda seconds: None}
    monkeypatch.setattr(build_state, "_found", lambda config: waits[config.workspace](60) and None)
    slow = Thread(target=state, args=(folders[0], "en"))
    slow.start()
    state(folders[1], "en")
    assert slow.is_alive()
    answered.set()
    slow.join()


def test_uploads_are_kept_below_the_build_alone(tmp_path):
    archive = tmp_path / "up" / "records.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as content:
        for name in ("set/rows.jsonl", "../../evil.png", "/abs.png", "set/images/"):
            content.writestr(name, "")
    kept = keep([str(archive)], tmp_path / "build" / "records")
    assert all((tmp_path / "build" / "records") in file.resolve().parents for file in kept)
    assert not archive.exists(), "no copy stays where uploads come to"
    assert not (tmp_path / "evil.png").exists()
    home = tmp_path / "build" / "records"
    assert place(kept, home, of_a_file=True) == home / "set/rows.jsonl"
    assert place(kept, home, of_a_file=False) == home
    assert place([file for file in kept if "set" in file.parts], home, of_a_file=False) == home / "set"
    assert place([home / "a.png"], home, of_a_file=True) is None


@pytest.mark.parametrize("fault", ["no zip", "damaged", "file and folder", "too large", "twice"])
def test_an_upload_that_cannot_be_kept_is_said_and_leaves_no_copy(fault, tmp_path, monkeypatch):
    files = [tmp_path / "up" / number / "records.zip" for number in ("1", "2")]
    for file in files:
        file.parent.mkdir(parents=True)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
            content.writestr("rows.jsonl", "some words " * 99)
            if fault == "file and folder":
                content.writestr("rows.jsonl/a", "")
    if fault in ("no zip", "damaged"):
        whole = files[0].read_bytes()
        files[0].write_bytes(b"no zip" if fault == "no zip" else whole[:41] + b"\xff" * 9 + whole[50:])
    if fault == "too large":
        monkeypatch.setattr("shutil.disk_usage", lambda folder: DiskUsage(free=1088))
    told = take_records(list(map(str, files if fault == "twice" else files[:1])), str(tmp_path / "one"), "table", "en")
    assert "alert" in told[-1]
    assert not any(file.exists() for file in (files if fault == "twice" else files[:1]))


@dataclass
class DiskUsage:
    free: int


def test_what_macos_adds_to_an_archive_is_left_out(tmp_path):
    archive = tmp_path / "records.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for name in ("set/rows.jsonl", "__MACOSX/set/._rows.jsonl"):
            content.writestr(name, "")
    home = tmp_path / "records"
    kept = keep([str(archive)], home)
    assert place(kept, home, of_a_file=True) == home / "set/rows.jsonl"
    assert place(kept, home, of_a_file=False) == home / "set"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("pairs/my set", "my_set"),
        ("pairs/набор №1", "набор_1"),
        ("pairs/2024", "pairs_2024"),
        ("pairs/<b>", "b"),
        ("pairs/***", "pairs"),
    ],
)
def test_a_data_set_is_named_after_its_folder_in_letters_that_it_can_have(folder, name, table):
    assert name_after(folder) == name
    assert problem(given(table | {"export.name": name}, BOARD)) is None


def test_a_folder_that_cannot_be_written_is_said(table, tmp_path):
    for folder in (str(tmp_path / "rows" / "x"), "a" * 300):
        (tmp_path / "rows").write_text("")
        (tmp_path / "marks.json").write_text("{}")
        for command in ("build", "export"):
            assert "alert" in str(run(command, "en", folder, "data", "", "", *table.values()))
        assert "alert" in take_marks(str(tmp_path / "marks.json"), folder, "en")[-1]
        assert enter(folder, "another", "en", *table.values())[0] == folder
        assert not (tmp_path / "marks.json").exists()


def test_options_follow_the_file_until_a_person_changes_them(table, tmp_path):
    wrong, own = propose("table", str(tmp_path / "wrong" / "rows.jsonl"))
    right = table[OPTIONS]
    assert follow("table", table[PLACE], wrong, own) == [right, right]
    assert follow("table", table[PLACE], f"{wrong}split: test", own) == [f"{wrong}split: test", own]


def test_an_archive_is_no_mark(tmp_path):
    archive = tmp_path / "marks.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for name in ("rows.jsonl", "scan.png"):
            content.writestr(name, "")
    assert "marks.zip holds 2 files" in take_marks(str(archive), str(tmp_path / "one"), "en")[-1]
    assert not archive.exists()
