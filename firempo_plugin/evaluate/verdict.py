"""Who says whether an answer is right: the pair builder's rules, then a model for what they leave open."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..pairs.endpoint.requests import ChatRequest, Message, Schema
from ..pairs.judges.contract import LONGEST_RESPONSE
from ..pairs.judges.grammar import GRAMMARS
from ..pairs.judges.questions import understand
from ..pairs.judges.reply import ReplyError, read_object
from ..pairs.judges.vocabulary import Vocabulary, load_vocabulary
from ..pairs.prompts import Prompt, load_prompt, render
from ..pairs.records import Record, RejectedError
from ..pairs.steps import Ask
from .config import JudgeConfig

_VERDICTS = {"correct": True, "wrong": False, "undecided": None}
_SCHEMA = Schema(
    "verdict",
    {
        "type": "object",
        "properties": {
            "final_answer": {"type": "string"},
            "verdict": {"type": "string", "enum": list(_VERDICTS)},
        },
        "required": ["final_answer", "verdict"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of an answer.

    Attributes:
        correct: None where nobody could decide.
        by: "rules", "exact match", or the judging model's name.
        reason: How it was decided, or why not.
    """

    correct: bool | None
    by: str
    reason: str


class Judge:
    """Decides by rules what they can read, and asks a model the rest, where there is one.

    Args:
        config: The judge's settings.
        ask: Asks the model; None where the rules are alone.
    """

    def __init__(self, config: JudgeConfig, ask: Ask | None) -> None:
        self._vocabulary: Vocabulary = load_vocabulary(Path(config.vocabulary) if config.vocabulary else None)
        self._model = config.endpoint.model
        self._ask = ask
        folder = Path(config.prompts) if config.prompts else Path(__file__).parent
        self._prompts: Callable[[str], Prompt] = partial(load_prompt, folder=folder)

    def kind(self, record: Record) -> str:
        """Whether a question is "closed" or "open": by the source's word, else by what it asks; "" where unknown."""
        if record.closed is not None:
            return "closed" if record.closed else "open"
        if record.language not in GRAMMARS:
            return ""
        return "closed" if understand(record, self._vocabulary).closed else "open"

    def judge(self, record: Record, answer: str) -> Verdict:
        """The verdict on an answer."""
        if not answer:
            return Verdict(None, "rules", "the answer is empty")
        ruled = self._ruled(record, answer)
        return ruled if ruled.correct is not None or self._ask is None else self._asked(record, answer, self._ask)

    def _ruled(self, record: Record, answer: str) -> Verdict:
        if record.language not in GRAMMARS:
            return Verdict(None, "rules", f"the rules do not know the language {record.language}")
        if len(answer) > LONGEST_RESPONSE:
            return Verdict(None, "rules", f"the answer has more than {LONGEST_RESPONSE} characters")
        reading = understand(record, self._vocabulary).read(answer)
        return Verdict(reading.correct, "rules", reading.reason)

    def _asked(self, record: Record, answer: str, ask: Ask) -> Verdict:
        """A model's word; asked once more where its reply cannot be used."""
        text = render(self._prompts("verdict"), question=record.question, truth=record.truth, response=answer)
        request = ChatRequest((Message("user", text),), schema=_SCHEMA)
        try:
            reply = ask(request)
            try:
                return self._read(reply)
            except ReplyError as error:
                again = Message("user", render(load_prompt("retry"), reason=str(error)))
                messages = (*request.messages, Message("assistant", reply), again)
                return self._read(ask(replace(request, messages=messages)))
        except ReplyError as error:
            return Verdict(None, self._model, f"the judge's reply is refused twice: {error}")
        except RejectedError as error:
            return Verdict(None, self._model, f"the judge gives no reply: {error}")

    def _read(self, reply: str) -> Verdict:
        found = read_object(reply)
        verdict = found.get("verdict")
        if not isinstance(verdict, str) or verdict not in _VERDICTS:
            raise ReplyError(f"verdict must be one of {', '.join(_VERDICTS)}, found {verdict!r:.80}")
        said = str(found.get("final_answer", ""))[:200]
        reason = "the judge cannot decide" if verdict == "undecided" else f"the judge reads {said!r}"
        return Verdict(_VERDICTS[verdict], self._model, reason)
