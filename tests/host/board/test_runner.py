"""The board's runner without a browser: what it writes for our stage, restores, and makes of a run's end."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import stock_board
from llamafactory.webui import interface
from llamafactory.webui.engine import Engine

from firempo_plugin.errors import UserError
from firempo_plugin.host.board import restore, run_box
from firempo_plugin.host.board.pairs_box import rows_config
from firempo_plugin.host.board.texts import say
from firempo_plugin.host.sentences import note_end

OURS = {
    "top.model_name": "Custom",
    "train.training_stage": "FiRe-MPO",
    "train.compute_type": "fp32",
    "train.image_max_pixels": "64*32",
    "train.video_min_pixels": "99",
    "train.freeze_vision_tower": False,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The engine of a whole board."""
    engines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("board"))
        with mock.patch.object(interface, "Engine", lambda **keys: engines.append(Engine(**keys)) or engines[-1]):
            demo = interface.create_ui()
        engines[0].inputs = next(fn.inputs for fn in demo.fns.values() if fn.name == "run_train")
        yield engines[0]


@pytest.fixture
def data_of(engine):
    """Changes of the board's values by name -> its data by element."""

    def data(**changes):
        values = stock_board.VALUES | OURS | changes
        return {elem: values.get(engine.manager.get_id_by_elem(elem), elem.value) for elem in engine.inputs}

    return data


def test_the_multimodal_settings_of_a_model_of_ones_own_are_written(engine, data_of):
    """The host leaves them out, which for its own stages stays so."""
    args = rows_config(engine, data_of() | {object(): "a state of the page"})
    found = {key: args[key] for key in ("image_max_pixels", "video_min_pixels", "image_min_pixels")}
    assert found == {"image_max_pixels": 2048, "video_min_pixels": 99, "image_min_pixels": 1024}
    assert [args[f"freeze_{part}"] for part in ("vision_tower", "multi_modal_projector", "language_model")] == [
        False,
        True,
        False,
    ]
    assert "image_max_pixels" not in engine.runner._parse_train_args(data_of(**{"train.training_stage": "DPO"}))
    listed = engine.runner._parse_train_args(data_of(**{"top.model_name": "Qwen3-VL-4B-Instruct"}))
    assert {key: listed[key] for key in found} == found


@pytest.mark.parametrize(
    ("changes", "words", "target"),
    [
        ({"train.learning_rate": "1_000"}, "Learning rate must be a number", "train.learning_rate"),
        ({"train.extra_args": "[1]"}, "JSON", "train.extra_args"),
        ({"train.dataset": []}, "dataset", "train.dataset"),
        ({"train.fire_gamma": ""}, "Visual weight (γ) must be a number", "train.fire_gamma"),
        ({"train.compute_type": "bf16"}, "The compute type bf16 needs a GPU", "train.compute_type"),
        ({"train.fire_beta": "<b>"}, "found: '<b>'", "train.fire_beta"),
    ],
)
def test_a_refusal_is_a_card_with_its_field(changes, words, target, engine, data_of, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: name)
    text = engine.runner._initialize(data_of(**changes), do_train=True, from_preview=False)
    found = engine.runner.failure
    assert (found.kind, found.target, found.text) == ("refused", target, text)
    assert words in found.sentence
    assert "<b>" not in text, "the host shows it as Markdown, and as HTML beside the page"
    card, shown, rows, field, curves = run_box.show(engine, text, "en")
    assert curves.visible is False
    assert [card.visible, rows.visible, field.visible] == [True, False, True]
    assert run_box.page_id(engine.manager.get_elem_by_id(target)) in shown
    assert run_box.show(engine, "Arguments have been loaded.", "en")[0].visible is False
    assert engine.runner._initialize(data_of(), do_train=True, from_preview=True) == ""
    assert run_box.show(engine, text, "en")[0].visible is False


class Trainer:
    """A process that has ended."""

    def __init__(self, returncode):
        self.returncode = returncode

    def communicate(self, timeout):
        return "", "Traceback ...\n```hostile\nKeyError: 1"


@pytest.mark.parametrize(("returncode", "aborted", "fails"), [(1, False, True), (0, False, False), (1, True, False)])
def test_a_run_that_ends_by_an_error_leaves_a_card(returncode, aborted, fails, engine, data_of, monkeypatch):
    """And neither the curves nor the end of the run before it, which wrote into the same folder."""
    toasts = []
    monkeypatch.setattr("gradio.Info", toasts.append)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("llamafactory.webui.runner.Popen", lambda *_, **__: Trainer(returncode))
    folder = Path("saves", "Custom", "lora", "out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_log.jsonl").write_text(json.dumps(entry(1)) + "\n")
    note_end(folder, UserError("of the run before"))
    runner, box = engine.runner, engine.manager.get_elem_by_id("train.output_box")
    for update in runner.run_train(data_of()):
        shown = update[box]
        runner.aborted = runner.aborted or (aborted and runner.running)
    assert shown == runner.run.text
    card, _, _, _, curves = run_box.show(engine, shown, "en")
    assert (card.visible, curves.visible) == (fails, False)
    assert (toasts == [say("ended_note", "en")]) == fails
    if fails:
        assert (runner.failure.text, runner.failure.sentence) == ("Failed. Exit code: 1", "KeyError: 1")
        assert "```hostile" in runner.failure.log
    with open(folder / "trainer_log.jsonl", "a") as log:
        log.write(json.dumps(entry(1)) + "\n")
    assert run_box.show(engine, shown, "en")[-1].visible is True


def entry(step):
    timing = {
        "total_steps": 9,
        "percentage": 10.0,
        "epoch": 0.1,
        "elapsed_time": "0:00:01",
        "remaining_time": "0:00:09",
    }
    return {"current_steps": step, **timing, "loss": 0.7, "terms/rank": 0.7}


@pytest.mark.filterwarnings("ignore:The value passed into gr.Dropdown")  # the host names no choices there
def test_a_page_that_is_opened_during_a_run_gets_what_the_run_was_started_with(engine, data_of, monkeypatch):
    runner, request = engine.runner, SimpleNamespace(session_hash="reloaded")
    data = data_of(**{"top.template": "llava", "top.model_path": "mine", "train.dataset": ["my pairs"]})
    runner.running, runner.running_data, runner.do_train = True, data, True
    list(engine.resume(request))
    runner.running = False
    now = restore.time.monotonic()
    monkeypatch.setattr(restore.time, "monotonic", lambda: now + 60.0)  # a busy browser is slow to open a page
    for element, value in (("train.dataset", ["my pairs"]), ("top.template", "llava"), ("top.model_path", "mine")):
        assert restore.LOADED.recall("reloaded", element) == value
    from llamafactory.webui import control

    assert control.get_model_info("Custom", request) == ("mine", "llava")
    assert control.change_stage("FiRe-MPO", request)[0] == ["my pairs"]
    assert control.change_stage("DPO", request)[0] == []
    assert control.change_stage("FiRe-MPO", request)[0] == [], "a person has changed the stage since, who lost them"
    assert control.get_model_info("Custom", request) == ("mine", "llava")
    assert control.get_model_info("Custom", SimpleNamespace(session_hash="another"))[1] == "default"
    list(engine.resume(SimpleNamespace(session_hash="idle")))
    assert restore.LOADED.recall("idle", "train.dataset") is None
