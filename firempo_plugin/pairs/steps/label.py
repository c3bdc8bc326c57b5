"""The step that names the kind of error that an edit makes or mends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...answers.vocabulary import load_vocabulary, vocabulary_digest
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message
from ...files import text_digest
from ...store.engine import Item, Step
from ..config import BuildConfig
from ..judges.error_types import OTHER, parse_error_type, rule_error_type


class LabelStep(Step):
    """Names the kind of error: by the rules, and where they cannot say, by a judge or as `other`."""

    name = "label"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._by_judge = config.label.asks
        self._ask = ask
        self._endpoint = config.edit.endpoint
        self._prompts = Path(config.edit.prompts) if config.edit.prompts else None
        self._vocabulary_file = config.edit.vocabulary
        self._vocabulary = load_vocabulary(Path(self._vocabulary_file) if self._vocabulary_file else None)
        self.workers = config.edit.endpoint.concurrency if self._by_judge else 2

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The question and both responses; judge and prompt."""
        assert item.edit is not None
        judge: Any = "rules"
        if self._by_judge:
            judge = [self._endpoint.identity, text_digest(load_prompt("error_type", self._prompts).text)]
        return {
            "question": item.record.question,
            "language": item.record.language,
            "chosen": item.edit.chosen,
            "rejected": item.edit.rejected,
            "judge": judge,
            "vocabulary": vocabulary_digest(self._vocabulary_file),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Never rejects: what nobody can name is `other`."""
        request = self.request(item)
        if request is None:
            return {"error_type": self._by_rules(item) or OTHER}
        assert self._ask is not None
        try:
            return {"error_type": parse_error_type(self._ask(request))}
        except ReplyError:
            return {"error_type": OTHER}

    def request(self, item: Item) -> ChatRequest | None:
        """What the judge is asked of an item; None where the rules can say, or alone are to."""
        if not self._by_judge or self._by_rules(item) is not None:
            return None
        assert item.edit is not None
        text = render(
            load_prompt("error_type", self._prompts),
            question=item.record.question,
            chosen=item.edit.chosen,
            rejected=item.edit.rejected,
        )
        return ChatRequest((Message("user", text),))

    def _by_rules(self, item: Item) -> str | None:
        assert item.edit is not None
        return rule_error_type(item.record, item.edit, self._vocabulary)

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `error_type`."""
        return replace(item, error_type=data["error_type"])
