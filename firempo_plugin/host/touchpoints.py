"""The places where LLaMA-Factory is extended: what must be there, and what is added.

All places are checked in the host's source before the first of them is changed, so a host that has moved
is refused as a whole and never half-extended.
"""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from yaml import safe_load

from ..torch_releases import version_of

SUPPORTED_HOSTS = "llamafactory>=0.9.5,<0.9.7"
TESTED_HOSTS = {"0.9.5": None, "0.9.6.dev0": "ff6d4d12e"}
"""The versions that the suite ran with, oldest first; of one that the whole main branch bears, the commit."""
TO_A_TESTED_HOST = "pip install llamafactory==0.9.5 firempo-plugin"
"""Names this package, so that pip takes a transformers that suits both; a main branch that moved would meet a range."""


@dataclass(frozen=True)
class TouchPoint:
    """One host module that we extend.

    Attributes:
        module: The module, below `llamafactory.`.
        needs: What its source must define; see the table beside this file.
        extend: What extends it, there too; None where we only call it.
    """

    module: str
    needs: tuple[str, ...]
    extend: str | None = None


TOUCH_POINTS = tuple(
    TouchPoint(module, tuple(point["needs"]), point.get("extend"))
    for module, point in safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")).items()
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
        host = version_of("llamafactory") or "not installed"
        raise UnsupportedHost(
            f"firempo-plugin cannot extend LLaMA-Factory {host}: {'; '.join(missing)}. "
            f"It supports {SUPPORTED_HOSTS}: run `{TO_A_TESTED_HOST}`, or set FIREMPO_DISABLE=1 "
            "to use LLaMA-Factory without the fire_mpo stage. Nothing was changed."
        )


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
