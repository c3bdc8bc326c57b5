"""The step that takes the best and the worst of several responses to a record (CheXalign, arXiv 2410.07025)."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import isfinite
from typing import Any, ClassVar

from ...endpoint.failures import StopRunError
from ...endpoint.requests import Ask
from ...records import Edit, RejectedError
from ...store.engine import Advance, Item, Made
from ..config import BuildConfig
from ..judges.contract import check_response
from ..scores.registry import SCORES
from .pairing import PairingStep


class RankStep(PairingStep):
    """Makes the response of the highest score chosen, and that of the lowest rejected."""

    version = 1
    at_once = 8
    judged: ClassVar[bool] = False

    def __init__(self, config: BuildConfig, ask: Ask | None) -> None:
        self._score = SCORES.load(config.rank.by)
        self._gap = config.rank.gap
        self._identity = [self._score.name, self._score.identity()]

    def take(self, asked: Sequence[Item], answered: Advance) -> list[Item]:
        """One item for each record none of whose responses is still to come, with all that there are."""
        there = {item.name for item in answered.items} | set(answered.rejected)
        waiting = {item.record.id for item in asked if item.name not in there}
        records: dict[str, list[Item]] = {}
        for item in answered.items:
            if item.record.id not in waiting:
                records.setdefault(item.record.id, []).append(item)
        return [
            replace(items[0], sample=0, responses=tuple(str(item.response) for item in items))
            for items in records.values()
        ]

    def depends_on(self, item: Item) -> dict[str, Any]:
        """The responses and the ground truth; score and gap."""
        return {
            "truth": item.record.truth,
            "responses": list(item.responses),
            "score": self._identity,
            "gap": self._gap,
        }

    def run(self, item: Item) -> dict[str, Any]:
        """One item; see `run_many`."""
        (made,) = self.run_many([item])
        if isinstance(made, Exception):
            raise made
        return made

    def run_many(self, items: Sequence[Item]) -> list[Made]:
        """Scores the responses to all records together, so that a model sees full batches."""
        pairs = [(item.record.truth, response) for item in items for response in item.responses]
        try:
            scores = iter(self._score.of([truth for truth, _ in pairs], [response for _, response in pairs]))
        except StopRunError as error:
            return [error] * len(items)
        return [self._attempted(item, [next(scores) for _ in item.responses]) for item in items]

    def _attempted(self, item: Item, scores: list[float]) -> Made:
        try:
            return {"edit": asdict(self._pair(item, scores)), "scores": scores}
        except RejectedError as reason:
            return reason

    def _pair(self, item: Item, scores: list[float]) -> Edit:
        """Best and worst; of equal ones the first.

        Raises:
            RejectedError: There are not two responses, a score is no number, or they are too near each other.
        """
        if len(scores) < 2:
            raise RejectedError("there is only one response to the record: nothing to compare it with")
        if not all(map(isfinite, scores)):
            raise RejectedError(f"{self._score.name} gives no number for a response")
        if not max(scores) - min(scores) > self._gap:
            raise RejectedError(f"best and worst response are no more than rank.gap ({self._gap:g}) apart")
        best, worst = (item.responses[scores.index(extreme(scores))] for extreme in (max, min))
        for response in (best, worst):
            check_response(response)
        return Edit(best, worst, was_correct=None, final_answer="", judge=self._score.name)
