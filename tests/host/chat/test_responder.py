"""The model that answers is asked as the pairs that are made of its answers will ask it."""

from contextlib import nullcontext
from types import SimpleNamespace

import llamafactory.chat
import pytest

from firempo_plugin.endpoint.failures import ReplyTruncatedError
from firempo_plugin.host.chat.responder import ChatEngine


@pytest.mark.parametrize(
    ("template", "asked"),
    [
        ("llava", "<image>\nWhich side?"),
        ("intern_vl", "<image>\nWhich side?"),
        ("qwen3_vl_nothink", "<image>Which side?"),
    ],
)
def test_an_image_stands_where_the_export_puts_it(template, asked, monkeypatch):
    seen = []

    class Model:
        def __init__(self, arguments):
            pass

        def chat(self, messages, **kwargs):
            seen.append(messages[0]["content"])
            return [SimpleNamespace(finish_reason="stop", response_text="Left.")]

    monkeypatch.setattr(llamafactory.chat, "ChatModel", Model)
    engine = ChatEngine({"template": template})
    engine.respond("Which side?", ("scan.png",), "", 0.0, 16)
    engine.respond("Here <image>, which side?", ("scan.png",), "", 0.0, 16)
    engine.respond("Is iodine a metal?", (), "", 0.0, 16)
    assert seen == [asked, "Here <image>, which side?", "Is iodine a metal?"]


@pytest.mark.parametrize(
    ("backend", "length", "cut"),
    [({}, 15, False), ({}, 16, True), ({"infer_backend": "sglang"}, 15, False), ({"infer_backend": "vllm"}, 15, True)],
)
def test_only_a_reply_that_fills_its_room_is_cut_off(backend, length, cut, monkeypatch):
    """The host's engines say "length" of what ends by another stop word than the tokenizer's; vLLM's knows them all."""
    reply = SimpleNamespace(finish_reason="length", response_text="Left.", response_length=length)
    monkeypatch.setattr(
        llamafactory.chat, "ChatModel", lambda arguments: SimpleNamespace(chat=lambda *_, **__: [reply])
    )
    engine = ChatEngine({"template": "gemma3", **backend})
    with pytest.raises(ReplyTruncatedError, match="cut off") if cut else nullcontext():
        assert engine.respond("Which side?", (), "", 0.0, 16) == "Left."
