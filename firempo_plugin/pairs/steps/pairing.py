"""What every step offers that makes chosen and rejected of responses."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ...endpoint.requests import Ask, ChatRequest
from ...records import Edit
from ...store.engine import Advance, Item, Step
from ..config import BuildConfig


class PairingStep(Step):
    """A step of `edit.how`.

    Args:
        config: The build.
        ask: Asks the model of `edit.endpoint`; None where there is none.

    Attributes:
        judged: Whether `edit.judge` decides.
    """

    name = "edit"
    judged: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, config: BuildConfig, ask: Ask | None) -> None: ...

    def take(self, asked: Sequence[Item], answered: Advance) -> list[Item]:
        """The items that it makes pairs of.

        Args:
            asked: Those that went into the step that gets responses.
            answered: What came of it.
        """
        return answered.items

    def request(self, item: Item) -> ChatRequest | None:
        """What a model is asked first of an item; None where none is asked."""
        return None

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `edit`."""
        return replace(item, edit=Edit(**data.get("edit", data)))
