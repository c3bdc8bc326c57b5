"""Answers of every model to every record: asked once, kept for good, and written out for people."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..endpoint.client import Endpoint
from ..endpoint.costs import Budget
from ..endpoint.failures import ReplyTruncatedError, StopRunError
from ..endpoint.requests import Ask
from ..errors import UserError
from ..files import write_text
from ..records import Record
from ..respond.read import ReadStep
from ..respond.respond import THOUGHT_END, THOUGHT_START, ChatEngine, RespondStep
from ..respond.settings import RespondConfig
from ..sources.reading import read_source
from ..store.engine import Advance, Item, advance
from ..store.halt import Halt
from ..store.reasons import lines_by_kind
from ..store.request_store import WorkspaceRequests
from ..store.workspace import Workspace
from .config import EvaluateConfig
from .models import Model, digest_of
from .store import Measured

Engine = Callable[[dict[str, Any]], ChatEngine]


@dataclass(frozen=True)
class Answer:
    """One answer of a model.

    Attributes:
        record: What was asked.
        sample: Which of several answers.
        text: The answer; None where there is none.
        reason: Why there is none; "" where there is one.
        cut: Whether it ended at `answers.max_new_tokens`; it is measured as it is, as a model that does not come to an
            end must not gain by that.
    """

    record: Record
    sample: int
    text: str | None
    reason: str = ""
    cut: bool = False


class AnswerStep(RespondStep):
    """A model's answer, under whatever decides it: its weights, the decoding, the question and the images' content.

    Args:
        config: The evaluation.
        model: Who answers.
        ask: Asks the endpoint; None for a model in this process.
        engine: Loads the model into this process; None for an endpoint.

    Attributes:
        cut: Names of the items whose answer ended at the limit.
    """

    version = 1

    def __init__(self, config: EvaluateConfig, model: Model, ask: Ask | None, engine: Engine | None) -> None:
        self._model = model
        self._suffix = config.answers.suffix
        load = (lambda: engine(model.engine_arguments)) if engine is not None else None
        super().__init__(respond_config(config, model), ask, load)
        self.cut: set[str] = set()
        self.name = f"answer {digest_of(model.identity)[:16]}"

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Model, decoding, question and images."""
        found = super().depends_on(self._asked(item))
        # The engine's arguments hold the place of the folders; the identity holds what is in them.
        own = self._model.identity if not self._model.served else found["model"]
        endpoint = self._config.endpoint
        decoding = {"temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
        return found | {"model": own, "decoding": decoding}

    def run(self, item: Item) -> dict[str, Any]:
        """The answer without what was thought; an empty one, and one that was cut off, are answers too."""
        try:
            text, cut = self._respond(self._asked(item)), False
        except ReplyTruncatedError as error:
            text, cut = error.text, True
        said = text.rpartition(THOUGHT_END)[2].partition(THOUGHT_START)[0]
        return {"response": said.strip(), "cut": cut}

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `response`."""
        if data["cut"]:
            self.cut.add(item.name)
        return super().apply(item, data)

    def _asked(self, item: Item) -> Item:
        """The item with the suffix behind its question."""
        if not self._suffix or item.record.kind == "report":
            return item
        return replace(item, record=replace(item.record, question=f"{item.record.question}\n{self._suffix}"))


def respond_config(config: EvaluateConfig, model: Model) -> RespondConfig:
    """The settings of the step that asks, as the pair builder knows them."""
    answers = config.answers
    return RespondConfig(
        backend="endpoint" if model.served else "engine",
        samples=answers.samples,
        system=answers.system,
        endpoint=replace(
            config.endpoint,
            model=model.served,
            temperature=answers.temperature,
            max_tokens=answers.max_new_tokens,
        ),
        engine=model.engine_arguments,
    )


class Asking:
    """The records of an evaluation, and the models' answers to them.

    Args:
        config: The evaluation.
        workspace: Its store.
        engine: Loads a model into this process.
        budget: Shared with the judge.
        halt: May end the run early.
    """

    def __init__(
        self, config: EvaluateConfig, workspace: Workspace, engine: Engine | None, budget: Budget, halt: Halt
    ) -> None:
        self._config = config
        self._workspace = workspace
        self._engine = engine
        self._budget = budget
        self._halt = halt
        reading = read_source(config.source)
        workspace.put_records(reading.records, reading.problems)
        self.records, self.problems = reading.records, reading.problems
        if not self.records:
            left_out = "".join(f"\n  {line.strip()}" for line in lines_by_kind(self.problems.values()))
            raise UserError(
                f"source: {config.source.name} gives no record; look at its options, {config.source.options}. "
                f"Rows left out: {len(self.problems)}{left_out}"
            )
        read = advance(
            workspace, ReadStep(config.source, workspace), [Item(record) for record in self.records], halt=halt
        )
        if read.stopped:
            raise StopRunError(read.stopped)
        self._items = [replace(item, sample=sample) for item in read.items for sample in range(config.answers.samples)]
        self._unread = read.rejected

    def answers(self, model: Model) -> list[Answer]:
        """A model's answers to all records; those that are there already are not asked for again.

        Raises:
            StopRunError: The run ended early; what was answered until then is kept.
        """
        endpoint: Endpoint | None = None
        if model.served:
            settings = respond_config(self._config, model).endpoint
            endpoint = Endpoint(settings, WorkspaceRequests(self._workspace), self._budget)
            self._halt.wake = endpoint.stop
        ask = asks(endpoint) if endpoint else None
        step = AnswerStep(self._config, model, ask, None if endpoint else self._engine)
        done = advance(self._workspace, step, self._items, halt=self._halt)
        answers = self._answers(done, step.cut)
        write(self._workspace.path("answers", f"{model.name}.jsonl"), answers)
        if done.stopped or done.failed or done.pending:
            reason = done.stopped or next(iter(done.failed.values()), "answers are waited for")
            raise StopRunError(f"{model.name}: {len(done.items)} of {len(self._items)} answers are there: {reason}")
        return answers

    def _answers(self, done: Advance, cut: set[str]) -> list[Answer]:
        """In the order of the records; those that still fail are not among them."""
        given = {item.name: item.response for item in done.items}
        found = []
        for record in self.records:
            for sample in range(self._config.answers.samples):
                name = Item(record, sample).name
                reason = self._unread.get(record.id, done.rejected.get(name, ""))
                if name in given or reason:
                    found.append(Answer(record, sample, given.get(name), reason, name in cut))
        return found


def asks(endpoint: Endpoint) -> Ask:
    """Asks an endpoint for the text of a reply."""
    return lambda request: endpoint.complete(request).text


def write(file: Path, answers: list[Answer]) -> None:
    """Writes answers as JSON lines, with question and ground truth, for people and scripts."""
    lines = []
    for answer in answers:
        record = answer.record
        row = {"id": record.id, "sample": answer.sample, "question": record.question, "truth": record.truth}
        row |= {"kind": record.kind, "closed": record.closed, "answer": answer.text, "cut": answer.cut}
        row |= {"reason": answer.reason}
        lines.append(json.dumps(row, ensure_ascii=False))
    write_text(file, "".join(f"{line}\n" for line in lines))


def cut_and_unscored(items: Iterable[Measured]) -> tuple[int, Counter[str]]:
    """How many items have an answer that was cut off, and why samples have no value: no verdict, or no answer.

    Of the details that measures of answers write; of skipped items, neither counts.
    """
    cut, reasons = 0, Counter[str]()
    for detail in (json.loads(item.detail) for item in items if not item.skipped):
        cut += any(sample["cut"] for sample in detail["samples"])
        reasons.update(sample["reason"] for sample in detail["samples"] if sample.get("correct", True) is None)
        reasons.update(detail["no_answer"])
    return cut, reasons
