"""The step that says what the noise should hide."""

from dataclasses import asdict, replace
from typing import Any

from ...answers.questions import polar_truth
from ...answers.vocabulary import vocabulary_digest
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message
from ...records import Target
from ...store.engine import Item
from ..config import BuildConfig
from ..judges.targets import only_compares, parse_target, rule_target, statement_target
from .judged import JudgedStep


class TargetStep(JudgedStep):
    """Names what the noise should hide."""

    name = "target"
    version = 3

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        super().__init__(config, ask, by_judge=config.target.asks)

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question and final answer; judge and prompt."""
        record, claimed = item.record, _claimed(item)
        return {
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            "language": record.language,
            "answer": item.edit.final_answer if item.edit else "",
            "judge": self.judge("target"),
            "vocabulary": vocabulary_digest(self._vocabulary_file),
            **({"statement": [item.finding.right, item.finding.wrong]} if item.finding else {}),
            **({"claimed": claimed} if claimed else {}),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """A whole report has no target by design; where a judge's word is refused, the rules decide."""
        if not item.is_local:
            return asdict(Target(None, "a report is about the whole image"))
        request = self.request(item)
        if request is not None and self._ask is not None:
            try:
                return asdict(parse_target(self._ask(request)))
            except ReplyError as error:
                target = self._by_rules(item)
                return asdict(replace(target, reason=f"{target.reason}; the judge's word is refused: {error}"))
        return asdict(self._by_rules(item))

    def _by_rules(self, item: Item) -> Target:
        if item.finding:
            return statement_target(item.finding.right, item.finding.wrong, item.record.language, self._vocabulary)
        answer = item.edit.final_answer if item.edit else ""
        return rule_target(item.record, answer, self._vocabulary, _claimed(item))

    def request(self, item: Item) -> ChatRequest | None:
        """What the judge is asked of an item; None where nobody is, or no judge could tell it from one image."""
        finding = item.finding
        if not (self._by_judge and item.is_local) or (finding and only_compares(finding.right, finding.wrong)):
            return None
        text = render(
            load_prompt("target", self._prompts),
            question=item.record.question,
            truth=finding.right if finding else item.record.truth,
            answer=finding.wrong if finding else item.edit.final_answer if item.edit else "",
        )
        return ChatRequest((Message("user", text),))

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `target`."""
        return replace(item, target=Target(**data))


def _claimed(item: Item) -> str:
    """What the side of the pair says that is wrong where the ground truth is no; "" for other questions."""
    record = item.record
    denied = item.edit and polar_truth(record.question, record.truth, record.language) == "no"
    return item.edit.rejected if item.edit and denied else ""
