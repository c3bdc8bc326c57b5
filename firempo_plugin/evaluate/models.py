"""The models of an evaluation: where each one is, and what tells it from a later one in the same folder."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..checkpoints import ADAPTER, CHECKPOINT, fingerprint
from ..errors import UserError
from .config import EvaluateConfig


@dataclass(frozen=True)
class Model:
    """One model of an evaluation.

    Attributes:
        name: As the configuration calls it.
        arguments: Of the host's engine, without an adapter; of an endpoint, empty.
        adapter: Its adapter folder; None for a base or a checkpoint.
        served: Its name at the endpoint; "" for the engine.
        identity: What decides its answers, beside question and decoding: JSON that changes with its weights, and not
            with the place of its folder.
    """

    name: str
    arguments: dict[str, Any]
    adapter: str | None
    served: str
    identity: dict[str, Any]

    @property
    def engine_arguments(self) -> dict[str, Any]:
        """Arguments of the host's engine, with the adapter."""
        return self.arguments | ({"adapter_name_or_path": self.adapter} if self.adapter else {})


def resolve(config: EvaluateConfig) -> list[Model]:
    """The models in their order.

    Raises:
        UserError: A folder is neither an adapter nor a checkpoint, or is not there.
    """
    if config.by_endpoint:
        served = {name: str(place) for name, place in config.models.items()}
        return [Model(name, {}, None, place, {"served": place}) for name, place in served.items()]
    once = cache(fingerprint)  # models share their base
    return [_local(name, place, config.model, once) for name, place in config.models.items()]


def _local(name: str, place: str | None, arguments: dict[str, Any], content: Callable[[Path], str]) -> Model:
    adapter = None
    if place is not None and _kind(name, Path(place)) == ADAPTER:
        adapter = place
    elif place is not None:
        arguments = arguments | {"model_name_or_path": place}
    base = str(arguments["model_name_or_path"])
    identity = {
        "base": content(Path(base)) if Path(base).is_dir() else base,
        "adapter": content(Path(adapter)) if adapter else None,
        "arguments": {key: value for key, value in arguments.items() if key != "model_name_or_path"},
    }
    return Model(name, arguments, adapter, "", identity)


def _kind(name: str, folder: Path) -> str:
    for file in (ADAPTER, CHECKPOINT):
        if (folder / file).is_file():
            return file
    found = "holds neither of them" if folder.is_dir() else "is not there"
    raise UserError(
        f"models.{name}: {folder} {found}; expected an adapter folder ({ADAPTER}) or a checkpoint folder "
        f"({CHECKPOINT}); train it first, or write null for the base model"
    )


def digest_of(content: Any) -> str:
    """SHA-256 of JSON, as 64 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
