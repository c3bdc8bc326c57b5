"""What the steps share whose rules a model may help out."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from ...answers.vocabulary import load_vocabulary
from ...endpoint.prompts import load_prompt
from ...endpoint.requests import Ask
from ...files import text_digest
from ...store.engine import Step
from ..config import BuildConfig


class JudgedStep(Step):
    """A step that rules make, and the model of `edit.endpoint` where they cannot say.

    Args:
        config: The build.
        ask: Asks the model; None where there is none.
        by_judge: Whether it is to be asked.
    """

    @abstractmethod
    def __init__(self, config: BuildConfig, ask: Ask | None, *, by_judge: bool) -> None:
        self._by_judge = by_judge
        self._ask = ask
        self._endpoint = config.edit.endpoint
        self._prompts = Path(config.edit.prompts) if config.edit.prompts else None
        self._vocabulary_file = config.edit.vocabulary
        self._vocabulary = load_vocabulary(Path(self._vocabulary_file) if self._vocabulary_file else None)
        self.pace(config.edit.endpoint.concurrency if by_judge else None)

    def judge(self, *prompts: str) -> Any:
        """Who decides, for a step's key: the rules, or a model with its prompts."""
        if not self._by_judge:
            return "rules"
        return [self._endpoint.identity, *(text_digest(load_prompt(name, self._prompts).text) for name in prompts)]
