"""What the host parses is looked at first: what a run asks for and cannot have, and misspelt keys of the stage."""

import difflib
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...settings import written
from ..arguments import STAGE
from . import demands

PREFIX = "fire_"
FILES = (".yaml", ".yml", ".json")
"""How the host knows the name of a file with keys from a key."""


def extend_launcher(module: Any) -> None:
    """Looks at what a run asks for before the host starts a process for each device, which all would end by it."""
    launch = module.launch

    def launch_what_can_be_had() -> None:
        if sys.argv[1:2] == ["train"]:
            _refuse_demands(_said(sys.argv[2:]))
        launch()

    module.launch = launch_what_can_be_had


def _said(words: list[str]) -> dict[str, Any] | list[str]:
    """What stands behind `llamafactory-cli train`; nothing where the host will say that it cannot be read."""
    if not words or not words[0].endswith(FILES):
        return words
    try:
        return written(Path(words[0]), words[1:], resolve=False)
    except UserError:
        return []


def extend_parser(module: Any) -> None:
    """Looks at the keys before the host does; those that do not resemble ours are left to its words."""
    for name in ("get_ray_args", "get_train_args"):  # the first that a run asks for, and all that a check of rows does
        setattr(module, name, _with_demands(module, vars(module)[name]))
    parse = module._parse_args

    def parse_args(
        parser: Any, args: dict[str, Any] | list[str] | None = None, allow_extra_keys: bool = False
    ) -> tuple[Any]:
        args = module.read_args(args)
        if not allow_extra_keys:
            known = [part.name for kind in parser.dataclass_types for part in fields(kind)]
            refuse_unknown(map(str, demands.as_mapping(args)), known)
        return parse(parser, args, allow_extra_keys)

    module._parse_args = parse_args


def _with_demands(module: Any, get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get_args(args: dict[str, Any] | list[str] | None = None) -> Any:
        args = module.read_args(args)
        _refuse_demands(args)
        return get(args)

    return get_args


def _refuse_demands(args: dict[str, Any] | list[str]) -> None:
    config = demands.as_mapping(args)
    if config.get("stage") == STAGE:
        demands.refuse(config)


def refuse_unknown(keys: Iterable[str], known: list[str]) -> None:
    """Raises ValueError for a key that is none, and looks like one of this package's."""
    ours = [name for name in known if name.startswith(PREFIX)]
    for key in keys:
        if key in known:
            continue
        close = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.7)
        if close and close[0] in ours:
            raise UserError(f"unknown key {key}; did you mean {close[0]}?")
        if key.startswith(PREFIX):
            raise UserError(f"unknown key {key}; known: {', '.join(sorted(ours))}")
