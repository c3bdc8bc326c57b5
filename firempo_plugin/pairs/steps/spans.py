"""The step that says which part of the responses is scored, where it is not the words in which they differ."""

from dataclasses import replace
from functools import partial
from typing import Any

from ...answers import questions
from ...answers.protocol import ask_twice
from ...answers.vocabulary import vocabulary_digest
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message, Schema
from ...records import Edit, RejectedError
from ...store.engine import Item
from ...store.workspace import later
from ..config import BuildConfig
from ..judges.factuality import SCHEMA, Verdict, parse_verdicts, rule_verdicts, sentence_spans, texts_of
from .judged import JudgedStep

_SCHEMA = Schema("sentence_verdicts", SCHEMA)


class SpansStep(JudgedStep):
    """Marks the whole responses, or the supported sentences of chosen and the contradicted ones of rejected."""

    name = "spans"
    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        super().__init__(config, ask, by_judge=config.spans.asks)
        self._of = config.spans.of
        self._minimal = config.edit.how == "minimal"

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Both responses; for sentences also question and truth, judge and prompts."""
        edit, record = _edit(item), item.record
        key: dict[str, Any] = {"of": self._of, "chosen": edit.chosen, "rejected": edit.rejected}
        if self._of != "sentences":
            return key
        return {
            **key,
            "question": record.question,
            "truth": record.truth,
            "kind": record.kind,
            **({} if self._minimal else {"minimal": False}),
            "language": record.language,
            "judge": self.judge("sentences", "retry"),
            "vocabulary": vocabulary_digest(self._vocabulary_file),
            **later(rules_version=questions.VERSION),
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where nobody can say of a sentence whether it is supported, or none is to be marked."""
        edit = _edit(item)
        if self._of == "response":
            return {"chosen": [[0, len(edit.chosen)]], "rejected": [[0, len(edit.rejected)]]}
        verdicts = self._known(item)
        asked = self.requests(item)
        for text, request in asked.items():
            assert self._ask is not None
            left = _undecided(text, verdicts)
            try:
                verdicts |= ask_twice(self._ask, request, partial(parse_verdicts, asked=left), self._prompts)
            except ReplyError as error:
                raise RejectedError(f"the judge's verdicts on sentences are refused twice: {error}") from error
        for sentence in [*texts_of(edit.chosen), *texts_of(edit.rejected)]:
            if sentence not in verdicts:
                raise RejectedError(f"the rules abstain: they cannot say whether the truth supports {sentence!r}")
        chosen, rejected = sentence_spans(edit, verdicts)
        return {"chosen": chosen, "rejected": rejected, "verdicts": verdicts}

    def requests(self, item: Item) -> dict[str, ChatRequest]:
        """What the judge is asked, by the response that it is asked about."""
        edit, known = _edit(item), self._known(item)
        found: dict[str, ChatRequest] = {}
        for text in (edit.chosen, edit.rejected) if self._by_judge else ():
            left = _undecided(text, known)
            if left:
                found[text] = self._request(item, text, left)
                known |= dict.fromkeys(left, "silent")
        return found

    def _request(self, item: Item, response: str, left: list[str]) -> ChatRequest:
        record = item.record
        prompt = load_prompt("sentences", self._prompts)
        text = render(prompt, question=record.question, truth=record.truth, response=response, sentences=left)
        return ChatRequest((Message("user", text),), schema=_SCHEMA)

    def _known(self, item: Item) -> dict[str, Verdict]:
        return rule_verdicts(item.record, _edit(item), self._vocabulary, minimal=self._minimal)

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `spans`."""
        sides = [tuple((start, end) for start, end in data[side]) for side in ("chosen", "rejected")]
        return replace(item, spans=(sides[0], sides[1]))


def _edit(item: Item) -> Edit:
    assert item.edit is not None
    return item.edit


def _undecided(response: str, known: dict[str, Verdict]) -> list[str]:
    return [sentence for sentence in dict.fromkeys(texts_of(response)) if sentence not in known]
