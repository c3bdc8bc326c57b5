"""A misspelt key of the stage is refused with the key that was meant, before the host says that it is unused."""

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

PREFIX = "fire_"


def extend_parser(module: Any) -> None:
    """Looks at the keys before the host parses them; keys that do not resemble ours are left to the host's words."""
    parse = module._parse_args

    def parse_args(
        parser: Any, args: dict[str, Any] | list[str] | None = None, allow_extra_keys: bool = False
    ) -> tuple[Any]:
        args = module.read_args(args)
        if not allow_extra_keys:
            words = args if isinstance(args, dict) else [word[2:] for word in args if word.startswith("--")]
            known = [part.name for kind in parser.dataclass_types for part in fields(kind)]
            refuse_unknown((str(word).partition("=")[0] for word in words), known)
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
            raise ValueError(f"unknown key {key}; did you mean {close[0]}?")
        if key.startswith(PREFIX):
            raise ValueError(f"unknown key {key}; known: {', '.join(sorted(ours))}")
