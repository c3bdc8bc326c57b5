"""The step that prefers a report without its references to earlier examinations (Rad-DPO, arXiv 2406.06496)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...answers.protocol import ask_twice
from ...endpoint.json_reply import ReplyError, read_object
from ...endpoint.prompts import load_prompt, render
from ...endpoint.requests import Ask, ChatRequest, Message, Schema
from ...files import is_unicode, text_digest
from ...records import Edit, RejectedError
from ...store.engine import Item
from ..config import BuildConfig
from ..judges.contract import check_response
from ..judges.priors import REFERENCE, check_priors, without_priors
from ..judges.registry import JUDGES
from .pairing import PairingStep

_SCHEMA = Schema(
    "report_without_priors",
    {
        "type": "object",
        "properties": {"rewritten_report": {"type": "string"}},
        "required": ["rewritten_report"],
        "additionalProperties": False,
    },
)


class PriorStep(PairingStep):
    """Makes the report as it is rejected, and the same without its references to earlier examinations chosen."""

    version = 1

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._config = config.edit
        self._ask = ask
        self._asks = JUDGES.load(config.edit.judge).asks
        self._rules = config.edit.rules_first or not self._asks
        self._prompts = Path(config.edit.prompts) if config.edit.prompts else None
        self.pace(config.edit.endpoint.concurrency if self._asks else None)

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The report; judge and prompts."""
        judge: dict[str, Any] = {"rules": self._rules}
        if self._asks:
            prompts = [text_digest(load_prompt(name, self._prompts).text) for name in ("priors", "retry")]
            judge |= {"model": self._config.endpoint.identity, "prompts": prompts}
        return {
            "priors": item.response,
            "kind": item.record.kind,
            "language": item.record.language,
            "judge": judge,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError where there is no reference, or nobody can take it away."""
        report = item.response or ""
        check_response(report)
        if item.record.kind != "report" or item.record.language != "en":
            raise RejectedError("references to earlier examinations are looked for in English reports only")
        if not REFERENCE.search(report):
            raise RejectedError("the report refers to no earlier examination")
        return asdict(self._edit(report))

    def _edit(self, report: str) -> Edit:
        if self._rules:
            try:
                return _edit(report, without_priors(report), "rules")
            except ReplyError as error:
                if not self._asks:
                    raise RejectedError(f"the rules abstain: {error}") from error
        assert self._ask is not None

        def accept(text: str) -> str:
            after = _rewritten(text)
            check_priors(report, after)
            return after

        try:
            after = ask_twice(self._ask, _request(report, self._prompts), accept, self._prompts)
        except ReplyError as error:
            raise RejectedError(f"the judge's rewriting is refused twice: {error}") from error
        return _edit(report, after, self._config.endpoint.model)

    def request(self, item: Item) -> ChatRequest | None:
        """What the judge is asked of a report; None where the rules do, or there is nothing to take away."""
        report = item.response or ""
        if not REFERENCE.search(report) or item.record.kind != "report" or item.record.language != "en":
            return None
        try:
            if self._rules:
                without_priors(report)
                return None
        except ReplyError:
            pass
        return _request(report, self._prompts)


def _edit(report: str, after: str, judge: str) -> Edit:
    return Edit(after, report, was_correct=False, final_answer="", judge=judge)


def _request(report: str, prompts: Path | None) -> ChatRequest:
    return ChatRequest((Message("user", render(load_prompt("priors", prompts), report=report)),), schema=_SCHEMA)


def _rewritten(text: str) -> str:
    """The report of a reply.

    Raises:
        ReplyError: There is none.
    """
    report = read_object(text).get("rewritten_report")
    if not isinstance(report, str) or not is_unicode(report):
        raise ReplyError(f"the field 'rewritten_report' must be a text, found {report!r:.80}")
    return report.strip()
