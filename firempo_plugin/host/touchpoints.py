"""The places where LLaMA-Factory is extended: what must be there, and what is added.

All places are checked in the host's source before the first of them is changed, so a host that has moved
is refused as a whole and never half-extended.
"""

import ast
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

SUPPORTED_HOSTS = "llamafactory>=0.9.5,<0.9.6"


@dataclass(frozen=True)
class TouchPoint:
    """One host module that we extend.

    Attributes:
        module: The module, below `llamafactory.`.
        needs: What its source must define: `NAME`, `Class.member` or `function(first, parameters)`.
        extend: `module:function` of this subpackage that extends it; None where we only call it.
    """

    module: str
    needs: tuple[str, ...]
    extend: str | None = None


TOUCH_POINTS = (
    TouchPoint(
        "extras.constants",
        (
            "TRAINING_STAGES",
            "STAGES_USE_PAIR_DATA",
            "TRAINER_LOG",
            "IGNORE_INDEX",
            "IMAGE_PLACEHOLDER",
            "VIDEO_PLACEHOLDER",
            "AUDIO_PLACEHOLDER",
        ),
        "arguments:extend_constants",
    ),
    TouchPoint("hparams.model_args", ("ModelArguments",), "arguments:extend_model_arguments"),
    TouchPoint(
        "hparams.finetuning_args",
        ("FinetuningArguments.stage", "FinetuningArguments.__post_init__", "RLHFArguments.pref_beta"),
        "arguments:extend_finetuning_arguments",
    ),
    TouchPoint(
        "hparams.parser",
        (
            "_parse_args(parser, args, allow_extra_keys)",
            "read_args(args)",
            "get_train_args(args)",
            "get_infer_args(args)",
        ),
        "train.unknown_keys:extend_parser",
    ),
    TouchPoint(
        "data.parser",
        ("DatasetAttr.join", "DatasetAttr.__repr__", "get_dataset_list(dataset_names, dataset_dir)"),
        "data.dataset:extend_parser",
    ),
    TouchPoint(
        "data.converter",
        (
            "DATASET_CONVERTERS",
            "DatasetConverter._find_medias",
            "align_dataset(dataset, dataset_attr, data_args, training_args)",
        ),
        "data.dataset:extend_converter",
    ),
    TouchPoint(
        "data.loader",
        (
            "_load_single_dataset(dataset_attr, model_args, data_args, training_args)",
            "_get_merged_dataset(dataset_names, model_args, data_args, training_args, stage, return_dict)",
            "_get_preprocessed_dataset(dataset, data_args, training_args, stage, template, tokenizer)",
            "get_dataset(template, model_args, data_args, training_args, stage)",
            "merge_dataset",
        ),
        "data.dataset:extend_loader",
    ),
    TouchPoint(
        "model.loader",
        (
            "load_tokenizer(model_args)",
            "load_config(model_args)",
            "load_model(tokenizer, model_args, finetuning_args, is_trainable)",
            "patch_processor",
        ),
        "data.processor:extend_loader",
    ),
    TouchPoint(
        "train.tuner",
        (
            "_training_function(config)",
            "run_exp(args, callbacks)",
            "Worker._training_function",
            "get_train_args",
            "is_ray_available",
            "dist",
            "LogCallback",
            "PissaConvertCallback",
            "get_swanlab_callback",
            "EarlyStoppingCallback",
            "TorchProfilerCallback",
            "ModuleProfilerCallback",
            "ReporterCallback",
        ),
        "train.workflow:extend_tuner",
    ),
    TouchPoint(
        "chat.hf_engine",
        ("HuggingfaceEngine._process_args(model, tokenizer, processor, template, generating_args, messages)",),
        "chat.engine:extend_engine",
    ),
    TouchPoint("chat.chat_model", ("ChatModel",)),
    TouchPoint(
        "extras.ploting",
        ("gen_loss_plot(trainer_log)", "smooth(scalars)", "plot_loss(save_dictionary, keys)"),
        "board.monitor:extend_ploting",
    ),
    TouchPoint("webui.common", ("_clean_cmd(args)", "gen_cmd(args)", "save_cmd(args)"), "board.runner:extend_common"),
    TouchPoint("webui.locales", ("LOCALES",), "board.texts:extend_locales"),
    TouchPoint(
        "webui.control",
        (
            "change_stage(training_stage)",
            "get_model_info(model_name)",
            "list_checkpoints(model_name, finetuning_type)",
            "get_trainer_info(lang, output_path, do_train)",
        ),
        "board:extend_control",
    ),
    TouchPoint(
        "webui.runner",
        (
            "Runner._initialize(self, data, do_train, from_preview)",
            "Runner._parse_train_args(self, data)",
            "Runner._build_config_dict(self, data)",
            "Runner.load_args(self, lang, config_path)",
            "Runner.check_output_dir(self, lang, model_name, finetuning_type, output_dir)",
        ),
        "board.runner:extend_runner",
    ),
    TouchPoint("webui.components.train", ("create_train_tab(engine)",), "board.section:extend_train_tab"),
    TouchPoint("webui.components.data", ("can_preview(dataset_dir, dataset)",)),
    TouchPoint("webui.manager", ("Manager.get_base_elems", "Manager.get_elem_by_id", "Manager.get_id_by_elem")),
    TouchPoint(
        "data.template",
        (
            "Template.encode_oneturn",
            "Template._convert_elements_to_ids",
            "Template.format_assistant",
            "Template.efficient_eos",
            "Template.mm_plugin",
            "get_template_and_fix_tokenizer(tokenizer, data_args)",
        ),
    ),
    TouchPoint(
        "data.mm_plugin",
        (
            "BasePlugin.process_messages(self, messages, images, videos, audios, processor)",
            "BasePlugin.process_token_ids(self, input_ids, labels, images, videos, audios, tokenizer, processor)",
            "BasePlugin.get_mm_inputs(self, images, videos, audios, imglens, vidlens, audlens, batch_ids, processor)",
            "MMPluginMixin._regularize_images(self, images)",
            "MMPluginMixin.image_token",
        ),
    ),
    TouchPoint("model.model_utils.visual", ("COMPOSITE_MODELS",)),
    TouchPoint("data.collator", ("MultiModalDataCollatorForSeq2Seq.__call__",)),
    TouchPoint("train.callbacks", ("LogCallback._write_log", "LogCallback.on_log", "SaveProcessorCallback")),
    TouchPoint(
        "train.trainer_utils",
        (
            "create_ref_model(model_args, finetuning_args)",
            "create_custom_optimizer(model, training_args, finetuning_args)",
            "create_custom_scheduler(training_args, num_training_steps, optimizer)",
            "create_modelcard_and_push(trainer, model_args, data_args, training_args, finetuning_args)",
        ),
    ),
)


class UnsupportedHost(ImportError):  # noqa: N818 - read by users as a sentence
    """The installed LLaMA-Factory lacks a touch point; the message names it and the supported range."""


def extend(module: ModuleType) -> None:
    """Runs our addition to a hooked host module, whose body has just run."""
    for point in TOUCH_POINTS:
        if module.__name__ == f"llamafactory.{point.module}" and point.extend:
            where, function = point.extend.split(":")
            getattr(importlib.import_module(f".{where}", __package__), function)(module)


@lru_cache(maxsize=1)
def require_supported_host() -> None:
    """Checks every touch point once a process.

    Raises:
        UnsupportedHost: At least one has moved.
    """
    missing = list(missing_points())
    if missing:
        raise UnsupportedHost(
            f"firempo-plugin cannot extend LLaMA-Factory {host_version()}: {'; '.join(missing)}. "
            f"It supports {SUPPORTED_HOSTS}: run `pip install '{SUPPORTED_HOSTS}'`, or set FIREMPO_DISABLE=1 "
            "to use LLaMA-Factory without the fire_mpo stage. Nothing was changed."
        )


def host_version() -> str:
    """The installed LLaMA-Factory version, or 'not installed'."""
    try:
        return importlib.metadata.version("llamafactory")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def missing_points(points: tuple[TouchPoint, ...] = TOUCH_POINTS) -> Iterator[str]:
    """Yields a sentence for every touch point that the installed host's source lacks. Imports nothing."""
    for point in points:
        path = _host_file(point.module)
        if path is None:
            yield f"llamafactory.{point.module} is not there"
            continue
        defined = _definitions(ast.parse(path.read_text(encoding="utf-8")))
        for need in point.needs:
            name, _, parameters = need.rstrip(")").partition("(")
            if name not in defined:
                yield f"llamafactory.{point.module}.{name} is not there"
            elif not _same_start(parameters, defined[name]):
                found = ", ".join(defined[name])
                yield f"llamafactory.{point.module}.{need} now takes ({found})"


def _same_start(expected: str, found: tuple[str, ...]) -> bool:
    names = tuple(name for name in expected.split(", ") if name)
    return found[: len(names)] == names


def _host_file(module: str) -> Path | None:
    package = importlib.util.find_spec("llamafactory")
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0], *module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _definitions(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Top-level names and class members of a module, functions with their parameter names."""
    defined: dict[str, tuple[str, ...]] = {}
    for node in tree.body:
        for name, parameters in _names(node):
            defined[name] = parameters
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                for name, parameters in _names(member):
                    defined[f"{node.name}.{name}"] = parameters
    return defined


def _names(node: ast.stmt) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.FunctionDef):
        yield node.name, tuple(argument.arg for argument in node.args.args)
    elif isinstance(node, ast.ClassDef):
        yield node.name, ()
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, ()
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, ()
