"""What the host parses is looked at first: a misspelt key of the stage is refused with the key that was meant."""

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ...errors import UserError
from ..arguments import STAGE
from . import demands

PREFIX = "fire_"


def extend_parser(module: Any) -> None:
    """Looks at the keys before the host does; those that do not resemble ours are left to its words."""
    parse = module._parse_args

    def parse_args(
        parser: Any, args: dict[str, Any] | list[str] | None = None, allow_extra_keys: bool = False
    ) -> tuple[Any]:
        args = module.read_args(args)
        config = demands.as_mapping(args)
        if config.get("stage") == STAGE:
            demands.refuse(config)
        if not allow_extra_keys:
            known = [part.name for kind in parser.dataclass_types for part in fields(kind)]
            refuse_unknown(map(str, config), known)
        return parse(parser, args, allow_extra_keys)

    module._parse_args = parse_args


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
