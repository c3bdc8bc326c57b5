"""The configuration of `firempo build`: every key with its type, default and meaning, checked before anything runs.

A YAML file over these defaults, `section.key=value` overrides over the file. Unknown keys are refused. Options that
only one source, segmenter or model understands sit in `options` and are checked by it.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from .tiles import MAX_PIXELS

Config = TypeVar("Config")


def config_key(default: Any, meaning: str) -> Any:
    """A key of a configuration: a dataclass field with its default and what `--help` says of it."""
    if isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata={"help": meaning})
    return field(default=default, metadata={"help": meaning})


@dataclass
class SourceConfig:
    """Where the records come from."""

    name: str = config_key("", "vqa_rad, slake, iu_xray, llava_med, mmedpo or table")
    options: dict[str, Any] = config_key({}, "what the source needs: folder, split, language, columns, ...")
    limit: int | None = config_key(None, "read so many records at most")
    test_images: str | None = config_key(None, "folder or list of test images: records that show one are leaks")
    leaks: str = config_key("refuse", "what to do with leaks: refuse (reject the record) or report")
    window: list[float] | None = config_key(None, "low, high grey value of images deeper than 8 bits; else min and max")
    max_pixels: int = config_key(
        64_000_000, "refuse images of more pixels; reading one takes up to 12 bytes for each, 768 MB"
    )


@dataclass
class ModelConfig:
    """An OpenAI-compatible endpoint."""

    base_url: str = config_key("http://127.0.0.1:8000/v1", "address of the endpoint")
    model: str = config_key("", "model name as the endpoint knows it")
    key_env: str | None = config_key(None, "NAME of the environment variable that holds the key, which is never stored")
    temperature: float = config_key(0.0, "0: greedy")
    max_tokens: int = config_key(512, "longest reply")
    timeout: float = config_key(120.0, "seconds for one call")
    concurrency: int = config_key(8, "calls at a time")
    requests_per_minute: int | None = config_key(None, "rate limit")
    tokens_per_minute: int | None = config_key(None, "rate limit")
    retries: int = config_key(6, "of a call that failed for now")
    structured: str = config_key("auto", "json_schema, json_object, none, or auto: what the endpoint accepts")
    price_in: float | None = config_key(None, "price of a million prompt tokens")
    price_out: float | None = config_key(None, "price of a million completion tokens")
    extra_body: dict[str, Any] = config_key({}, "more fields of the request")


@dataclass
class RespondConfig:
    """The model's own answers."""

    backend: str = config_key(
        "recorded", "recorded (the source's own), endpoint, or engine (LLaMA-Factory, in process)"
    )
    file: str | None = config_key(
        None, "with backend: recorded, JSON lines of {id, response} for a source that brings none"
    )
    samples: int = config_key(1, "responses per record; one pair each")
    system: str = config_key("", "system prompt")
    endpoint: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "with backend: endpoint"})
    engine: dict[str, Any] = config_key({}, "with backend: engine, LLaMA-Factory's inference arguments")


@dataclass
class EditConfig:
    """The judge that decides and edits."""

    judge: str = config_key("rules", "rules (built in), endpoint, or batch (OpenAI Batch API)")
    rules_first: bool = config_key(True, "let the rules decide what they can; saves calls")
    scope: str = config_key("response", "response, or answer_sentence: train on that sentence only")
    max_words: int = config_key(8, "most words that an edit may change")
    max_share: float = config_key(0.6, "largest share of a sentence's words that an edit may change")
    max_words_per_sentence: int = config_key(3, "most words changed in a sentence of a report")
    batch_tokens: int | None = config_key(
        None, "with judge: batch, most prompt tokens in open batches; the account's limit"
    )
    prompts: str | None = config_key(None, "folder with prompts of your own")
    vocabulary: str | None = config_key(None, "YAML file that adds opposites and synonyms")
    endpoint: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "with judge: endpoint or batch"})


@dataclass
class TargetConfig:
    """What the noise should hide."""

    by: str = config_key("rules", "rules, or judge: the endpoint of the edit step")


@dataclass
class SegmentConfig:
    """Where it is."""

    by: str = config_key("none", "none (the whole image is noised), file, box, sam3 or http")
    options: dict[str, Any] = config_key({}, "what the segmenter needs")


@dataclass
class NoiseConfig:
    """The noised image."""

    corruption: str = config_key("noise", "noise, crop, black or blur")
    whole_image: bool = config_key(False, "ablation: corrupt the whole image whatever the target")
    sigma: float = config_key(45.0, "standard deviation of the noise, 0-255 scale")
    fallback_sigma: float = config_key(12.0, "of the whole-image noise where a target was not found")
    shared: bool = config_key(
        False, "one noise an image: records with the same image and mask get the same noised image"
    )
    workers: int = config_key(2, "images at a time")


@dataclass
class ExportConfig:
    """The dataset."""

    format: str = config_key("llamafactory", "llamafactory, swift or trl")
    folder: str = config_key("", "where to write; default: export/ in the workspace")
    name: str = config_key("fire_mpo_pairs", "name of the dataset")
    images: str = config_key(
        "copy",
        "copy (into the export's folder), link (hard links there: who changes one changes the original), or absolute "
        "(left where they are: the export cannot be moved)",
    )
    options: dict[str, Any] = config_key({}, "what the format understands: file_format, model, template, ...")
    decisions: str | None = config_key(None, "JSON file of accept/reject marks from the review page")


@dataclass
class BuildConfig:
    """Everything."""

    workspace: str = config_key("", "folder of this build; made if need be")
    source: SourceConfig = field(default_factory=SourceConfig)
    respond: RespondConfig = field(default_factory=RespondConfig)
    edit: EditConfig = field(default_factory=EditConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    max_cost: float | None = config_key(None, "stop before the calls cost more, in the currency of the prices")


CHOICES: dict[str, tuple[str, ...]] = {
    "source.name": ("vqa_rad", "slake", "iu_xray", "llava_med", "mmedpo", "table"),
    "source.leaks": ("refuse", "report"),
    "respond.backend": ("recorded", "endpoint", "engine"),
    "edit.judge": ("rules", "endpoint", "batch"),
    "edit.scope": ("response", "answer_sentence"),
    "target.by": ("rules", "judge"),
    "segment.by": ("none", "file", "box", "sam3", "http"),
    "noise.corruption": ("noise", "crop", "black", "blur"),
    "export.format": ("llamafactory", "swift", "trl"),
    "export.images": ("copy", "link", "absolute"),
    "respond.endpoint.structured": ("auto", "json_schema", "json_object", "none"),
    "edit.endpoint.structured": ("auto", "json_schema", "json_object", "none"),
}

LEAST: dict[str, float] = {
    "source.limit": 1,
    "source.max_pixels": 1,
    "respond.samples": 1,
    "edit.max_words": 1,
    "edit.max_words_per_sentence": 1,
    "edit.batch_tokens": 1,
    "noise.workers": 1,
    "noise.sigma": 0,
    "noise.fallback_sigma": 0,
    "max_cost": 0,
}


def load(path: Path, overrides: list[str]) -> BuildConfig:
    """Reads a configuration file with `section.key=value` overrides.

    Raises:
        UserError: The file is missing or broken, a key is unknown, a value has the wrong type or is not among its
            choices, or `workspace` or `source.name` is missing. Names the key and what to write.
    """
    config = read(path, overrides, BuildConfig, "build")
    _check(config, path)
    return config


def read(
    path: Path,
    overrides: list[str],
    kind: type[Config],
    command: str,
    prepare: Callable[[dict[str, Any]], None] = lambda given: None,
) -> Config:
    """Reads a configuration file with `section.key=value` overrides into a dataclass; checks keys and types.

    Args:
        path: The file.
        overrides: Over it.
        kind: The dataclass.
        command: Of `firempo`, for messages.
        prepare: Brings what was written, its keys checked, into the form that the dataclass takes.

    Raises:
        UserError: The file is missing or broken, a key is unknown, or a value has the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        raise UserError(f"{path} does not exist; write `firempo {command} CONFIG.yaml`")
    try:
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise UserError(f"{path} must hold keys and values")
        plain: Any = OmegaConf.to_container(OmegaConf.merge(loaded, _from_overrides(overrides)), resolve=True)
        _refuse_unknown(plain, kind, "", path)
        prepare(plain)
        config: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), plain))
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {error.full_key or ''}: {str(error).splitlines()[0]}") from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from error
    assert isinstance(config, kind)
    return config


def _from_overrides(overrides: list[str]) -> Any:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    for override in overrides:
        if "=" not in override:
            raise UserError(f"{override!r} is no override; write section.key=value")
        try:
            OmegaConf.from_dotlist([override])
        except YAMLError as error:
            hint = "quote a text that YAML reads otherwise: key='\"text\"'"
            raise UserError(f"the value of {override.partition('=')[0]} is no YAML; {hint}") from error
    return OmegaConf.from_dotlist(overrides)


def _refuse_unknown(given: dict[Any, Any], kind: type, place: str, path: Path) -> None:
    known = {part.name: part.type for part in fields(kind)}
    for key, value in given.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {place}{close[0]}?" if close else f"known: {', '.join(known)}"
            raise UserError(f"{path}: unknown key {place}{key}; {hint}")
        nested = known[key]
        if isinstance(nested, type) and is_dataclass(nested):
            if not isinstance(value, dict):
                raise UserError(f"{path}: {place}{key} must hold keys and values, found {value!r}")
            _refuse_unknown(value, nested, f"{place}{key}.", path)


def _check(config: BuildConfig, path: Path) -> None:
    for key in ("workspace", "source.name"):
        if not value_of(config, key):
            raise UserError(f"{path}: {key} is missing; write where the build keeps its work and what it reads")
    for key, choices in CHOICES.items():
        if value_of(config, key) not in choices:
            raise UserError(f"{path}: {key} is {value_of(config, key)!r}; write one of: {', '.join(choices)}")
    for key, least in LEAST.items():
        value = value_of(config, key)
        if value is not None and not least <= value < math.inf:
            raise UserError(f"{path}: {key} must be at least {least}, found {value}")
    if not 0 < config.edit.max_share <= 1:
        raise UserError(f"{path}: edit.max_share must lie in (0, 1], found {config.edit.max_share}")
    window = config.source.window
    if window is not None and not (len(window) == 2 and window[0] < window[1]):
        raise UserError(f"{path}: source.window must be two grey values, the lower first, found {window}")
    if config.source.max_pixels > MAX_PIXELS:
        raise UserError(
            f"{path}: source.max_pixels must be at most {MAX_PIXELS}, found {config.source.max_pixels}; "
            "the trainer refuses larger images"
        )
    if config.respond.file is not None and config.respond.backend != "recorded":
        raise UserError(f"{path}: respond.file needs respond.backend: recorded; the model answers otherwise")
    if config.respond.samples > 1 and config.respond.backend == "recorded":
        raise UserError(f"{path}: respond.samples needs respond.backend: endpoint or engine")
    if config.respond.samples > 1 and config.respond.endpoint.temperature == 0:
        raise UserError(f"{path}: respond.samples needs respond.endpoint.temperature above 0: greedy ones are equal")
    needs_model = {
        "respond.endpoint": config.respond.backend == "endpoint",
        "edit.endpoint": config.edit.judge != "rules" or config.target.by == "judge",
    }
    for key, needed in needs_model.items():
        if needed and not value_of(config, f"{key}.model"):
            raise UserError(f"{path}: {key}.model is missing; write the model's name")


def value_of(config: BuildConfig, key: str) -> Any:
    """The value at a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = vars(value)[part]
    return value


def describe(kind: type = BuildConfig, place: str = "") -> list[str]:
    """One line for every key: its name, its default and its meaning."""
    lines: list[str] = []
    for part in fields(kind):
        if isinstance(part.type, type) and is_dataclass(part.type):
            lines += describe(part.type, f"{place}{part.name}.")
        else:
            default = getattr(kind(), part.name)
            lines.append(f"{place + part.name:36} {default!s:24} {part.metadata['help']}")
    return lines
