"""The `firempo` command. Each subcommand imports what it needs, so that `--help` is quick."""

import argparse
import io
import math
import os
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import Any

from . import __version__
from .errors import UserError
from .terminal import say

STEP_HELP = {
    "respond": "let the model answer",
    "edit": "let the judge decide and edit",
    "label": "name the kind of error",
    "spans": "mark what of the responses is scored",
    "target": "name what the noise should hide",
    "segment": "find it on the images",
    "noise": "write the noised images",
    "export": "write the dataset of the pairs that are there",
}
CONVERT_HELP = (
    "make a LLaVA of HuatuoGPT-Vision-7B or LLaVA-Med v1.5, or an adapter of SAM 3 of MedSAM3, as first released"
)
CONVERT_MORE = (
    "Needs neither network nor GPU, and of memory little more than the start: tensors are copied by their bytes. Every "
    "tensor is accounted for by name before anything is written, and TARGET appears whole or not at all."
)
CONVERT_SOURCE = (
    "the folder of the model as first released; of MedSAM3 its file of LoRA weights, or the folder that holds it as "
    "best_lora_weights.pt"
)
HOST_COMMANDS = ("train", "chat", "api", "eval", "webchat", "webui")
NO_READER = 141
"""What a shell gives for a command whose reader went away, as `| head` does."""


def doctor(args: argparse.Namespace) -> int:
    from .host.doctor import examine

    return examine(args.training)


def init(args: argparse.Namespace) -> int:
    from .starter import write

    return write(args.folder)


def demo(args: argparse.Namespace) -> int:
    from .demo.run import run

    return run(args.folder, steps=args.steps)


def convert(args: argparse.Namespace) -> int:
    from .convert import commands, medsam3

    file = medsam3.file_of(args.source)
    others = ("back", "vision_tower") if file else ("alpha", "checkpoint")
    idle = [f"--{name.replace('_', '-')}" for name in others if vars(args)[name] is not None]
    if idle:
        held = (
            f"{file} is taken for LoRA weights"
            if file
            else f"{args.source} is no file of LoRA weights, and no folder with {medsam3.RELEASED}"
        )
        raise UserError(f"{' and '.join(idle)} cannot be used: {held}")
    if file:
        return medsam3.convert(file, args.target, args.alpha, args.checkpoint)
    if args.back is not None:
        return commands.back(args.source, args.target, args.back, args.vision_tower)
    return commands.convert(args.source, args.target, args.vision_tower)


def build(args: argparse.Namespace) -> int:
    from .pairs import commands

    if args.dry_run:
        return commands.dry_run(args.config, args.overrides)
    return commands.build(args.config, args.overrides, only=args.only, engine=_chat_engine)


def status(args: argparse.Namespace) -> int:
    from .pairs import commands

    return commands.status(args.config, args.overrides)


def review(args: argparse.Namespace) -> int:
    from .pairs import commands

    return commands.review(args.config, args.overrides, args.page)


def audit(args: argparse.Namespace) -> int:
    from .pairs import commands

    return commands.audit(args.files, args.plot)


def evaluate(args: argparse.Namespace) -> int:
    from .evaluate import commands

    return commands.evaluate(
        args.config,
        args.overrides,
        engine=_chat_engine,
        evidence=_evidence,
        tables_only=args.tables_only,
    )


def align(args: argparse.Namespace) -> int:
    from .align import commands

    return commands.align(args.config, args.overrides, check=_check_training)


def validate(args: argparse.Namespace) -> int:
    from .host.validate import validate as run

    return run(args.target, args.overrides, args.rejected)


def plan(args: argparse.Namespace) -> int:
    from .host.plan.command import plan as run

    return run(args.target, args.overrides, args.rows, args.card, args.utilisation, args.json)


def preview(args: argparse.Namespace) -> int:
    from .host.preview.command import preview as run

    return run(args.target, args.overrides, args.page, args.rows)


def check_noise(args: argparse.Namespace) -> int:
    from .host.evidence.hiding import check_noise as run

    return run(args.target, args.overrides, args.rows, args.sigma, args.list)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number


def _shares(text: str) -> tuple[float, float]:
    try:
        ends = [float(end) for end in text.split("-")]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2 or not all(0 < end <= 1 for end in ends):
        raise argparse.ArgumentTypeError(f"expected a share or a range of shares above 0, at most 1, found {text!r}")
    return min(ends), max(ends)


def _chat_engine(arguments: dict[str, Any]) -> Any:
    from .host.chat.responder import ChatEngine

    return ChatEngine(arguments)


def _check_training(keys: dict[str, Any]) -> None:
    from .host.validate import check

    check(keys)


def _evidence(*about: Any) -> Any:
    from .host.evidence import measure as run

    return run(*about)


def _keys(command: str) -> str:
    """What `--help` of a command says of its configuration: all keys, or those of its own step."""
    from .align.config import AlignConfig
    from .evaluate.config import config_class
    from .evaluate.registry import MEASURES
    from .images.corruptions import CORRUPTIONS
    from .pairs.config import BuildConfig
    from .pairs.exporters.registry import FORMATS
    from .pairs.segmenters.registry import SEGMENTERS
    from .settings import describe, describe_options
    from .sources.registry import SOURCES

    head, rest = "keys of CONFIG.yaml, with their defaults:", "`firempo build --help` lists all keys of CONFIG.yaml."
    of_sources = "source.options of each source:"
    if command == "align":
        return "\n  ".join([head, *describe(AlignConfig)])
    if command == "evaluate":
        of_measures = describe_options("options of each measure:", MEASURES)
        return "\n  ".join([head, *describe(config_class()), *of_measures, *describe_options(of_sources, SOURCES)])
    lines = describe(BuildConfig)
    if command == "build":
        lines += describe_options(of_sources, SOURCES)
        lines += describe_options("segment.options of each segmenter:", SEGMENTERS, lambda segmenter: segmenter)
        lines += describe_options("noise.options of each corruption:", CORRUPTIONS)
        return "\n  ".join([head, *lines, *describe_options("export.options of each format:", FORMATS)])
    own = [line for line in lines if line.startswith(f"{command}.")]
    return "\n\n".join(["\n  ".join([head, *own]), rest] if own else [rest])


def _parser(helped: str) -> argparse.ArgumentParser:
    """All subcommands; the keys are told of the one that is to show its help."""
    parser = argparse.ArgumentParser(prog="firempo", description="FiRe-MPO for LLaMA-Factory.")
    parser.add_argument("--version", action="version", version=f"firempo-plugin {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("doctor", help="say what is installed and whether the stage is in place")
    add.add_argument("training", nargs="?", type=Path, metavar="TRAIN.yaml", help="see whether this one can run here")
    add.set_defaults(run=doctor)

    add = commands.add_parser("init", help="write the examples and data templates into a folder")
    add.add_argument("folder", nargs="?", type=Path, default=Path(), help="where (default: here)")
    add.set_defaults(run=init)

    add = commands.add_parser("demo", help="train a tiny Qwen3-VL on pairs over real scans, on the CPU")
    add.add_argument("folder", nargs="?", type=Path, default=Path("firempo-demo"), help="where to put everything")
    add.add_argument("--steps", type=int, default=24, help="optimiser steps (default 24)")
    add.set_defaults(run=demo)

    add = commands.add_parser("convert", help=CONVERT_HELP, description=f"{CONVERT_HELP}. {CONVERT_MORE}")
    add.add_argument("source", type=Path, metavar="SOURCE", help=CONVERT_SOURCE)
    add.add_argument("target", type=Path, metavar="TARGET", help="a folder that does not exist yet, or is empty")
    add.add_argument(
        "--back",
        type=Path,
        metavar="ORIGINAL",
        help="SOURCE is a trained model, whole or merged: give its weights the form of ORIGINAL, the folder of the "
        "model as first released, from which all the rest is taken",
    )
    add.add_argument(
        "--vision-tower",
        type=Path,
        metavar="FOLDER",
        help="a local copy of openai/clip-vit-large-patch14-336, where the model as first released does not hold it",
    )
    add.add_argument(
        "--alpha",
        type=_positive,
        metavar="N",
        help="of LoRA weights: what they were trained with, which is not in the file (default 32, that of MedSAM3's "
        "released ones; has to be written for another rank than theirs)",
    )
    add.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="of LoRA weights: the folder of the Sam3Model that they are for, where it is not of the released size; "
        "only its config.json is read",
    )
    add.set_defaults(run=convert)

    def on_rows(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("target", metavar="TRAIN.yaml|DATASET", help="the file, or a name in dataset_info.json")
        one.add_argument("overrides", nargs="*", metavar="key=value", help="as llamafactory-cli train takes them")
        one.set_defaults(run=run)
        return one

    add = on_rows("validate", "check the rows of a training YAML or a data set; loads no model", validate)
    add.add_argument("--rejected", type=Path, metavar="FILE", help="list the rows that cannot be used, as JSON lines")
    add = on_rows("preview", "write a page that shows the rows as the trainer sees them; loads no model", preview)
    add.add_argument("--page", type=Path, default=Path("preview.html"), help="where (default: preview.html)")
    add.add_argument("--rows", type=_positive, metavar="N", help="only the first N rows")

    text = "count what a training will cost: tokens, memory, hours on named cards; loads no weights"
    add = commands.add_parser("plan", help=text, description=text)
    add.add_argument("target", metavar="TRAIN.yaml", help="the file; its model needs config.json and a tokeniser")
    add.add_argument("overrides", nargs="*", metavar="key=value", help="as llamafactory-cli train takes them")
    add.add_argument("--rows", type=_positive, default=200, metavar="N", help="look at N rows (default: 200)")
    add.add_argument("--card", metavar="NAME", help="compare settings on this card; an unknown name lists those known")
    add.add_argument(
        "--utilisation",
        type=_shares,
        default=(0.2, 0.45),
        metavar="LOW-HIGH",
        help="shares of a card's peak to assume (default: 0.2-0.45)",
    )
    add.add_argument("--json", action="store_true", help="print everything as JSON")
    add.set_defaults(run=plan)

    add = on_rows("check-noise", "say what the noise of the rows hides from the model of a training YAML", check_noise)
    add.add_argument("--rows", type=_positive, default=200, metavar="N", help="look at N rows (default: 200)")
    add.add_argument("--sigma", type=_above_zero, default=45.0, help="noise.sigma of the build (default: 45)")
    add.add_argument("--list", type=Path, metavar="FILE", help="list the rows with their figures, as JSON lines")

    def on_config(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_keys(name) if helped == name else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("config", type=Path, metavar="CONFIG.yaml")
        one.add_argument("overrides", nargs="*", metavar="key=value", help="override keys of the file")
        one.set_defaults(run=run, only=None, dry_run=False)
        return one

    add = on_config("build", "make preference pairs from a question set", build)
    add.add_argument("--dry-run", action="store_true", help="count calls, tokens and price; make no call")
    for step, text in STEP_HELP.items():
        on_config(step, f"of a build, one step over what is there: {text}", build).set_defaults(only=step)
    on_config("status", "say how far a build is", status)
    add = on_config("evaluate", "measure what training did: answers, reports, evidence; compare models", evaluate)
    add.add_argument("--tables-only", action="store_true", help="measure nothing; table and figures of what is stored")
    on_config("align", "go from records to an aligned model, round by round: pairs, training, validation", align)
    add = on_config("review", "write a page on which a person looks at the pairs", review)
    add.add_argument("--page", type=Path, help="where (default: review.html in the workspace)")

    add = commands.add_parser("audit", help="print the style gap of preference files, also of others' making")
    add.add_argument("files", nargs="+", type=Path, metavar="FILE", help="one file, or two to compare")
    add.add_argument("--plot", type=Path, help="draw the lengths into this picture")
    add.set_defaults(run=audit)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs a subcommand and returns its exit code."""
    try:
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes out what is left at its end
        return NO_READER


def _main(words: list[str]) -> int:
    parser = _parser(words[0] if {"-h", "--help"} & {*words} else "")
    if not words:
        parser.print_help(sys.stderr)
        return 2
    if words[0] in HOST_COMMANDS:
        parser.error(f"{words[0]} is a command of LLaMA-Factory: write `llamafactory-cli {shlex.join(words)}`")
    args, rest = parser.parse_known_args(words)
    if "overrides" in args:  # those behind an option are not matched to their place
        args.overrides += [word for word in rest if not word.startswith("-") and "=" in word]
        rest = [word for word in rest if word not in args.overrides]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a text that the terminal cannot show ends no run
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("firempo: interrupted", file=sys.stderr)
        return 130
    except sqlite3.Error as error:
        say(f"firempo: the store cannot be written or read: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        say(*f"firempo: {error}".split("\n"), *getattr(error, "__notes__", []), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
