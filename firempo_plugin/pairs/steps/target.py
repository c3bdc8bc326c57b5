"""The step that says what the noise should hide."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...answers.vocabulary import load_vocabulary, vocabulary_digest
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message
from ...files import text_digest
from ...records import Target
from ...store.engine import Item, Step
from ..config import BuildConfig
from ..judges.targets import parse_target, rule_target


class TargetStep(Step):
    """Names what the noise should hide."""

    name = "target"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._by_judge = config.target.asks
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
            judge = [self._endpoint.identity, text_digest(load_prompt("target", self._prompts).text)]
        return {
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            "language": record.language,
            "answer": item.edit.final_answer if item.edit else "",
            "judge": judge,
            "vocabulary": vocabulary_digest(self._vocabulary_file),
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
