"""The step that names the kind of error that an edit makes or mends."""

from dataclasses import replace
from typing import Any

from ...answers.vocabulary import vocabulary_digest
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message
from ...store.engine import Item
from ..config import BuildConfig
from ..judges.error_types import OTHER, parse_error_type, rule_error_type
from .judged import JudgedStep


class LabelStep(JudgedStep):
    """Names the kind of error: by the rules, and where they cannot say, by a judge or as `other`."""

    name = "label"
    version = 3

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        super().__init__(config, ask, by_judge=config.label.asks)

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The question and both responses; judge and prompt."""
        assert item.edit is not None
        return {
            "question": item.record.question,
            "kind": item.record.kind,
            "language": item.record.language,
            "chosen": item.edit.chosen,
            "rejected": item.edit.rejected,
            "judge": self.judge("error_type"),
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
