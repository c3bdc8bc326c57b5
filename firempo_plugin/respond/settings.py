"""Who answers: the section `respond` of a build."""

from dataclasses import dataclass
from typing import Any, Literal

from ..endpoint.settings import EndpointSettings
from ..settings import config_key, section

STORED = ("recorded", "truth")
"""Backends that ask no model."""


@dataclass
class RespondConfig:
    """The model's own answers."""

    backend: Literal["recorded", "endpoint", "engine", "truth"] = config_key(
        "recorded",
        "recorded (the source's own), endpoint, engine (LLaMA-Factory, in process), or truth (the ground truth itself, "
        "off policy: such as reports for edit.how: priors)",
    )
    file: str | None = config_key(
        None,
        "with backend: recorded, JSON lines of {id, response} for a source that brings none; "
        "an id is the record's, with or without the source's name before it (table:7 or 7), and of a further "
        "response, with samples, 7/1, 7/2, ...",
    )
    samples: int = config_key(
        1, "responses per record; one pair each, or with edit.how: best_worst one of all", least=1
    )
    system: str = config_key("", "system prompt")
    endpoint: EndpointSettings = section(EndpointSettings)
    engine: dict[str, Any] = config_key({}, "with backend: engine, LLaMA-Factory's inference arguments")
