"""What every score of responses offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Score(ABC):
    """A score of responses; the higher, the better.

    Attributes:
        name: By which pairs name it.
    """

    name: str

    @abstractmethod
    def identity(self) -> Any:
        """What decides its figures beside the texts, as JSON.

        Raises:
            UserError: A package that it needs is not installed.
        """

    @abstractmethod
    def of(self, truths: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The score of each response beside its ground truth.

        Raises:
            StopRunError: It cannot be computed here, and why.
        """
