"""The edit and target steps: rules decide what they can, a judge is asked the rest, and every reply is checked."""

import hashlib
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .config import BuildConfig
from .endpoint.requests import ChatRequest, Message, Schema
from .engine import Item, Step
from .judges import rules
from .judges.contract import (
    REPORT_SCHEMA,
    VQA_SCHEMA,
    EditBounds,
    ReplyError,
    accept_report,
    accept_vqa,
    check_response,
    parse_reply,
)
from .judges.rules import Abstain, RuleJudge
from .judges.vocabulary import load_vocabulary
from .prompts import Prompt, load_prompt, render
from .records import Edit, RejectedError, Target
from .steps import Ask
from .targets import parse_target, rule_target
from .workspace import later

_SCHEMAS = {"vqa": Schema("vqa_edit", VQA_SCHEMA), "report": Schema("report_edit", REPORT_SCHEMA)}


class EditStep(Step):
    """Makes the response's minimally edited counterpart."""

    name = "edit"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._config = config.edit
        self._ask = ask if config.edit.judge != "rules" else None
        self._prompts = Path(config.edit.prompts) if config.edit.prompts else None
        self.vocabulary_file = Path(config.edit.vocabulary) if config.edit.vocabulary else None
        self._vocabulary = load_vocabulary(self.vocabulary_file)
        self._bounds = EditBounds(
            max_words=config.edit.max_words,
            max_share=config.edit.max_share,
            max_words_per_sentence=config.edit.max_words_per_sentence,
        )
        self._rules = RuleJudge(self._vocabulary, self._bounds)
        self.workers = config.edit.endpoint.concurrency if self._ask else 2

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question, truth and response; judge, prompts, vocabulary and bounds."""
        record = item.record
        with_model = self._config.judge != "rules"
        judge: dict[str, Any] = {"rules": not with_model or self._config.rules_first}
        if judge["rules"]:
            judge |= later(rules_version=rules.VERSION)
        if with_model:
            judge["model"] = self._config.endpoint.identity
            judge["prompts"] = [_digest(self._prompt(name).text) for name in (f"{record.kind}_edit", "retry")]
        return {
            "id": record.id,
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            "language": record.language,
            "response": item.response,
            "judge": judge,
            "bounds": asdict(self._bounds),
            "scope": self._config.scope,
            "vocabulary": _file_digest(self.vocabulary_file),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where nobody can decide, or the judge's edit is refused twice."""
        reason = "the rules were not asked"
        if self._config.judge == "rules" or self._config.rules_first:
            reply = self._rules.edit(item.record, item.response or "")
            try:
                if not isinstance(reply, Abstain):
                    return asdict(self._accept(item, reply, "rules"))
                reason = reply.reason
            except ReplyError as error:  # the rules edit whole responses; `scope` may ask for less
                reason = str(error)
        if self._config.judge == "rules":
            raise RejectedError(f"the rules abstain: {reason}")
        return asdict(self._judged(item))

    def _accept(self, item: Item, reply: Any, judge: str) -> Edit:
        record, response = item.record, item.response or ""
        if record.kind == "report":
            return accept_report(record, response, reply, self._bounds, judge, self._vocabulary)
        scope: Any = self._config.scope
        return accept_vqa(record, response, reply, self._bounds, judge, scope, self._vocabulary)

    def _judged(self, item: Item) -> Edit:
        """Asks the model; once more with the reason if its reply is refused."""
        check_response(item.response or "")
        request = self.request(item)
        text = self._complete(request)
        try:
            return self._accept(item, parse_reply(text, item.record.kind), self._config.endpoint.model)
        except ReplyError as error:
            refusal = error
        again = self.retry(request, text, str(refusal))
        try:
            return self._accept(item, parse_reply(self._complete(again), item.record.kind), self._config.endpoint.model)
        except ReplyError as error:
            raise RejectedError(f"the judge's edit is refused twice: {error}") from error

    def _complete(self, request: ChatRequest) -> str:
        assert self._ask is not None
        return self._ask(request)

    def _prompt(self, name: str) -> Prompt:
        return load_prompt(name, self._prompts)

    def request(self, item: Item) -> ChatRequest:
        """What the judge is asked of an item."""
        record = item.record
        text = render(
            self._prompt(f"{record.kind}_edit"),
            question=record.question,
            truth=record.truth,
            response=item.response or "",
        )
        return ChatRequest((Message("user", text),), schema=_SCHEMAS[record.kind], sample=item.sample)

    def retry(self, request: ChatRequest, reply: str, reason: str) -> ChatRequest:
        """The second and last question, with the reason why the first reply is refused."""
        again = Message("user", render(self._prompt("retry"), reason=reason))
        return replace(request, messages=(*request.messages, Message("assistant", reply), again))

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `edit`."""
        return replace(item, edit=Edit(**data))


class TargetStep(Step):
    """Names what the noise should hide."""

    name = "target"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._by_judge = config.target.by == "judge"
        self._ask = ask
        self._endpoint = config.edit.endpoint
        self._prompts = Path(config.edit.prompts) if config.edit.prompts else None
        self._vocabulary_file = Path(config.edit.vocabulary) if config.edit.vocabulary else None
        self._vocabulary = load_vocabulary(self._vocabulary_file)
        self.workers = config.edit.endpoint.concurrency if self._by_judge else 2

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question and final answer; judge and prompt."""
        record = item.record
        judge: Any = "rules"
        if self._by_judge:
            judge = [self._endpoint.identity, _digest(load_prompt("target", self._prompts).text)]
        return {
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            "language": record.language,
            "answer": item.edit.final_answer if item.edit else "",
            "judge": judge,
            "vocabulary": _file_digest(self._vocabulary_file),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """A report has no target by design; a judge's word is checked, and the rules decide where it is refused."""
        if item.record.kind == "report":
            return asdict(Target(None, "a report is about the whole image"))
        answer = item.edit.final_answer if item.edit else ""
        if self._by_judge and self._ask is not None:
            try:
                return asdict(parse_target(self._ask(self.request(item))))
            except ReplyError as error:
                target = rule_target(item.record, answer, self._vocabulary)
                return asdict(replace(target, reason=f"{target.reason}; the judge's word is refused: {error}"))
        return asdict(rule_target(item.record, answer, self._vocabulary))

    def request(self, item: Item) -> ChatRequest:
        """What the judge is asked of an item."""
        text = render(
            load_prompt("target", self._prompts),
            question=item.record.question,
            truth=item.record.truth,
            answer=item.edit.final_answer if item.edit else "",
        )
        return ChatRequest((Message("user", text),))

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `target`."""
        return replace(item, target=Target(**data))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=8)
def _file_digest(path: Path | None) -> str | None:
    return _digest(path.read_text(encoding="utf-8")) if path else None
