"""The configuration of `firempo align`: one file from records to an aligned model, checked before anything runs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..checkpoints import ADAPTER
from ..errors import UserError
from ..evaluate import config as evaluating
from ..evaluate.registry import MEASURES
from ..pairs import config as building
from ..pairs.config import BuildConfig
from ..scrub import scrub
from ..settings import checked, config_key, overridden, section, written
from .adapters import plain_settings
from .policy import Mode, Policy

SECTIONS = ("build", "train", "evaluate")
PAIRS = "pairs"
"""Name of a round's data set, and of its folder."""
INFERENCE = (
    *("template", "trust_remote_code", "image_max_pixels", "image_min_pixels", "cutoff_len", "default_system"),
    *("enable_thinking", "preserve_thinking", "flash_attn", "rope_scaling", "model_revision", "cache_dir"),
    *("quantization_bit", "quantization_method", "quantization_type", "double_quantization"),
    *("use_fast_tokenizer", "split_special_tokens", "resize_vocab", "add_tokens", "add_special_tokens"),
    *("new_special_tokens_config", "init_special_tokens", "crop_to_patches", "image_do_pan_and_scan"),
)
"""Keys of `train` that also decide how the model answers."""
STAGE = "fire_mpo"
CONTRARY = {
    "build": {"respond.file": "the model of each round answers", "export.decisions": "pairs are new in every round"},
    "train": {
        **dict.fromkeys(
            ("create_new_adapter", "ref_model", "ref_model_adapters", "resume_from_checkpoint"),
            "`adapter` and `reference` decide it",
        ),
        **dict.fromkeys(("val_size", "eval_dataset"), "`evaluate` says what validation is; all pairs are trained on"),
        "max_samples": "all pairs of a round are trained on; build.source.limit makes fewer",
    },
    "evaluate": {"endpoint": "the model of each round is loaded here", "groups": "each round is a row"},
}
"""Keys that would say what the rounds decide, and how they decide it. Places of files they set without a word."""
SECRET = re.compile(r"_(?:token|api_key|secret|password)$")
"""Names of keys that hold secrets, such as the host's for hubs and trackers."""
UNMERGED = ("quantization_bit", "use_unsloth", "use_kt")
"""Keys of `train` with which the host merges no adapter, and goes on with it where a new one is asked for; as it does
under DeepSpeed's ZeRO-3."""


@dataclass
class WatchConfig:
    """What ends the rounds, because answers or pairs are no longer what they were; null: not watched."""

    words: float | None = config_key(
        0.5, "most that the mean length of answers may change, as a share of the base model's", above=0, below=1
    )
    unread: float | None = config_key(
        0.1, "most that the share of answers without a value may rise above the base model's", least=0, most=1
    )
    repeated: float | None = config_key(
        0.05, "most that the share of answers that say four words three times may rise likewise", least=0, most=1
    )
    saturated: float | None = config_key(
        0.98,
        "reward accuracy, over the first quarter of a round's training, that ends the rounds; of 50 pairs or more",
        above=0,
        most=1,
    )


@dataclass
class AlignConfig:
    """Everything."""

    folder: str = config_key("", "where all rounds are kept; made if need be")
    build: Any = config_key(
        None, "a file for `firempo build`, or its keys here; each round's model answers, in process"
    )
    train: Any = config_key(
        None, "a file for `llamafactory-cli train`, or its keys here; data and output are the rounds'"
    )
    evaluate: Any = config_key(None, "a file for `firempo evaluate`, or its keys here: a validation split")
    rounds: int = config_key(3, "most rounds", least=1)
    adapter: Mode = config_key(
        "stack",
        "stack: each round trains an adapter of its own, and all together are one folder; continue: one adapter is "
        "trained on; merge: each round trains on a merged checkpoint",
    )
    reference: Literal["previous", "base"] = config_key(
        "previous", "previous: the model at the start of a round; base: that of the first one"
    )
    overlap: Literal["refuse", "report"] = config_key(
        "refuse", "what to do where validation shows an image or a study that training shows, too"
    )
    metric: str = config_key("accuracy.judged", "measure.metric that the rounds are to raise, on validation")
    patience: int = config_key(
        2, "stop after so many rounds in a row that are no rise over the last one that was", least=1
    )
    confidence: float = config_key(
        0.95, "of the paired bootstrap's interval, which must lie above 0 for a rise", above=0, below=1
    )
    drop_margin: float | None = config_key(
        None,
        "leave out pairs whose answer was right already and whose phrases it prefers by more than this, in nats; null: "
        "keep all",
    )
    watch: WatchConfig = section(WatchConfig)

    @property
    def base(self) -> Policy:
        """The model before the first round."""
        return Policy(str(self.train["model_name_or_path"]), self.train.get("adapter_name_or_path") or None)

    @property
    def inference(self) -> dict[str, Any]:
        """The host's arguments with which the model answers, as training has them."""
        return {key: self.train[key] for key in INFERENCE if key in self.train}


def load(path: Path, overrides: list[str]) -> AlignConfig:
    """Reads a configuration file with `section.key=value` overrides; a section that is a file is read, too.

    Raises:
        UserError: A file is missing or broken, a key is unknown, or a value cannot be. Names the key and what to write.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; write `firempo align CONFIG.yaml`")
    given = written(path, [], resolve=False)
    for name in SECTIONS:
        if isinstance(given.get(name), str):
            given[name] = _section_of_file(path, name, Path(given[name]))
    merged = overridden(path, given, overrides, resolve=True)
    try:
        config = checked(AlignConfig, merged)
        _check(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


def _section_of_file(path: Path, name: str, file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"{path}: {name}: {file} does not exist; paths are seen from the folder of the command")
    return written(file, [], resolve=False)


def _check(config: AlignConfig) -> None:
    if not config.folder:
        raise UserError("folder is missing; write where the rounds are to be kept")
    if "," in config.folder:
        raise UserError(f"folder: {config.folder} has a comma, which the host takes for an end of an adapter's place")
    if Path(config.folder).exists() and not Path(config.folder).is_dir():
        raise UserError(f"folder: {config.folder} is no folder; write where the rounds are to be kept")
    for name in SECTIONS:
        if not isinstance(vars(config)[name], dict):
            raise UserError(f"{name} is missing; write a file's name, or the keys themselves")
        _refuse_secrets(name, vars(config)[name])
        for key, why in CONTRARY[name].items():
            if _at(vars(config)[name], key) not in (None, False, {}):
                raise UserError(f"{name}.{key} cannot be used: {why}")
    _check_training(config)
    _check_build(config)
    rows = checked(evaluating.config_class(), evaluate_keys(config, [config.base]), "evaluate.")
    for problem in evaluating.problems(rows):
        raise UserError(f"evaluate: {problem}")
    measure = config.metric.partition(".")[0]
    if measure not in rows.measures or "." not in config.metric:
        measured = ", ".join(rows.measures)
        raise UserError(f"metric is {config.metric!r}; write measure.metric of one that evaluate measures: {measured}")
    if rows.options(measure).get("dataset_dir") == str(_pairs_folder(config, 1)):
        raise UserError(
            f"metric is {config.metric}, of pairs that the rounds train on; write a metric of records, or "
            f"evaluate.{measure}.dataset and dataset_dir of pairs that are held out"
        )


def _refuse_secrets(place: str, values: Mapping[str, Any]) -> None:
    """Of what is written into files of the rounds."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            _refuse_secrets(f"{place}.{key}", value)
        elif isinstance(value, str) and value and (SECRET.search(str(key)) or scrub(value) != value):
            raise UserError(
                f"{place}.{key} holds what looks like a key or a token, and would be written into the folder; leave it "
                "out, and put it into the environment or log in with the service's own command"
            )


def _check_build(config: AlignConfig) -> None:
    build = checked(BuildConfig, build_keys(config, 1, config.base), "build.")
    try:
        building.check(build)
    except UserError as error:
        raise UserError(f"build.{error}") from None
    if build.export.format != "llamafactory":
        raise UserError(f"build.export.format is {build.export.format}; the rounds train with llamafactory")


def _check_training(config: AlignConfig) -> None:
    train = config.train
    if not train.get("model_name_or_path"):
        raise UserError("train.model_name_or_path is missing; write the model that the rounds begin with")
    if train.get("stage", STAGE) != STAGE:
        raise UserError(f"train.stage is {train['stage']!r}; the rounds train with {STAGE}")
    adapter = train.get("adapter_name_or_path")
    if not isinstance(adapter, str | None) or "," in (adapter or ""):
        raise UserError("train.adapter_name_or_path names several adapters; merge them first (llamafactory-cli export)")
    if adapter and not (Path(adapter) / ADAPTER).is_file():
        raise UserError(f"train.adapter_name_or_path: {adapter} holds no {ADAPTER}; expected a folder with an adapter")
    deepspeed = train.get("deepspeed")
    if isinstance(deepspeed, str) and not Path(deepspeed).is_file():
        raise UserError(f"train.deepspeed: {deepspeed} does not exist; paths are seen from the folder of the command")
    if train.get("finetuning_type", "lora") == "full" and config.adapter != "merge":
        raise UserError(f"adapter: {config.adapter} needs an adapter; with finetuning_type: full write adapter: merge")
    if config.adapter == "stack":
        _check_stack(train)
    if config.adapter != "continue":
        _check_merging(train)


def _check_merging(train: Mapping[str, Any]) -> None:
    """Refuses what the host merges no adapter into."""
    for key in [*(key for key in UNMERGED if train.get(key)), *(["deepspeed"] if _is_zero_3(train) else [])]:
        raise UserError(
            f"adapter: stack and merge need a model into which the host merges an adapter, and train.{key}: "
            f"{train[key]} keeps it from that; write adapter: continue with reference: base"
        )


def _is_zero_3(train: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed's third stage shards the weights; of full tuning, which has no adapter, it does not matter."""
    given = train.get("deepspeed")
    if isinstance(given, str):
        try:
            given = json.loads(Path(given).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"train.deepspeed: {given} is no JSON: {error}") from error
    stage = _at(given, "zero_optimization.stage")
    return bool(stage == 3 and train.get("finetuning_type") != "full")


def _check_stack(train: Mapping[str, Any]) -> None:
    """Refuses what cannot be written as one LoRA adapter."""
    plain = {"finetuning_type": "lora", "use_dora": False, "additional_target": None, "pissa_init": False}
    for key, value in plain.items():
        if (train.get(key) or value) != value:
            raise UserError(f"adapter: stack needs plain LoRA, and train.{key} is {train[key]!r}; write adapter: merge")
    if train.get("adapter_name_or_path"):
        plain_settings(Path(train["adapter_name_or_path"]))


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def build_keys(config: AlignConfig, number: int, policy: Policy) -> dict[str, Any]:
    """The keys of a round's `firempo build`: all rounds share one workspace, so that only what is new is made.

    Their data sets share its image files, too, unless the configuration says otherwise: copies would fill disks.
    """
    respond = dict(config.build.get("respond") or {})
    engine = {**config.inference, **(respond.get("engine") or {}), **policy.arguments}
    export = dict(config.build.get("export") or {})
    options = {
        "model": config.base.checkpoint,
        "template": config.train.get("template"),
        **(export.get("options") or {}),
    }
    export["options"] = {key: value for key, value in options.items() if value is not None} | {"file_format": "json"}
    place = {"folder": str(_pairs_folder(config, number)), "name": PAIRS}
    return {
        **config.build,
        "workspace": str(Path(config.folder, "build")),
        "respond": {**respond, "backend": "engine", "engine": engine},
        "export": {"images": "link", **export, **place},
    }


def evaluate_keys(config: AlignConfig, policies: Sequence[Policy]) -> dict[str, Any]:
    """The keys of `firempo evaluate` over all rounds until now; measures that want pairs get the first round's."""
    given = dict(config.evaluate)
    base = config.base.checkpoint
    model = {**config.inference, **(given.get("model") or {}), "model_name_or_path": base}
    places = [one.adapter or (one.checkpoint if one.checkpoint != base else None) for one in policies]
    given |= {"workspace": str(Path(config.folder, "evaluate")), "model": model, "baseline": row_of(0)}
    given["models"] = {row_of(number): place for number, place in enumerate(places)}
    first = {"dataset": PAIRS, "dataset_dir": str(_pairs_folder(config, 1))}
    for name in [name for name in given.get("measures") or () if name in MEASURES]:
        options = MEASURES.load(name).options
        known = {key.name for key in fields(options)} if options else set()
        own = (first if "dataset" in known else {}) | ({"reference": base} if "reference" in known else {})
        if own:
            given[name] = own | dict(given.get(name) or {})
    return given


def _pairs_folder(config: AlignConfig, number: int) -> Path:
    return Path(config.folder, "rounds", str(number), PAIRS)


def row_of(number: int) -> str:
    """What a round is called in the evaluation."""
    return f"round-{number}" if number else "base"
