"""The protocol of judges: who is asked in which order, how often, and that the contract sees every edit once."""

import ast
import hashlib
import json
from pathlib import Path

import pytest

from firempo_plugin.answers import questions
from firempo_plugin.endpoint.prompts import load_prompt
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.pairs.config import BuildConfig, EditConfig
from firempo_plugin.pairs.judges import contract
from firempo_plugin.pairs.steps.edit import EditStep
from firempo_plugin.records import Record, RejectedError
from firempo_plugin.store.engine import Item

PACKAGE = Path(contract.__file__).parents[2]
CLEAR = Item(Record("r", (), "Is there an effusion?", "no"), response="Yes, there is an effusion.")
OPEN = Item(Record("r", (), "What disease is it?", "Sarcoidosis"), response="The patient suffers from old age.")
REPORT = Item(
    Record("r", (), "Write a report.", "Small left pleural effusion. The heart is normal in size.", kind="report"),
    response="There is a small right pleural effusion. The heart is normal in size.",
)
GOOD = json.dumps(
    {
        "answer_sentence": "The patient suffers from old age.",
        "final_answer": "old age",
        "is_correct": False,
        "edited_sentence": "The patient suffers from sarcoidosis.",
    }
)
KEPT = json.dumps({**json.loads(GOOD), "edited_sentence": "The patient suffers from old age."})


class Model:
    """Gives its replies in order and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        return self.replies.pop(0)


@pytest.fixture
def checked(monkeypatch):
    """The judges whose replies the contract has seen, in order."""
    seen = []
    real = {name: vars(contract)[name] for name in ("_accept_vqa", "_accept_report")}
    for name, accept in real.items():
        monkeypatch.setattr(contract, name, lambda *about, accept=accept: (seen.append(about[-1]), accept(*about))[1])
    return seen


def step(ask=None, **edit):
    return EditStep(BuildConfig(edit=EditConfig(**edit)), ask)


def with_model(*replies, **edit):
    ask = Model(*replies)
    return step(ask, judge="endpoint", endpoint=EndpointSettings(model="model"), **edit), ask


@pytest.mark.parametrize("item", [CLEAR, REPORT])
@pytest.mark.parametrize("scope", ["response", "answer_sentence"])
def test_an_edit_of_the_rules_is_checked_once(item, scope, checked):
    assert step(scope=scope).run(item)["judge"] == "rules"
    assert checked == ["rules"]


def test_an_edit_of_a_model_is_checked_once(checked):
    edit, ask = with_model(GOOD)
    assert edit.run(OPEN)["chosen"] == "The patient suffers from sarcoidosis."
    assert (checked, len(ask.requests)) == (["model"], 1)


def test_a_refused_reply_is_asked_for_once_more_with_the_reason(checked):
    edit, ask = with_model(KEPT, GOOD)
    assert edit.run(OPEN)["judge"] == "model"
    assert checked == ["model", "model"]
    first, second = ask.requests
    assert second.messages[:1] == first.messages
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert "changes no word" in second.messages[2].text
    edit, ask = with_model("no JSON", KEPT)
    with pytest.raises(RejectedError, match=r"^the judge's edit is refused twice: edited_sentence changes no word"):
        edit.run(OPEN)


def test_a_model_is_asked_what_the_rules_leave_and_all_where_they_do_not_go_first():
    edit, ask = with_model(KEPT, KEPT)
    assert edit.run(CLEAR)["judge"] == "rules"
    assert (ask.requests, edit.request(CLEAR)) == ([], None)
    assert edit.request(OPEN).messages[0].text
    edit, ask = with_model(KEPT, KEPT, rules_first=False)
    with pytest.raises(RejectedError, match="refused twice"):
        edit.run(CLEAR)
    assert ask.requests[0] == edit.request(CLEAR)


def test_what_would_be_asked_depends_on_the_bounds_of_the_run():
    edit, _ = with_model(max_words=1)
    assert edit.request(CLEAR) is not None, "the rules' own edit changes two words"


def test_an_empty_response_costs_nothing():
    edit, ask = with_model()
    with pytest.raises(RejectedError, match=r"^the response is empty$"):
        edit.run(Item(OPEN.record, response=" "))
    assert ask.requests == []


def test_what_decides_an_edit_is_as_earlier_versions_wrote_it_into_the_store(monkeypatch):
    """A folder from before goes on: the judge's part of the key, whoever is asked and however it is sent."""
    monkeypatch.setattr(questions, "VERSION", 1)
    decoding = {"temperature": 0.0, "max_tokens": 512, "structured": "auto", "extra_body": {}}
    texts = [load_prompt(name).text for name in ("vqa_edit", "retry")]
    model = {
        "model": {"model": "model", **decoding},
        "prompts": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
    }
    batch = step(Model(), judge="batch", endpoint=EndpointSettings(model="model"))
    judges = [step(), step(rules_first=False), with_model()[0], batch, with_model(rules_first=False)[0]]
    found = [one.depends_on(OPEN)["judge"] for one in judges]
    assert found == [{"rules": True}] * 2 + [{"rules": True, **model}] * 2 + [{"rules": False, **model}]


def test_only_the_contract_makes_edits():
    """The step fills them in from the store; pairs that no judge edits have steps with checks of their own."""
    made = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Edit":
                made.add(str(path.relative_to(PACKAGE)))
    others = {"pairs/steps/rank.py", "pairs/steps/priors.py", "pairs/dry_run.py", "pairs/decided.py"}
    assert made == {"pairs/judges/contract.py", "pairs/steps/pairing.py", *others}
