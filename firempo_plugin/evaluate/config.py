"""The configuration of `firempo evaluate`: every key with its type, default and meaning, checked before anything runs.

Sources and endpoints are configured as for `firempo build`, and so are overrides.
"""

import re
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

from ..endpoint.settings import EndpointSettings
from ..errors import UserError
from ..settings import config_key, read, section
from ..sources.settings import SourceConfig
from .registry import JUDGES, MEASURES

DECIDED = ("model", "temperature", "max_tokens", "structured")
"""Keys of an endpoint that `models` and `answers` decide, or that no answer needs."""


@dataclass
class AnswersConfig:
    """How the models answer."""

    samples: int = config_key(1, "answers per question; Pass@k is measured for every k of pass_at up to it", least=1)
    pass_at: list[int] = config_key([1, 4], "the ks of Pass@k, with samples above 1", least=1)
    temperature: float | None = config_key(0.0, "0: greedy; null sends none to an endpoint", least=0, most=2)
    max_new_tokens: int | None = config_key(512, "longest answer; null sends none to an endpoint", least=1)
    system: str = config_key("", "system prompt")
    suffix: str = config_key("", "put behind every question, on a line of its own; it is part of the protocol")


@dataclass
class JudgeConfig:
    """Who decides whether an answer is right."""

    by: str = config_key("rules", JUDGES)
    vocabulary: str | None = config_key(None, "YAML file that adds opposites and synonyms")
    prompts: str | None = config_key(None, "folder with a verdict.md of your own")
    endpoint: EndpointSettings = section(EndpointSettings)


@dataclass
class CompareConfig:
    """Intervals and tests."""

    draws: int = config_key(10_000, "draws of the bootstrap", least=100)
    confidence: float = config_key(0.95, "of the intervals", above=0, below=1)
    seed: int = config_key(0, "of the draws", least=0)


@dataclass
class EvaluateConfig:
    """Everything, but the sections of single measures; see `config_class`."""

    workspace: str = config_key("", "folder of this evaluation; made if need be")
    measures: list[str] = config_key(["accuracy"], MEASURES)
    source: SourceConfig = section(SourceConfig)
    model: dict[str, Any] = config_key(
        {}, "LLaMA-Factory's inference arguments: model_name_or_path, template, ...; or write endpoint"
    )
    endpoint: EndpointSettings = section(EndpointSettings, DECIDED)
    models: dict[str, str | None] = config_key(
        {}, "name: adapter or checkpoint folder, null for the base; of an endpoint, the model's name there"
    )
    groups: dict[str, list[str]] = config_key({}, "row of the table: names of models, its seeds; default: a row each")
    baseline: str | None = config_key(None, "the row that the others are compared with")
    answers: AnswersConfig = section(AnswersConfig)
    judge: JudgeConfig = section(JudgeConfig)
    compare: CompareConfig = section(CompareConfig)
    max_cost: float | None = config_key(None, "stop before the calls cost more, in the currency of the prices", least=0)

    @property
    def by_endpoint(self) -> bool:
        """Whether the models are an endpoint's."""
        return not self.model

    @property
    def rows(self) -> dict[str, list[str]]:
        """Names of models by row of the table; a model in no group is a row of its own."""
        grouped = {name for names in self.groups.values() for name in names}
        return {**self.groups, **{name: [name] for name in self.models if name not in grouped}}

    def options(self, measure: str) -> dict[str, Any]:
        """The options of a measure, as they were written."""
        return dict(vars(self).get(measure, {}))


def config_class() -> type[EvaluateConfig]:
    """The configuration with a section for each measure that has options."""
    names = [name for name in MEASURES if MEASURES.load(name).options]
    sections = [(name, dict[str, Any], config_key({}, "options of the measure, see below")) for name in names]
    return make_dataclass("EvaluateConfig", sections, bases=(EvaluateConfig,))


def load(path: Path, overrides: list[str]) -> EvaluateConfig:
    """Reads a configuration file with `section.key=value` overrides.

    Raises:
        UserError: The file is missing or broken, a key is unknown, or a value cannot be. Names the key and what to
            write.
    """

    def name_models(given: dict[str, Any]) -> None:
        if isinstance(given.get("models"), list):
            given["models"] = {str(name): str(name) for name in given["models"]}

    config = read(path, overrides, config_class(), "evaluate", name_models)
    for problem in problems(config):
        raise UserError(f"{path}: {problem}")
    for name in config.measures:
        try:
            MEASURES.load(name).read(config.options(name))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return config


def problems(config: EvaluateConfig) -> list[str]:
    """What is wrong with a configuration, each with what to write."""
    checks = (*_measure_checks(config), *_model_checks(config), *_answer_checks(config))
    return [message for fine, message in checks if not fine]


def _measure_checks(config: EvaluateConfig) -> list[tuple[bool, str]]:
    of_answers = [name for name in MEASURES if MEASURES.load(name).of_answers]
    answered = [name for name in config.measures if name in of_answers]
    evidence = [name for name in config.measures if name not in of_answers]
    unasked = [name for name in MEASURES if config.options(name) and name not in config.measures]
    judged = not JUDGES.load(config.judge.by).asks or bool(config.judge.endpoint.model)
    return [
        (bool(config.workspace), "workspace is missing; write the folder where the evaluation keeps its work"),
        (bool(config.measures), f"measures is empty; write some of: {', '.join(MEASURES)}"),
        (not answered or bool(config.source.name), f"source.name is missing; {answered} need records to answer"),
        (bool(answered) or not config.source.name, f"source is given, and none of {', '.join(of_answers)} is measured"),
        (not (evidence and config.by_endpoint), f"measures: {evidence} look into the model; write model, no endpoint"),
        (not unasked, f"{unasked} have options, and measures does not name them"),
        (judged, "judge.endpoint.model is missing; write the model's name"),
    ]


def _model_checks(config: EvaluateConfig) -> list[tuple[bool, str]]:
    known = ", ".join(config.models)
    strange = [name for name in config.models if not re.fullmatch(r"[\w.+-]+", name)]
    absent = [name for names in config.groups.values() for name in names if name not in config.models]
    empty = [row for row, names in config.groups.items() if not names]
    twice = [row for row, names in config.groups.items() if len(set(names)) < len(names)]
    unnamed = [name for name, place in config.models.items() if config.by_endpoint and not place]
    shared = [
        row
        for row, names in config.rows.items()
        if config.baseline not in (None, row) and set(names) & set(config.rows.get(config.baseline or "", []))
    ]
    grouped = {name for names in config.groups.values() for name in names}
    clash = [row for row in config.groups if row in config.models and row not in grouped]
    return [
        (bool(config.models), "models is missing; write name: folder for each, and null for the base model"),
        (
            config.by_endpoint or config.endpoint == EndpointSettings(),
            "model and endpoint are given; write one of them: model loads the models here, endpoint asks a server",
        ),
        (not unnamed, f"models.{unnamed} need the endpoint's name of the model; or give model_name_or_path in model"),
        (
            config.by_endpoint or "model_name_or_path" in config.model,
            "model.model_name_or_path is missing; write the base model",
        ),
        (
            "adapter_name_or_path" not in config.model,
            "model.adapter_name_or_path is given; name adapters under models, each with its own name",
        ),
        (not strange, f"models: {strange} must be of letters, digits and _ . + -: files are named by them"),
        (not absent, f"groups: {absent} are no models; known: {known}"),
        (not empty, f"groups: {empty} have no models; known: {known}"),
        (not twice, f"groups: {twice} name a model twice"),
        (not clash, f"groups: {clash} are also models of no group, which are rows of their own; name them otherwise"),
        (not shared, f"groups: {shared} have models of the baseline; a comparison needs other models"),
        (
            config.baseline is None or config.baseline in config.rows,
            f"baseline is {config.baseline!r}, which is no row; known: {', '.join(config.rows)}",
        ),
    ]


def _answer_checks(config: EvaluateConfig) -> list[tuple[bool, str]]:
    answers = config.answers
    return [
        (
            answers.samples == 1 or answers.temperature != 0,
            "answers.samples needs answers.temperature above 0: greedy answers are equal",
        ),
        (
            config.by_endpoint or None not in (answers.temperature, answers.max_new_tokens),
            "answers: null, for what is not sent, needs endpoint in the place of model",
        ),
    ]
