"""The edit step: judges are asked in turn, the rules before a model unless the configuration says so."""

from dataclasses import asdict
from typing import Any

from ...answers.protocol import Abstain, in_turn
from ...answers.vocabulary import vocabulary_digest
from ...endpoint.requests import Ask, ChatRequest
from ...records import RejectedError
from ...store.engine import Item
from ..config import BuildConfig
from ..judges.contract import Contract
from ..judges.registry import JUDGES
from .pairing import PairingStep


class EditStep(PairingStep):
    """Makes the response's minimally edited counterpart."""

    version = 2

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._config = config.edit
        names = dict.fromkeys([*(["rules"] if config.edit.rules_first else []), config.edit.judge])
        self._judges = [JUDGES.load(name)(config.edit, ask) for name in names]
        self._contract = Contract.of(config.edit)
        self.pace(self._judges[-1].calls)

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
            "vocabulary": vocabulary_digest(self._config.vocabulary),
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
