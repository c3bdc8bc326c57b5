"""What a measure is: all that configuration, run, table and `--help` have to know of it, said in its own file."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..records import Kind
from ..settings import checked
from ..store.halt import Halt
from ..store.workspace import Workspace, later
from .answers import Answer
from .config import EvaluateConfig
from .store import Stored


@dataclass(frozen=True)
class Column:
    """A metric over the items of one kind, or over all.

    Attributes:
        title: As the table shows it.
        metric: Which values.
        kind: Of the items; "" for all.
        scale: What the shown figures are multiplied by: 100 for shares in percent.
        higher_is_better: None where neither is.
        corpus: Whether the figure is one of all items together, without an interval.
        measure: Whose; filled in by the table.
    """

    title: str
    metric: str
    kind: str = ""
    scale: float = 1.0
    higher_is_better: bool | None = True
    corpus: bool = False
    measure: str = ""

    @property
    def heading(self) -> str:
        """The title with the direction that is better."""
        return self.title + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]


class Work:
    """A measure of answers, ready for a run; what cannot work is refused when it is made.

    Attributes:
        protocol: Choices behind the numbers.
        versions: Of code elsewhere that decides them, by name.
        more: What else they depend on, and the answers do not say.
    """

    protocol: dict[str, Any]
    versions: Mapping[str, int] = {}
    more: tuple[Any, ...] = ()

    def measure(self, answers: list[Answer]) -> Stored:
        """Items, and figures of all together, of a model's answers, which are grouped by record."""
        raise NotImplementedError


@dataclass(frozen=True)
class Measure:
    """Something that is measured of every model.

    Attributes:
        name: As the configuration and the registry call it.
        version: Raised when other values come of the same inputs.
        columns: The metrics that are known beforehand, in their order.
        other: The column of another metric, by its name and whether it is one of all items together.
        options: Dataclass of the section of its name, made by `config_key`; None where it has none.
        choices: What cannot be set, in words.
        of_answers: Makes it ready to measure answers; None where it looks into the model, as only the host can.
        reads: The kind of records whose answers it measures; None where it looks into the model.
        by_layer: Whether its items' `detail` holds the values of every decoder layer.
    """

    name: str
    version: int
    columns: tuple[Column, ...] = ()
    other: Callable[[str, bool], Column] = lambda metric, corpus: Column(metric, metric, corpus=corpus)
    options: type[Any] | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    of_answers: Callable[[EvaluateConfig, Workspace, Any, Halt], Work] | None = None
    reads: Kind | None = None
    by_layer: bool = False

    def read(self, options: dict[str, Any]) -> Any:
        """The options, checked.

        Raises:
            UserError: A key is unknown or missing, or a value cannot be.
        """
        return checked(self.options, options, f"{self.name}.") if self.options else None

    def protocol(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the numbers of a look into a model depend on besides that model and its arguments, as JSON can hold it.

        Raises:
            UserError: See `read`.
        """
        chosen = asdict(self.read(options)) | options  # numbers as they were written
        chosen = {name: value for name, value in chosen.items() if value != {}}  # options that were not there once
        if isinstance(chosen.get("records"), list):
            chosen["records"] = f"a list of {len(chosen['records'])}"
        written: dict[str, Any] = json.loads(json.dumps(chosen))
        return {"measure": self.name, **written, "choices": self.choices, **later(version=self.version)}
