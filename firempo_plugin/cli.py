"""The `firempo` command. Each subcommand imports what it needs, so that `--help` is quick."""

import argparse
import sys
from pathlib import Path

from . import __version__


def doctor(args: argparse.Namespace) -> int:
    from .host.doctor import examine

    return examine()


def demo(args: argparse.Namespace) -> int:
    from .demo.run import run

    return run(args.folder, steps=args.steps)


def main(argv: list[str] | None = None) -> int:
    """Runs a subcommand and returns its exit code."""
    parser = argparse.ArgumentParser(prog="firempo", description="FiRe-MPO for LLaMA-Factory.")
    parser.add_argument("--version", action="version", version=f"firempo-plugin {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("doctor", help="say what is installed and whether the stage is in place")
    command.set_defaults(run=doctor)

    command = commands.add_parser("demo", help="train a tiny Qwen3-VL on pairs over real scans, on the CPU")
    command.add_argument("folder", nargs="?", type=Path, default=Path("firempo-demo"), help="where to put everything")
    command.add_argument("--steps", type=int, default=24, help="optimiser steps (default 24)")
    command.set_defaults(run=demo)

    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
