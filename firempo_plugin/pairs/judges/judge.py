"""What every judge of edits offers beside the protocol: what decides its edits, and what it would ask."""

from abc import abstractmethod
from typing import Any, ClassVar

from ...answers.protocol import Judge
from ...endpoint.requests import Ask, ChatRequest
from ...records import Edit, Record
from ..config import EditConfig
from .contract import Contract


class EditJudge(Judge[Edit]):
    """A judge of `edit.judge`; its edits are what its contract makes of its replies.

    Args:
        config: The section `edit`.
        ask: Asks the model of `edit.endpoint`; None where there is none.

    Attributes:
        later: Whether its model answers in batches, after the run.
        calls: Responses judged at a time, by a model; None where none is asked.
    """

    later: ClassVar[bool] = False
    calls: int | None = None

    def __init__(self, config: EditConfig, ask: Ask | None = None) -> None:
        self.config = config
        self.contract = Contract.of(config)
        self.ask = ask

    @abstractmethod
    def identity(self, record: Record) -> dict[str, Any]:
        """What decides its edits beside the record, the response and the contract, as JSON."""

    def request(self, record: Record, response: str, sample: int = 0) -> ChatRequest | None:
        """What its model is asked first; None where it asks none."""
        return None
