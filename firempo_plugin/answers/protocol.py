"""The protocol of every judge, of edits in a build and of answers in an evaluation.

A judge is given a record and a response to it, and returns what it decides, or abstains with the reason: where it
cannot read the response, or where what it says is refused. Judges are asked in turn, until one decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from ..endpoint.json_reply import ReplyError
from ..endpoint.prompts import load_prompt, render
from ..endpoint.requests import Ask, ChatRequest, Message
from ..records import Record

Decision = TypeVar("Decision")


@dataclass(frozen=True)
class Abstain:
    """A judge cannot decide.

    Attributes:
        reason: Why.
    """

    reason: str


class Judge(ABC, Generic[Decision]):
    """Who decides.

    Attributes:
        name: By which what it decides names it.
        asks: Whether it asks a model.
    """

    name: str
    asks: ClassVar[bool] = False

    @abstractmethod
    def judge(self, record: Record, response: str, sample: int = 0) -> Decision | Abstain:
        """What it decides of a response, `sample` of those to the record.

        Raises:
            RejectedError: No judge can decide.
            PendingError, CallFailedError, StopRunError: The model does not answer now.
        """


def in_turn(judges: Iterable[Judge[Decision]], record: Record, response: str, sample: int = 0) -> Decision | Abstain:
    """What the first judge that does not abstain decides; where all abstain, the last one's reason."""
    found: Decision | Abstain = Abstain("there is no judge")
    for judge in judges:
        found = judge.judge(record, response, sample)
        if not isinstance(found, Abstain):
            break
    return found


def ask_twice(
    ask: Ask, request: ChatRequest, accept: Callable[[str], Decision], prompts: Path | None = None
) -> Decision:
    """What is accepted of a model's reply; it is asked once more, with the reason, where its first is refused.

    Args:
        ask: Asks it.
        request: The question.
        accept: From the reply's text to a decision; ReplyError refuses it.
        prompts: Folder that may have a `retry.md` of its own.

    Raises:
        ReplyError: The second reply is refused too.
    """
    text = ask(request)
    try:
        return accept(text)
    except ReplyError as error:
        again = Message("user", render(load_prompt("retry", prompts), reason=str(error)))
    return accept(ask(replace(request, messages=(*request.messages, Message("assistant", text), again))))
