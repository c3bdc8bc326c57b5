"""The row checks of training from the command line: every row is encoded, no model is loaded."""

import difflib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import UserError
from ..settings import from_overrides, written
from ..terminal import say
from .arguments import STAGE, settings_of
from .autoload import switched_off
from .data.processor import shrunk_first
from .data.reasons import kinds_of
from .sentences import refused_by_the_host
from .train.model_class import refuse_class
from .train.workflow import refuse_unsupported

SOUND, UNSOUND = 0, 1
EXAMPLES = 3
KINDS = 8
"""Kinds of problems that one screen shows."""
REASON_LENGTH = 200
VERBOSITY = "LLAMAFACTORY_VERBOSITY"
"""The host's variable: how much it logs."""

WITHOUT_A_MACHINE = {
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "pure_bf16": False,
    "deepspeed": None,
    "fsdp": "",
    "report_to": "none",
    "overwrite_output_dir": True,
    "resume_from_checkpoint": None,
}
"""What a training YAML may ask of a machine, and a check of rows does not need."""


def validate(target: str, overrides: list[str], rejected: Path | None) -> int:
    """Checks the rows of a training YAML, or of a data set by its name in dataset_info.json.

    Args:
        target: The YAML file, or the name; a name is checked with a small built-in tokeniser, unless
            `model_name_or_path` and `template` are among the overrides.
        overrides: key=value, as `llamafactory-cli train` takes them.
        rejected: Where to list the rows that cannot be used; None: nowhere.

    Returns:
        0 where every row can be used, else 1.

    Raises:
        UserError: The configuration or a data set cannot be read; says what to do.
    """
    with TemporaryDirectory() as scratch, quiet_host():
        config, builtin = open_config(target, overrides, Path(scratch))
        run = start({"preprocessing_num_workers": os.cpu_count(), **config}, scratch)
        found = _examine(run)
    if builtin:
        say("No model is named: rows are encoded with a small tokeniser, and cutoff_len is not checked.", "")
    if warning := shrunk_first(run.tokens["processor"]):
        say(warning, "")
    say(*(f"{name}: {count}" for name, count in found.counts.items()))
    if rejected is not None:
        from .data.admission import as_lines

        rejected.write_text(as_lines(found.problems), encoding="utf-8")
        say(f"{len(found.problems)} rows are listed in {rejected}")
    say(*verdict(found.problems, found.total))
    return UNSOUND if found.problems or not all(count.rows for count in found.counts.values()) else SOUND


def open_config(target: str, overrides: list[str], scratch: Path) -> tuple[dict[str, Any], bool]:
    """The training configuration of a YAML file, or one that names a data set.

    Args:
        target, overrides: See `validate`.
        scratch: Where to write the built-in tokeniser, for a name without a model.

    Returns:
        The configuration, and whether it has the built-in tokeniser.

    Raises:
        UserError: It is no configuration of this stage.
    """
    from omegaconf import OmegaConf

    if cause := switched_off():
        raise UserError(cause)
    _refuse_missing_file(Path(target))
    if Path(target).is_file():
        config, builtin = written(Path(target), overrides, resolve=False), False
    else:
        given: Any = OmegaConf.to_container(from_overrides(overrides))
        builtin = "model_name_or_path" not in given
        config = {**_by_name(target), **(builtin_tokenizer(scratch) if builtin else {}), **given}
    if config.get("stage") != STAGE:
        raise UserError(f"{target}: expected a training YAML with `stage: {STAGE}`, or the name of a data set")
    return config, builtin


def _refuse_missing_file(target: Path) -> None:
    """Raises UserError for what is written as a file is, and is none; names those that are there."""
    as_file = target.suffix in (".yaml", ".yml", ".json") or len(target.parts) > 1
    if target.is_file() or not as_file:
        return
    there = sorted(path.name for path in target.parent.glob("*.y*ml")) if target.parent.is_dir() else []
    close = difflib.get_close_matches(target.name, there, n=1)
    hint = f"; did you mean {target.parent / close[0]}?" if close else ""
    listed = f"; {target.parent.absolute()} has: {', '.join(there[: EXAMPLES * 5])}" if there and not close else ""
    raise UserError(f"{target} does not exist{hint}{listed}")


@contextmanager
def quiet_host() -> Iterator[None]:
    """Silences the host's logs and bars, unless LLAMAFACTORY_VERBOSITY asks for them: errors come as exceptions."""
    if VERBOSITY in os.environ:
        yield
        return
    import datasets
    import transformers

    logs = [logging.getLogger(name) for name in ("llamafactory", "bitsandbytes")]
    logs += [transformers.logging.get_logger(), datasets.logging.get_logger()]
    before = [log.level for log in logs]
    os.environ[VERBOSITY] = "ERROR"
    for log in logs:
        log.setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        transformers.logging.enable_progress_bar()
        datasets.enable_progress_bars()
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
        del os.environ[VERBOSITY]


def _by_name(name: str) -> dict[str, Any]:
    return {"stage": STAGE, "do_train": True, "finetuning_type": "lora", "dataset": name}


def builtin_tokenizer(scratch: Path) -> dict[str, Any]:
    """Keys of a configuration that encodes rows without a model of the user's; writes it below a folder."""
    from ..demo import tiny_model

    folder = scratch / "model"
    tiny_model.build(folder)
    return {"model_name_or_path": str(folder), "template": "qwen3_vl_nothink", "cutoff_len": 131_072}


@dataclass(frozen=True)
class Run:
    """What a training configuration makes of itself, short of datasets and model.

    Attributes:
        model_args, data_args, training_args, finetuning_args, template: The host's.
        tokens: The host's `tokenizer` and `processor` by these names.
    """

    model_args: Any
    data_args: Any
    training_args: Any
    finetuning_args: Any
    template: Any
    tokens: dict[str, Any]


def start(config: dict[str, Any], output_dir: str) -> Run:
    """Reads a training configuration and loads its tokeniser as training does, on any machine."""
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    config = {**config, **WITHOUT_A_MACHINE, "output_dir": output_dir}
    with refused_by_the_host():
        model_args, data_args, training_args, finetuning_args, _ = get_train_args(config)
        refuse_unsupported(model_args, data_args, training_args, finetuning_args)
        refuse_class(model_args, data_args)
        tokens = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    return Run(model_args, data_args, training_args, finetuning_args, template, tokens)


def check(config: dict[str, Any]) -> None:
    """Refuses keys of a training YAML that training would refuse before it loads rows or a model.

    Raises:
        UserError: In one sentence.
    """
    if cause := switched_off():
        raise UserError(cause)
    with TemporaryDirectory() as scratch, quiet_host():
        start(config, scratch)


def _examine(run: Run) -> Any:
    from llamafactory.data import get_dataset

    from .data.admission import examine
    from .data.dataset import encoding_fingerprint

    with redirect_stdout(StringIO()):  # the example that training shows
        rows = get_dataset(run.template, run.model_args, run.data_args, run.training_args, stage=STAGE, **run.tokens)
    encoding = encoding_fingerprint(run.data_args, **run.tokens)
    return examine(rows, settings_of(run.finetuning_args), encoding)


def verdict(problems: list[dict[str, str]], total: int) -> list[str]:
    """One screen that counts the rows that cannot be used by kind of problem, the most frequent first; the sum last.

    Args:
        problems: Of every such row its place in the data ("row") and why it cannot be used ("problem").
        total: All rows.
    """
    places: dict[str, list[str]] = {}
    for entry in problems:
        for kind in kinds_of(entry["problem"]):
            places.setdefault(kind, []).append(entry["row"])
    lines = [""]
    for kind, rows in sorted(places.items(), key=lambda item: -len(item[1]))[:KINDS]:
        more = f" and {len(rows) - EXAMPLES} more" if len(rows) > EXAMPLES else ""
        short = kind if len(kind) <= REASON_LENGTH else f"{kind[:REASON_LENGTH]}..."
        lines += [f"{len(rows):7}  {short}", f"         {'; '.join(rows[:EXAMPLES])}{more}"]
    if len(places) > KINDS:
        lines.append(
            f"         and {len(places) - KINDS} more kinds of problems; `firempo validate --rejected FILE` lists all"
        )
    return [
        *lines,
        f"{len(problems)} of {total} rows cannot be used." if problems else f"All {total} rows can be used.",
    ]
