"""What an answer is kept under, where the model is in this process."""

import pytest

from firempo_plugin.records import Record
from firempo_plugin.respond.respond import RespondStep
from firempo_plugin.respond.settings import RespondConfig
from firempo_plugin.store.engine import Item

ITEM = Item(Record("table:1", (), "Is the heart enlarged?", "no"))


def key_of(**engine):
    step = RespondStep(RespondConfig(backend="engine", engine={"model_name_or_path": "base"} | engine), None, None)
    return step.depends_on(ITEM)["model"]


@pytest.fixture
def adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"first")
    return tmp_path


@pytest.mark.parametrize("named", [str, lambda folder: [str(folder)], lambda folder: f"x, {folder}"])
def test_answers_of_an_adapter_that_was_trained_anew_are_others(adapter, named):
    before = key_of(adapter_name_or_path=named(adapter))
    assert before == key_of(adapter_name_or_path=named(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"second")
    assert key_of(adapter_name_or_path=named(adapter)) != before


def test_answers_without_a_local_adapter_are_kept_under_what_they_were_before():
    assert key_of() == {"model_name_or_path": "base", "temperature": 0.0, "max_tokens": 512}
    named = {"model_name_or_path": "base", "adapter_name_or_path": "group/adapter"}
    assert key_of(adapter_name_or_path="group/adapter") == named | {"temperature": 0.0, "max_tokens": 512}
