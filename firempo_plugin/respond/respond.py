"""The step that gets the model's response to a record's question."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..checkpoints import ADAPTER, fingerprint
from ..endpoint.endings import Endings
from ..endpoint.failures import StopRunError
from ..endpoint.requests import Ask, ChatRequest, Message
from ..errors import UserError
from ..records import Record, RejectedError
from ..sources.ids import Ids
from ..store.engine import Item, PendingError, Step
from .names import Names
from .read import PLACEHOLDERS
from .settings import STORED, RespondConfig

THOUGHT_START, THOUGHT_END = "<think>", "</think>"


class ChatEngine(Protocol):
    """A model in this process."""

    def respond(self, question: str, images: tuple[str, ...], system: str, temperature: float, max_tokens: int) -> str:
        """The model's answer."""


class WholeAnswers:
    """An engine whose answers are of use only where they end by themselves; see `Endings`."""

    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine
        self._endings = Endings("respond.endpoint.max_tokens")

    def respond(self, question: str, images: tuple[str, ...], system: str, temperature: float, max_tokens: int) -> str:
        """The model's answer."""
        return self._endings.of(lambda: self._engine.respond(question, images, system, temperature, max_tokens))


def read_responses(file: Path) -> Ids:
    """Responses by record id, with the source's name before a colon or without, from JSON lines of {id, response}.

    Raises:
        UserError: Names the line that lacks one of them or repeats an id.
    """
    from ..sources.files import read_jsonl

    responses = Ids()
    for number, row in enumerate(read_jsonl(file), start=1):
        key, response = row.get("id"), row.get("response")
        if not isinstance(key, str) or not isinstance(response, str):
            raise UserError(f"{file}: row {number}: expected the texts id and response, found {str(row)[:200]}")
        if not responses.add(key, response):
            raise UserError(f"{file}: row {number}: the id {key!r} is there twice; write one response per record")
    return responses


class RespondStep(Step):
    """The model's own answer to the question."""

    name = "respond"
    version = 1

    def __init__(self, config: RespondConfig, ask: Ask | None, engine: Callable[[], ChatEngine] | None) -> None:
        self._config = config
        self._ask = ask
        self._engine = engine
        self._loaded: ChatEngine | None = None
        self._recorded = read_responses(Path(config.file)) if config.file is not None else None
        if config.backend == "engine" and engine is not None and find_spec("llamafactory") is None:
            raise UserError("respond.backend: engine needs LLaMA-Factory, which is not installed; use endpoint")
        self.pace({"endpoint": config.endpoint.concurrency, "engine": 1}.get(config.backend))

    def depends_on(self, item: Item) -> dict[str, Any]:
        """Question, images and model; or the source's own response."""
        if self._config.backend in STORED:
            return {"response": self._known(item)}
        endpoint = self._config.endpoint
        return {
            # An answer has no schema, so that `structured` does not matter.
            "model": endpoint.identity | {"structured": ""} if self._config.backend == "endpoint" else self._in_process,
            "system": self._config.system,
            "question": item.record.question,
            "images": list(item.image_ids),
            "sample": item.sample,
        }

    @cached_property
    def _in_process(self) -> dict[str, Any]:
        """The engine's arguments and decoding, and what is in its adapters: training writes them anew in one place."""
        engine, endpoint = self._config.engine, self._config.endpoint
        named = engine.get("adapter_name_or_path") or ""
        adapters = [Path(name.strip()) for name in (named.split(",") if isinstance(named, str) else map(str, named))]
        content = [fingerprint(folder) for folder in adapters if (folder / ADAPTER).is_file()]
        known = {"adapter_content": content} if content else {}
        return {**engine, "temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens, **known}

    def run(self, item: Item) -> dict[str, Any]:
        """Raises RejectedError for an empty response or one that holds a placeholder; leaves out what it thought."""
        response = self._respond(item).rpartition(THOUGHT_END)[2].strip()
        if not response:
            raise RejectedError("empty response")
        held = [mark for mark in (*PLACEHOLDERS, THOUGHT_START) if mark in response]
        if held:
            raise RejectedError(f"placeholder in the response: {held[0]}")
        return {"response": response}

    def _respond(self, item: Item) -> str:
        record = item.record
        if self._config.backend in STORED:
            response = self._known(item)
            if response is None:
                where = "the source brings none" if self._recorded is None else f"{self._config.file} has none"
                raise RejectedError(f"no recorded response: {where} for this record")
            return response
        if self._config.backend == "endpoint":
            if self._ask is None:
                raise PendingError
            return self._ask(self.request(item))
        if self._engine is None:
            raise StopRunError("respond.backend: engine needs LLaMA-Factory; run it through the firempo command")
        self._loaded = self._loaded or self._engine()
        endpoint = self._config.endpoint
        assert endpoint.temperature is not None
        assert endpoint.max_tokens is not None
        return self._loaded.respond(
            record.question, item.images, self._config.system, endpoint.temperature, endpoint.max_tokens
        )

    def _known(self, item: Item) -> str | None:
        if self._config.backend == "truth":
            return item.record.truth
        if self._recorded is None:
            return item.record.response if item.sample == 0 else None
        response = self._recorded.get(item.name)
        return self._recorded.get(item.name.partition(":")[2]) if response is None else response

    def check(self, records: Iterable[Record]) -> None:
        """Refuses records of one name, and a file that has a response for none of them or more than are asked for.

        Raises:
            UserError: Names an id of each.
        """
        if self._config.samples == 1 and self._recorded is None:
            return
        first: str | None = None
        count = 0
        with closing(Names(self._config.samples)) as names:
            for record in records:
                count += 1
                first = first or record.id
                clash = names.add(record.id)
                if clash is not None:
                    other, name = clash
                    raise UserError(
                        f"the records {other!r} and {record.id!r} cannot be told apart where respond.samples is "
                        f"{self._config.samples}: {name} is a further response of one, and the id of the other; "
                        "rename one"
                    )
            if self._recorded is not None and first is not None:
                self._check_file(self._recorded, names, first, count)

    def _check_file(self, recorded: Ids, names: Names, first: str, count: int) -> None:
        source = first.partition(":")[0]
        beyond, fitting = [], False
        for key, response in recorded.items():
            full = [key, f"{source}:{key}"]
            if any(name in names for name in full):
                fitting = fitting or bool(response)
            elif any(names.is_further(name) for name in full):
                beyond.append(key)
        if beyond:
            raise UserError(
                f"respond.file: {self._config.file} has {len(beyond)} further responses that are not asked for, the "
                f"first is {beyond[0]!r}: with respond.samples: {self._config.samples} the responses of a record R are "
                f"{', '.join(['R', *(f'R/{n}' for n in range(1, self._config.samples))])}"
            )
        if not fitting:
            theirs = next(iter(recorded), None)
            raise UserError(
                f"respond.file: {self._config.file} has a response for none of the {count} records: its ids are "
                f"like {theirs!r}, theirs like {first!r}; what stands before the colon may be left out"
            )

    def request(self, item: Item) -> ChatRequest:
        """The question as it is sent."""
        system = (Message("system", self._config.system),) if self._config.system else ()
        return ChatRequest((*system, Message("user", item.record.question)), item.images, sample=item.sample)

    def apply(self, item: Item, data: dict[str, Any]) -> Item:
        """Fills in `response`."""
        return replace(item, response=data["response"])
