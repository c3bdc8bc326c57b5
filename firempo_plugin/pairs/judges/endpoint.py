"""The judge that asks a model: a prompt, and the contract with its reply."""

import hashlib
from pathlib import Path
from typing import Any

from ...answers.protocol import Abstain, ask_twice
from ...endpoint.json_reply import ReplyError
from ...endpoint.prompts import Prompt, load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message, Schema
from ...records import Edit, Record
from ..config import EditConfig
from .contract import check_response
from .judge import EditJudge
from .reply import REPORT_SCHEMA, VQA_SCHEMA, parse_reply

_SCHEMAS = {"vqa": Schema("vqa_edit", VQA_SCHEMA), "report": Schema("report_edit", REPORT_SCHEMA)}


class EndpointJudge(EditJudge):
    """Asks the model of `edit.endpoint`, twice at most."""

    asks = True

    def __init__(self, config: EditConfig, ask: Ask | None = None) -> None:
        super().__init__(config, ask)
        self.name = config.endpoint.model
        self.calls = config.endpoint.concurrency
        self._prompts = Path(config.prompts) if config.prompts else None

    def identity(self, record: Record) -> dict[str, Any]:
        """Model and prompts."""
        texts = [self._prompt(name).text for name in (f"{record.kind}_edit", "retry")]
        prompts = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        return {"model": self.config.endpoint.identity, "prompts": prompts}

    def request(self, record: Record, response: str, sample: int = 0) -> ChatRequest:
        """The record and the response in the prompt of their kind."""
        prompt = self._prompt(f"{record.kind}_edit")
        text = render(prompt, question=record.question, truth=record.truth, response=response)
        return ChatRequest((Message("user", text),), schema=_SCHEMAS[record.kind], sample=sample)

    def judge(self, record: Record, response: str, sample: int = 0) -> Edit | Abstain:
        """The edit; abstains where the model's reply is refused twice."""
        check_response(response)
        assert self.ask is not None

        def accept(text: str) -> Edit:
            return self.contract.accept(record, response, parse_reply(text, record.kind), self.name)

        try:
            return ask_twice(self.ask, self.request(record, response, sample), accept, self._prompts)
        except ReplyError as error:
            return Abstain(f"the judge's edit is refused twice: {error}")

    def _prompt(self, name: str) -> Prompt:
        return load_prompt(name, self._prompts)
