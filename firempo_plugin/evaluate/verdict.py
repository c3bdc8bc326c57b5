"""Who says whether an answer is right: the pair builder's rules, then a model for what they leave open."""

from dataclasses import dataclass
from pathlib import Path

from ..answers.grammar import GRAMMARS
from ..answers.protocol import Abstain, Judge, ask_twice, in_turn
from ..answers.questions import LONGEST_RESPONSE, understand
from ..answers.vocabulary import load_vocabulary
from ..endpoint.json_reply import ReplyError, read_object
from ..endpoint.prompts import load_prompt, render
from ..endpoint.requests import Ask, ChatRequest, Message, Schema
from ..records import Record, RejectedError
from .config import JudgeConfig
from .registry import JUDGES

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


class AnswerJudge(Judge[Verdict]):
    """A judge of `judge.by`.

    Args:
        config: The judge's settings.
        ask: Asks the model; None where there is none.
    """

    def __init__(self, config: JudgeConfig, ask: Ask | None) -> None:
        self.config = config
        self.ask = ask
        self.vocabulary = load_vocabulary(Path(config.vocabulary) if config.vocabulary else None)


class RuleJudge(AnswerJudge):
    """Reads an answer as the pair builder's rules do."""

    name = "rules"

    def judge(self, record: Record, response: str, sample: int = 0) -> Verdict | Abstain:
        """Abstains where the rules cannot read the answer."""
        if record.language not in GRAMMARS:
            return Abstain(f"the rules do not know the language {record.language}")
        if len(response) > LONGEST_RESPONSE:
            return Abstain(f"the answer has more than {LONGEST_RESPONSE} characters")
        reading = understand(record, self.vocabulary).read(response)
        if reading.correct is None:
            return Abstain(reading.reason)
        return Verdict(reading.correct, self.name, reading.reason)


class EndpointJudge(AnswerJudge):
    """Asks a model, and once more where its reply cannot be used."""

    asks = True

    def __init__(self, config: JudgeConfig, ask: Ask | None) -> None:
        super().__init__(config, ask)
        self.name = config.endpoint.model

    def judge(self, record: Record, response: str, sample: int = 0) -> Verdict | Abstain:
        """Abstains where the model cannot decide, or gives no reply that can be used."""
        assert self.ask is not None
        prompt = load_prompt("verdict", prompts_of(self.config))
        text = render(prompt, question=record.question, truth=record.truth, response=response)
        try:
            return ask_twice(self.ask, ChatRequest((Message("user", text),), schema=_SCHEMA), self._read)
        except ReplyError as error:
            return Abstain(f"the judge's reply is refused twice: {error}")
        except RejectedError as error:
            return Abstain(f"the judge gives no reply: {error}")

    def _read(self, reply: str) -> Verdict | Abstain:
        found = read_object(reply)
        verdict = found.get("verdict")
        if not isinstance(verdict, str) or verdict not in _VERDICTS:
            raise ReplyError(f"verdict must be one of {', '.join(_VERDICTS)}, found {verdict!r:.80}")
        correct = _VERDICTS[verdict]
        if correct is None:
            return Abstain("the judge cannot decide")
        return Verdict(correct, self.name, f"the judge reads {str(found.get('final_answer', ''))[:200]!r}")


class Judges:
    """The rules, and behind them the judge of `judge.by` for what they leave open.

    Args:
        config: The judges' settings.
        ask: Asks the model; None where the rules are alone.
    """

    def __init__(self, config: JudgeConfig, ask: Ask | None) -> None:
        self._judges = [JUDGES.load(name)(config, ask) for name in dict.fromkeys(["rules", config.by])]

    def kind(self, record: Record) -> str:
        """Whether a question is "closed" or "open": by the source's word, else by what it asks; "" where unknown."""
        if record.closed is not None:
            return "closed" if record.closed else "open"
        if record.language not in GRAMMARS:
            return ""
        return "closed" if understand(record, self._judges[0].vocabulary).closed else "open"

    def judge(self, record: Record, answer: str) -> Verdict:
        """The verdict on an answer."""
        if not answer:
            return Verdict(None, "rules", "the answer is empty")
        found = in_turn(self._judges, record, answer)
        return Verdict(None, self._judges[-1].name, found.reason) if isinstance(found, Abstain) else found


def prompts_of(config: JudgeConfig) -> Path:
    """The folder of verdict.md."""
    return Path(config.prompts) if config.prompts else Path(__file__).parent
