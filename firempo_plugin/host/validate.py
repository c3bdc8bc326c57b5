"""The row checks of training from the command line: every row is encoded, no model is loaded."""

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .arguments import STAGE, settings_of

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
    from omegaconf import OmegaConf

    with TemporaryDirectory() as scratch:
        given = OmegaConf.from_cli(overrides)
        written = OmegaConf.load(target) if Path(target).is_file() else _by_name(target, given, Path(scratch))
        config: Any = OmegaConf.to_container(OmegaConf.merge(written, given))
        if not isinstance(config, dict) or config.get("stage") != STAGE:
            raise ValueError(f"{target}: expected a training YAML with `stage: {STAGE}`, or the name of a data set")
        found = _examine({**config, **WITHOUT_A_MACHINE, "output_dir": scratch})
    print("\n".join(_summary(found)))
    if rejected is not None:
        from .admission import as_lines

        rejected.write_text(as_lines(found.problems), encoding="utf-8")
        print(f"{len(found.problems)} rows are listed in {rejected}")
    return UNSOUND if found.problems or not all(count.rows for count in found.counts.values()) else SOUND


def _by_name(name: str, given: Any, scratch: Path) -> dict[str, Any]:
    """The configuration that checks a data set without a training YAML."""
    config: dict[str, Any] = {"stage": STAGE, "do_train": True, "finetuning_type": "lora", "dataset": name}
    if "model_name_or_path" not in given:
        from ..demo import tiny_model

        tiny_model.build(scratch / "model")
        config |= {"model_name_or_path": str(scratch / "model"), "template": "qwen3_vl_nothink"}
        config |= {"cutoff_len": 131_072}
        print("No model is named: rows are encoded with a small tokeniser, and cutoff_len is not checked.\n")
    return config


def _examine(config: dict[str, Any]) -> Any:
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    from .admission import examine
    from .dataset import encoding_fingerprint

    model_args, data_args, training_args, finetuning_args, _ = get_train_args(config)
    tokens = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    rows = get_dataset(template, model_args, data_args, training_args, stage=STAGE, **tokens)
    encoding = encoding_fingerprint(data_args, tokens["tokenizer"], tokens["processor"])
    return examine(rows, settings_of(finetuning_args), encoding)


def _summary(found: Any) -> list[str]:
    lines = [f"{name}: {count}" for name, count in found.counts.items()]
    by_kind: dict[str, list[dict[str, str]]] = {}
    for entry in found.problems:
        by_kind.setdefault(kind_of(entry["problem"]), []).append(entry)
    kinds = Counter({kind: len(entries) for kind, entries in by_kind.items()})
    if kinds:
        lines += ["", f"{len(found.problems)} of {found.total} rows cannot be used:"]
    for kind, number in kinds.most_common():
        places = [entry["row"] for entry in by_kind[kind][:EXAMPLES]]
        more = f" and {number - EXAMPLES} more" if number > EXAMPLES else ""
        lines.append(f"{number:7}  {kind}\n         {'; '.join(places)}{more}")
    return lines


def kind_of(problem: str) -> str:
    """A problem without what differs from row to row: quoted words, paths and numbers."""
    without_quotes = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "...", problem)
    return re.sub(r"\d+", "N", without_quotes)
