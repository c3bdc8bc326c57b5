"""The configuration of `firempo build`: every key with its type, default and meaning, checked before anything runs.

Options that only one source, segmenter or format understands sit in `options` and are checked by it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..endpoint.settings import EndpointSettings
from ..errors import UserError
from ..images.settings import NoiseConfig
from ..respond.settings import STORED, RespondConfig
from ..settings import MissingSettingError, WrongSettingError, config_key, read, section
from ..sources.settings import SourceConfig
from .exporters.common import refuse_name
from .exporters.registry import FORMATS
from .judges.error_types import ERROR_TYPES
from .judges.registry import JUDGES
from .scores.registry import SCORES
from .segmenters.registry import SEGMENTERS
from .steps.registry import PAIRINGS


@dataclass
class EditConfig:
    """How pairs come about, and the judge that decides and edits."""

    how: str = config_key("minimal", PAIRINGS)
    judge: str = config_key("rules", JUDGES)
    rules_first: bool = config_key(True, "let the rules decide what they can; saves calls")
    report: Literal["whole", "findings"] = config_key(
        "whole",
        "whole, or findings: one pair for each statement that the edit changes, with noise on its own evidence",
    )
    scope: Literal["response", "answer_sentence"] = config_key(
        "response", "response, or answer_sentence: train on that sentence only"
    )
    max_words: int = config_key(8, "most words that an edit may change", least=1)
    max_share: float = config_key(0.6, "largest share of a sentence's words that an edit may change", above=0, most=1)
    max_words_per_sentence: int = config_key(3, "most words changed in a sentence of a report", least=1)
    batch_tokens: int | None = config_key(
        None, "with judge: batch, most prompt tokens in open batches; the account's limit", least=1
    )
    prompts: str | None = config_key(None, "folder with prompts of your own")
    vocabulary: str | None = config_key(None, "YAML file that adds opposites and synonyms")
    endpoint: EndpointSettings = section(EndpointSettings)


@dataclass
class RankConfig:
    """How responses to one record are compared, with `edit.how: best_worst`."""

    by: str = config_key("rouge_l", SCORES)
    gap: float = config_key(0.0, "the best response must score higher than the worst by more than this", least=0)


@dataclass
class LabelConfig:
    """What kind of error an edit makes or mends."""

    by: Literal["none", "rules", "judge"] = config_key(
        "none",
        f"none, rules, or judge (the endpoint of the edit step, where the rules cannot say); a column error_type of "
        f"the rows: {', '.join(ERROR_TYPES)}",
    )

    @property
    def asks(self) -> bool:
        """Whether a model is asked."""
        return self.by == "judge"


@dataclass
class SpansConfig:
    """What of the responses is scored: the phrases."""

    of: Literal["words", "response", "sentences"] = config_key(
        "words",
        "words (those that differ), response (all of it), or sentences (Mask-DPO: of chosen those that the ground "
        "truth supports, of rejected those that it contradicts)",
    )
    by: Literal["rules", "judge"] = config_key(
        "rules", "with of: sentences, rules, or judge: the endpoint of the edit step, where the rules cannot say"
    )

    @property
    def asks(self) -> bool:
        """Whether a model is asked."""
        return self.of == "sentences" and self.by == "judge"


@dataclass
class TargetConfig:
    """What the noise should hide."""

    by: Literal["rules", "judge"] = config_key("rules", "rules, or judge: the endpoint of the edit step")

    @property
    def asks(self) -> bool:
        """Whether a model is asked."""
        return self.by == "judge"


@dataclass
class SegmentConfig:
    """Where it is."""

    by: str = config_key("none", SEGMENTERS)
    options: dict[str, Any] = config_key({}, "what the segmenter needs")


@dataclass
class ExportConfig:
    """The dataset."""

    format: str = config_key("llamafactory", FORMATS)
    folder: str = config_key("", "where to write; default: export/ in the workspace")
    name: str = config_key("fire_mpo_pairs", "name of the dataset")
    images: Literal["copy", "link", "absolute"] = config_key(
        "copy",
        "copy (into the export's folder), link (hard links there: who changes one changes the original), or absolute "
        "(left where they are: the export cannot be moved)",
    )
    options: dict[str, Any] = config_key({}, "what the format understands: file_format, model, template, ...")
    decisions: str | None = config_key(None, "JSON file of accept/reject marks from the review page")
    most: dict[str, int] = config_key(
        {}, "most pairs of a kind of error, which label.by names, such as {presence: 500}", least=0
    )
    share: dict[str, float] = config_key(
        {}, "largest share of a kind of error among the pairs, such as {presence: 0.3}", least=0, below=1
    )

    def __post_init__(self) -> None:
        for key, quotas in (("most", self.most), ("share", self.share)):
            for name in quotas:
                if name not in ERROR_TYPES:
                    raise UserError(f"{key}.{name} is no kind of error; they are {', '.join(ERROR_TYPES)}")


@dataclass
class ActorsConfig:
    """The actors of one step."""

    actors: int = config_key(0, "processes that make the step; 0: the command itself makes it", least=0)
    num_cpus: float = config_key(1.0, "CPUs that Ray keeps for each", least=0)
    num_gpus: float = config_key(0.0, "GPUs that Ray keeps for each, or a share of one", least=0)
    batch: int | None = config_key(None, "items that one is given at a time; null: as many as without Ray", least=1)


@dataclass
class RayConfig:
    """Where Ray is, and which steps its actors make."""

    address: str = config_key(
        "local",
        "local (Ray is started on this machine for the time of the build), auto (the one that runs here already), or "
        "host:port of a cluster that this machine is part of",
    )
    read: ActorsConfig = section(ActorsConfig)
    edit: ActorsConfig = section(ActorsConfig)
    target: ActorsConfig = section(ActorsConfig)
    segment: ActorsConfig = section(ActorsConfig)
    noise: ActorsConfig = section(ActorsConfig)

    @property
    def steps(self) -> dict[str, ActorsConfig]:
        """Those of the steps that actors make."""
        return {name: one for name, one in vars(self).items() if isinstance(one, ActorsConfig) and one.actors}


@dataclass
class BuildConfig:
    """Everything."""

    workspace: str = config_key("", "folder of this build; made if need be")
    source: SourceConfig = section(SourceConfig)
    respond: RespondConfig = section(RespondConfig)
    edit: EditConfig = section(EditConfig)
    rank: RankConfig = section(RankConfig)
    label: LabelConfig = section(LabelConfig)
    spans: SpansConfig = section(SpansConfig)
    target: TargetConfig = section(TargetConfig)
    segment: SegmentConfig = section(SegmentConfig)
    noise: NoiseConfig = section(NoiseConfig)
    export: ExportConfig = section(ExportConfig)
    executor: Literal["local", "ray"] = config_key(
        "local", "local (threads of the command), or ray: actors of a Ray cluster make the steps that the section names"
    )
    ray: RayConfig = section(RayConfig)
    max_cost: float | None = config_key(None, "stop before the calls cost more, in the currency of the prices", least=0)

    @property
    def objective(self) -> str:
        """The `fire_objective` that the pairs are made for."""
        of = self.spans.of
        if self.edit.how != "minimal" or of == "response":
            return "dpo"
        if of == "sentences":
            return "mask_dpo"
        return "re_align" if self.noise.by == "similar" else "fire_mpo"

    @property
    def asks_judge(self) -> bool:
        """Whether the model of `edit.endpoint` is asked."""
        judged = PAIRINGS.load(self.edit.how).judged and JUDGES.load(self.edit.judge).asks
        return judged or self.label.asks or self.spans.asks or self.target.asks


def load(path: Path, overrides: list[str]) -> BuildConfig:
    """Reads a configuration file with `section.key=value` overrides.

    Raises:
        UserError: The file is missing or broken, a key is unknown, a value has the wrong type or is not among its
            choices, or `workspace` or `source.name` is missing. Names the key and what to write.
    """
    config = read(path, overrides, BuildConfig, "build")
    try:
        check(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


def check(config: BuildConfig) -> None:
    """Refuses values that do not go together.

    Raises:
        UserError: Names the key and what to write.
    """
    for key in ("workspace", "source.name"):
        if not value_of(config, key):
            raise UserError(f"{key} is missing; write where the build keeps its work and what it reads")
    for key in ("workspace", "export.folder"):
        if value_of(config, key).startswith("~"):
            raise WrongSettingError(key, "a path without ~, which only a shell replaces", value_of(config, key))
    if config.respond.file is not None and config.respond.backend != "recorded":
        raise UserError("respond.file needs respond.backend: recorded; the model answers otherwise")
    recorded = config.respond.backend in STORED
    if config.respond.samples > 1 and recorded and config.respond.file is None:
        raise UserError("respond.samples needs respond.backend: endpoint or engine, or a respond.file")
    if config.respond.samples > 1 and config.respond.endpoint.temperature == 0 and not recorded:
        raise UserError("respond.samples needs respond.endpoint.temperature above 0: greedy ones are equal")
    decoding = (config.respond.endpoint.temperature, config.respond.endpoint.max_tokens)
    if config.respond.backend == "engine" and None in decoding:
        raise UserError("respond.endpoint: null, for what is not sent, needs respond.backend: endpoint")
    noise = config.noise
    if noise.corruption != "noise" and config.segment.by == "none" and not noise.whole_image:
        raise UserError(
            f"noise.corruption: {noise.corruption} has no effect without masks; name them with segment.by, or "
            "write noise.whole_image: true"
        )
    if config.edit.how == "best_worst" and config.respond.samples < 2:
        raise UserError("edit.how: best_worst needs respond.samples of at least 2, such as 4")
    if config.rank != RankConfig() and config.edit.how != "best_worst":
        raise UserError("rank compares responses with edit.how: best_worst alone; leave it out, or write that")
    if config.edit.report == "findings" and (config.edit.how != "minimal" or config.spans.of != "words"):
        raise UserError(
            "edit.report: findings needs edit.how: minimal and spans.of: words; a pair is about one statement"
        )
    if config.spans.by == "judge" and config.spans.of != "sentences":
        raise UserError(f"spans.by: judge has no effect with spans.of: {config.spans.of}; leave it out")
    if config.edit.how != "minimal" and config.label.by != "none":
        raise UserError("label.by needs edit.how: minimal; other pairs differ by more than an error")
    if config.edit.how == "priors" and config.spans.of == "sentences":
        raise UserError("spans.of: sentences needs edit.how: minimal or best_worst; here words are taken away")
    if (config.export.most or config.export.share) and config.label.by == "none":
        raise UserError("export.most and export.share need label.by: rules or judge, which names the kinds")
    refuse_name(config.export.name)
    needs_model = {
        "respond.endpoint": config.respond.backend == "endpoint",
        "edit.endpoint": config.asks_judge,
    }
    for key, needed in needs_model.items():
        if needed and not value_of(config, f"{key}.model"):
            raise MissingSettingError(f"{key}.model", "model's name")
    if config.executor == "ray":
        _check_actors(config)


def _check_actors(config: BuildConfig) -> None:
    """Refuses actors for steps whose work only the command itself can do."""
    if not config.ray.steps:
        raise UserError("executor: ray has nothing to do; say how many actors make a step, such as ray.noise.actors: 2")
    segment = config.segment.by
    stays = {
        "edit": ("it asks a model", PAIRINGS.load(config.edit.how).judged and JUDGES.load(config.edit.judge).asks),
        "target": ("it asks a model", config.target.asks),
        "segment": (
            f"segment.by: {segment} runs no model",
            segment == "none" or not SEGMENTERS.load(segment).portable,
        ),
        "noise": ("noise.by: similar compares all images", config.noise.by == "similar"),
    }
    for name, (reason, is_so) in stays.items():
        if name in config.ray.steps and is_so:
            raise UserError(f"ray.{name}.actors: {reason}, so that the command itself makes the step; write 0")


def value_of(config: BuildConfig, key: str) -> Any:
    """The value at a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = vars(value)[part]
    return value
