"""The edit and target steps: judges are asked in turn, the rules before a model unless the configuration says so."""

import hashlib
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...answers.protocol import Abstain, in_turn
from ...answers.vocabulary import load_vocabulary
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message
from ...records import Edit, RejectedError, Target
from ...store.engine import Item, Step
from ..config import BuildConfig
from ..judges.contract import Contract
from ..judges.registry import JUDGES
from ..judges.reply import ReplyError
from ..judges.targets import parse_target, rule_target


class EditStep(Step):
    """Makes the response's minimally edited counterpart."""

    name = "edit"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._config = config.edit
        names = dict.fromkeys([*(["rules"] if config.edit.rules_first else []), config.edit.judge])
        self._judges = [JUDGES.load(name)(config.edit, ask) for name in names]
        self._contract = Contract.of(config.edit)
        self.workers = self._judges[-1].workers

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question, truth and response; judges, vocabulary and bounds."""
        record = item.record
        judge: dict[str, Any] = {"rules": False}
        for one in self._judges:
            judge |= one.identity(record)
        return {
            "id": record.id,
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            "language": record.language,
            "response": item.response,
            "judge": judge,
            "bounds": asdict(self._contract.bounds),
            "scope": self._contract.scope,
            "vocabulary": _file_digest(self._config.vocabulary),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where nobody can decide, or a model's edit is refused twice."""
        found = in_turn(self._judges, item.record, item.response or "", item.sample)
        if isinstance(found, Abstain):
            raise RejectedError(found.reason)
        return asdict(found)

    def request(self, item: Item) -> ChatRequest | None:
        """What a model is asked first of an item; None where a judge before it decides, or none is asked."""
        about = (item.record, item.response or "", item.sample)
        for judge in self._judges:
            request = judge.request(*about)
            if request is not None:
                return request
            if not isinstance(judge.judge(*about), Abstain):
                return None
        return None

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
        self._vocabulary_file = config.edit.vocabulary
        self._vocabulary = load_vocabulary(Path(self._vocabulary_file) if self._vocabulary_file else None)
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
def _file_digest(path: str | None) -> str | None:
    return _digest(Path(path).read_text(encoding="utf-8")) if path else None
