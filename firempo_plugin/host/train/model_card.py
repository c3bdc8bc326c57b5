"""The card beside every adapter: what it was trained on and how, what the run showed, what it is not for.

Names of local folders leave without their paths; no text and no image of the data is in it.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ...files import write_text
from ...pairs.audit import report as audit_report
from ...pairs.audit.style import Preference, audit
from .report import SAID, SETTINGS_FILE
from .signs import RunWatch

FILE = "README.md"
MOST_ROWS = 2000
"""Rows whose responses are looked at for the style gap."""
SHOWN = ("loss", "terms/", "rewards/", "phrase_tokens/", "noised_share")
"""What the names of metrics begin with that the card tells of."""
USE = (
    "Research use only. This model is no medical device, and no answer of it is fit for clinical decisions. Preference "
    "optimisation changes what a model says, not what it knows. It was trained on pairs whose ground truth nobody here "
    "has checked. The figures below are of training: accuracy, hallucination and the use of the image are to be "
    "measured on held-out data, as `firempo evaluate` does."
)
CITATION = """@misc{firempo2026,
  title         = {Analyzing and Improving Fine-grained Preference Optimization in Medical LVLMs},
  year          = {2026},
  eprint        = {2606.12590},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class Run:
    """What a card tells of.

    Attributes:
        name: Of the run's folder.
        base_model: A hub's name, or a folder's without its path.
        dataset: Names of the data sets.
        is_adapter: Whether the folder holds an adapter.
        effective: As `report.effective_settings` has them.
        training: Further settings, for people.
        history: The trainer's log.
        pairs: Responses of some rows.
    """

    name: str
    base_model: str
    dataset: str
    is_adapter: bool
    effective: Mapping[str, Any]
    training: Mapping[str, str]
    history: Sequence[Mapping[str, Any]]
    pairs: Sequence[Preference]


def write(trainer: Any, base_model: str, dataset: str) -> Path:
    """Writes the card of a finished run into its folder, over the one that libraries write there."""
    args, state = trainer.args, trainer.state
    folder = Path(args.output_dir)
    run = Run(
        name=folder.name,
        base_model=os.path.basename(os.path.abspath(base_model)) if os.path.isdir(base_model) else base_model,
        dataset=dataset,
        is_adapter=(folder / "adapter_config.json").is_file(),
        effective=json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")),
        training={
            "tuning": trainer.finetuning_args.finetuning_type,
            "learning rate": f"{args.learning_rate:g}, {args.lr_scheduler_type.value}",
            "optimiser steps": str(state.global_step),
            "epochs": f"{state.epoch or 0:.2f}",
            "rows a step": str(args.train_batch_size * args.gradient_accumulation_steps * args.world_size),
            "seed": str(args.seed),
        },
        history=state.log_history,
        pairs=list(islice(_pairs(trainer.train_dataset, trainer.processing_class), MOST_ROWS)),
    )
    write_text(folder / FILE, page(run))
    return folder / FILE


def _pairs(rows: Any, tokenizer: Any) -> Iterator[Preference]:
    """The responses of encoded rows as text."""
    for row in rows:
        chosen, rejected = (
            tokenizer.decode(row[f"{side}_ids"], skip_special_tokens=True) for side in ("chosen", "rejected")
        )
        yield Preference(chosen.strip(), rejected.strip())


def page(run: Run) -> str:
    """The card as Markdown, with what a hub reads at its head."""
    head = {
        "base_model": run.base_model,
        "library_name": "peft" if run.is_adapter else "transformers",
        "license": "other",
        "tags": ["llama-factory", "firempo-plugin", run.effective["fire_objective"], "preference-optimisation"],
    }
    counts = run.effective["rows"]
    keys = {key: value for key, value in run.effective.items() if key.startswith(("pref_", "fire_"))}
    numbers = {key: f"{value:g}" for key, value in keys.items() if isinstance(value, float)}
    parts = [
        f"# {run.name}",
        USE,
        "## What it was trained for",
        f"`{run.effective['fire_objective']}` ({run.effective['source']}): `{run.effective['formula']}`",
        f"By firempo-plugin ([FiRe-MPO](https://arxiv.org/abs/2606.12590) for LLaMA-Factory), from {run.base_model}.",
        _table(("key", "value"), {**numbers, **run.training}.items()),
        "## Data",
        f"`{run.dataset}`",
        _table(
            ("split", "rows", "with a noised image", "skipped", "shortened"),
            [(name, *(row[key] for key in ("rows", "noised", "skipped", "truncated"))) for name, row in counts.items()],
        ),
        *_style(run.pairs),
        "## What the run showed",
        _table(("metric", "first", "last"), _curves(run.history)),
        *_signs(run.history),
        "## Versions",
        ", ".join(f"{name} {number}" for name, number in run.effective["versions"].items()),
        "## Citation",
        f"```bibtex\n{CITATION}\n```",
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _table(titles: Sequence[str], rows: Any) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _style(pairs: Sequence[Preference]) -> list[str]:
    """The style gap of the rows that were looked at, with its warnings."""
    if not pairs:
        return []
    told = audit_report.table(audit(pairs, f"{len(pairs)} rows")).split("\n\n")[0]
    return [f"The style gap, of the responses as they were tokenised:\n\n```text\n{told}\n```"]


def _curves(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Every metric at the first and the last step that was logged."""
    names = dict.fromkeys(name for entry in history for name in entry if name.startswith(SHOWN))
    found = {name: [entry[name] for entry in history if name in entry] for name in names}
    return [(f"`{name}`", f"{values[0]:.4g}", f"{values[-1]:.4g}") for name, values in found.items()]


def _signs(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings that the log gave."""
    watch = RunWatch()
    found = [sign for entry in history if "loss" in entry for sign in watch.see(entry)]
    return [f"**Warning.** {SAID[sign.name].format(**sign.values)}" for sign in found]
