"""The row checks of training from the command line: every row is encoded, no model is loaded."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .arguments import STAGE, settings_of
from .processor import shrunk_first
from .reasons import kind_of
from .workflow import refuse_unsupported

SOUND, UNSOUND = 0, 1
EXAMPLES = 3

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
        ValueError: The configuration or a data set cannot be read; says what to do.
    """
    with TemporaryDirectory() as scratch:
        config, builtin = open_config(target, overrides, Path(scratch))
        if builtin:
            print("No model is named: rows are encoded with a small tokeniser, and cutoff_len is not checked.\n")
        run = start(config, scratch)
        found = _examine(run)
    if warning := shrunk_first(run.tokens["processor"]):
        print(f"{warning}\n")
    print("\n".join(_summary(found)))
    if rejected is not None:
        from .admission import as_lines

        rejected.write_text(as_lines(found.problems), encoding="utf-8")
        print(f"{len(found.problems)} rows are listed in {rejected}")
    return UNSOUND if found.problems or not all(count.rows for count in found.counts.values()) else SOUND


def open_config(target: str, overrides: list[str], scratch: Path) -> tuple[dict[str, Any], bool]:
    """The training configuration of a YAML file, or one that names a data set.

    Args:
        target, overrides: See `validate`.
        scratch: Where to write the built-in tokeniser, for a name without a model.

    Returns:
        The configuration, and whether it has the built-in tokeniser.

    Raises:
        ValueError: It is no configuration of this stage.
    """
    from omegaconf import OmegaConf

    given = OmegaConf.from_cli(overrides)
    builtin = not Path(target).is_file() and "model_name_or_path" not in given
    written = OmegaConf.load(target) if Path(target).is_file() else _by_name(target)
    tokenizer = builtin_tokenizer(scratch) if builtin else {}
    config: Any = OmegaConf.to_container(OmegaConf.merge(written, tokenizer, given))
    if not isinstance(config, dict) or config.get("stage") != STAGE:
        raise ValueError(f"{target}: expected a training YAML with `stage: {STAGE}`, or the name of a data set")
    return config, builtin


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
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(config)
    refuse_unsupported(model_args, data_args, training_args, finetuning_args)
    tokens = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    return Run(model_args, data_args, training_args, finetuning_args, template, tokens)


def _examine(run: Run) -> Any:
    from llamafactory.data import get_dataset

    from .admission import examine
    from .dataset import encoding_fingerprint

    rows = get_dataset(run.template, run.model_args, run.data_args, run.training_args, stage=STAGE, **run.tokens)
    encoding = encoding_fingerprint(run.data_args, **run.tokens)
    return examine(rows, settings_of(run.finetuning_args), encoding)


def _summary(found: Any) -> list[str]:
    return [*(f"{name}: {count}" for name, count in found.counts.items()), *by_reason(found.problems, found.total)]


def by_reason(problems: list[dict[str, str]], total: int) -> list[str]:
    """Lines that count the rows that cannot be used by kind of problem, the most frequent first.

    Args:
        problems: Of every such row its place in the data ("row") and why it cannot be used ("problem").
        total: All rows.
    """
    places: dict[str, list[str]] = {}
    for entry in problems:
        places.setdefault(kind_of(entry["problem"]), []).append(entry["row"])
    lines = ["", f"{len(problems)} of {total} rows cannot be used:"] if problems else []
    for kind, rows in sorted(places.items(), key=lambda item: -len(item[1])):
        more = f" and {len(rows) - EXAMPLES} more" if len(rows) > EXAMPLES else ""
        lines.append(f"{len(rows):7}  {kind}\n         {'; '.join(rows[:EXAMPLES])}{more}")
    return lines
